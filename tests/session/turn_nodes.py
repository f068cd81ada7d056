"""Node classes for tests of turns. Node processes load this file by its path: it imports little."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import END_OF_TURN, MultiprocessNode, register_node


@register_node("turn-pairs")
class Pairs(MultiprocessNode):
    """Joins two messages, from whichever inputs: keeps the first until the second comes, or the turn ends."""

    def initialize(self) -> None:
        self.kept: list[str] = []

    def process(self, data: RuntimeData) -> RuntimeData | None:
        self.kept.append(str(data.payload))
        if len(self.kept) < 2:
            self.hold(data)
            return None
        return self.joined()

    def on_mark(self, mark: RuntimeData) -> Any:
        if mark.mark == END_OF_TURN and self.kept:
            yield self.joined()
        yield mark

    def joined(self) -> RuntimeData:
        said, self.kept = "+".join(self.kept), []
        self.release()
        return RuntimeData.text(said)

    def on_interrupt(self) -> None:
        self.kept.clear()


@register_node("turn-late")
class Late(MultiprocessNode):
    """Answers from a task of its own: ``times`` outputs for each message, which it says belong to it; or says not."""

    def initialize(self) -> None:
        self.queue: asyncio.Queue[Any] = asyncio.Queue()

    async def run(self) -> None:
        self.worker = asyncio.create_task(self.work())
        await super().run()

    async def process(self, data: RuntimeData) -> None:
        self.queue.put_nowait((str(data.payload), self.hold(data)))

    async def work(self) -> None:
        while True:
            said, held = await self.queue.get()
            for number in range(self.config.get("times", 2)):
                await asyncio.sleep(0.002)
                await self.emit(RuntimeData.text(f"{said}.{number}"), of=held)
            self.release(held)

    async def cleanup(self) -> None:
        self.worker.cancel()


@register_node("turn-do")
class Do(MultiprocessNode):
    """What the text says: "fail", "wait", "many 5", "nothing", "emit x"; anything else is passed on."""

    async def process(self, data: RuntimeData) -> AsyncIterator[RuntimeData]:
        what, _, argument = str(data.payload).partition(" ")
        match what:
            case "fail":
                raise ValueError(argument)
            case "wait":
                await asyncio.sleep(3600)
            case "many":
                for number in range(int(argument)):
                    yield RuntimeData.text(str(number))
            case "nothing":
                pass
            case "emit":
                await self.emit(RuntimeData.text(argument))
            case _:
                yield data


@register_node("turn-forgets")
class Forgets(MultiprocessNode):
    """Holds what it is given, and never lets go."""

    def process(self, data: RuntimeData) -> RuntimeData:
        self.hold(data)
        return data


@register_node("turn-hoards")
class Hoards(MultiprocessNode):
    """Releases what it holds at the next message; but what ``hold`` returned it keeps for ever."""

    def initialize(self) -> None:
        self.all_held: list[Any] = []

    def process(self, data: RuntimeData) -> RuntimeData:
        if self.all_held:
            self.release(self.all_held[-1])
        self.all_held.append(self.hold(data))
        return data


@register_node("turn-blocks")
class Blocks(MultiprocessNode):
    """Gives three outputs for a message, and then hears of nothing until a file is there."""

    def process(self, data: RuntimeData) -> Iterator[RuntimeData]:
        for number in range(3):
            yield RuntimeData.text(f"{data.payload}{number}")
        while str(data.payload) == "stuck" and not Path(self.config["file"]).exists():
            time.sleep(0.002)


@register_node("turn-two-outputs")
class TwoOutputs(MultiprocessNode):
    """Gives what it gets on two ports, of which one need not be connected."""

    outputs = {"main": None, "beside": None, "other": None}
    optional_outputs = ("beside",)

    def process(self, data: RuntimeData) -> dict[str, RuntimeData]:
        return dict.fromkeys(self.config["ports"], data)


@register_node("turn-cancels")
class Cancels(MultiprocessNode):
    """Cancels itself at every mark."""

    def process(self, data: RuntimeData) -> RuntimeData:
        return data

    async def on_mark(self, mark: RuntimeData) -> None:
        raise asyncio.CancelledError("its own")


@register_node("turn-slow")
class Slow(MultiprocessNode):
    async def process(self, data: RuntimeData) -> RuntimeData:
        await asyncio.sleep(0.05)
        return data
