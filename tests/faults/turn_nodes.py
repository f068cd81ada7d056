"""A node class for tests of turns in random graphs. Node processes load this file by its path: it imports little."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from typing import Any

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import END_OF_TURN, MultiprocessNode, register_node


def number_of(text: str) -> int:
    """The same in every process."""
    return zlib.crc32(text.encode())


def made(text: str, node_id: str, what: str = "") -> str:
    """A text made of another by this node: its turn stays in front."""
    turn, _, rest = text.partition("|")
    return f"{turn}|{number_of(rest + node_id + what)}"


def outcome(kind: str, node_id: str, text: str) -> list[str] | None:
    """What a node of that kind makes of one text at once, or from its own task; None if it raises."""
    chance = number_of(text + node_id) % 4
    match kind:
        case "many":
            return [made(text, node_id, str(number)) for number in range(2)]
        case "some":
            return [made(text, node_id)] if chance else []
        case "fail":
            return [made(text, node_id)] if chance else None
        case "late":
            return [made(text, node_id, str(number)) for number in range(chance)]
        case "gather":
            return []
    return [made(text, node_id)]


def gathered(node_id: str, turn: str, texts: list[str]) -> list[str]:
    """What a node that gathers gives at the end of the turn."""
    return [made(f"{turn}|{' '.join(sorted(texts))}", node_id)] if texts else []


@register_node("i-turn")
class Turned(MultiprocessNode):
    """What its config's ``kind`` says: see ``outcome``. "keep" holds each message until the next, "gather" to the end
    of its turn, "late" answers from a task of its own."""

    def initialize(self) -> None:
        self.kind: str = self.config["kind"]
        self.texts: dict[str, list[str]] = {}
        self.held: dict[str, list[Any]] = {}
        self.queue: asyncio.Queue[Any] = asyncio.Queue()

    async def run(self) -> None:
        self.worker = asyncio.create_task(self.work())
        await super().run()

    async def process(self, data: RuntimeData) -> AsyncIterator[RuntimeData]:
        text = str(data.payload)
        turn = text.partition("|")[0]
        if self.kind == "late":
            self.queue.put_nowait((text, self.hold(data)))
            return
        if self.kind == "keep":
            self.release()
            self.hold(data)
        elif self.kind == "gather":
            self.texts.setdefault(turn, []).append(text)
            self.held.setdefault(turn, []).append(self.hold(data))
        found = outcome(self.kind, self.node_id, text)
        if found is None:
            raise ValueError(text)
        for output in found:
            if number_of(output) % 3 == 0:
                await asyncio.sleep(0)
            yield RuntimeData.text(output)

    async def work(self) -> None:
        while True:
            text, held = await self.queue.get()
            for output in outcome("late", self.node_id, text) or []:
                await asyncio.sleep(number_of(output) % 3 / 1000)
                await self.emit(RuntimeData.text(output), of=held)
            self.release(held)

    async def on_mark(self, mark: RuntimeData) -> AsyncIterator[RuntimeData]:
        if mark.mark != END_OF_TURN:
            yield mark
            return
        if self.kind == "keep":
            self.release()
        if self.kind == "gather":
            turn = str(mark.as_json()["turn"])
            for held in self.held.pop(turn, []):
                self.release(held)
            for output in gathered(self.node_id, turn, self.texts.pop(turn, [])):
                yield RuntimeData.text(output)

    def on_interrupt(self) -> None:
        # What of it is still to be answered is for the framework to know: it drops what was cut off.
        if self.kind == "gather":
            for turn, held in list(self.held.items()):
                if all(one.released for one in held):
                    del self.held[turn], self.texts[turn]

    async def cleanup(self) -> None:
        self.worker.cancel()
