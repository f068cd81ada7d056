"""Node classes for tests of retries and of failure marks. Node processes load this file by its path."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import END_OF_TURN, FAILURE, MultiprocessNode, register_node


class Fails(MultiprocessNode):
    """Raises ``n`` times for a message "n words", and then says how often it was asked."""

    def initialize(self) -> None:
        self.asked: Counter[str] = Counter()

    def answer(self, data: RuntimeData) -> RuntimeData:
        said = str(data.payload)
        self.asked[said] += 1
        if self.asked[said] <= int(said.partition(" ")[0]):
            raise ValueError(f"{said}, asked {self.asked[said]}")
        return RuntimeData.text(f"{said}: {self.asked[said]}")


@register_node("retry-plain")
class Plain(Fails):
    def process(self, data: RuntimeData) -> RuntimeData:
        return self.answer(data)


@register_node("retry-async")
class Async(Fails):
    async def process(self, data: RuntimeData) -> RuntimeData:
        await asyncio.sleep(0)
        return self.answer(data)


@register_node("retry-stream")
class Stream(Fails):
    async def process(self, data: RuntimeData) -> AsyncIterator[RuntimeData]:
        yield self.answer(data)


@register_node("retry-plain-stream")
class PlainStream(Fails):
    def process(self, data: RuntimeData) -> Iterator[RuntimeData]:
        yield self.answer(data)


@register_node("retry-late")
class Late(Fails):
    """Puts something out, and then fails."""

    async def process(self, data: RuntimeData) -> AsyncIterator[Any]:
        match str(data.payload):
            case "0 yield":
                yield RuntimeData.text("part")
            case "0 ports":
                yield {"output": RuntimeData.text("part"), "": RuntimeData.text("other")}
            case "0 emit":
                await self.emit(RuntimeData.text("part"))
            case "0 wrong":
                yield 7
        self.answer(data)
        raise ValueError(f"late, asked {self.asked[str(data.payload)]}")


@register_node("retry-own")
class Own(MultiprocessNode):
    """Its own cancellation ends the call."""

    async def process(self, data: RuntimeData) -> None:
        raise asyncio.CancelledError(str(data.payload))


@register_node("retry-waits")
class Waits(Fails):
    """Fails at once, then waits until it is interrupted; "0 tell" says how often it was asked for each message."""

    async def process(self, data: RuntimeData) -> RuntimeData:
        said = str(data.payload)
        if said == "0 tell":
            return RuntimeData.json(self.asked)
        self.asked[said] += 1
        if self.asked[said] == 1:
            raise ValueError(said)
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            if said == "1 stubborn":
                raise ValueError("not me") from None
            raise
        return data


@register_node("retry-marks")
class Marks(Fails):
    """Passes data on; raises for the end of a turn as often as ``times`` says."""

    def process(self, data: RuntimeData) -> RuntimeData:
        return data

    def on_mark(self, mark: RuntimeData) -> Any:
        if mark.mark == END_OF_TURN:
            self.asked["end"] += 1
            if self.asked["end"] <= self.config["times"]:
                raise ValueError(f"end {self.asked['end']}")
            return [RuntimeData.text("the end"), mark].__iter__()
        return mark


@register_node("retry-join")
class Join(MultiprocessNode):
    """One answer for each two that came, a failure's mark among them."""

    def initialize(self) -> None:
        self.kept: list[str] = []

    def process(self, data: RuntimeData) -> RuntimeData | None:
        return self.take(data, str(data.payload))

    def on_mark(self, mark: RuntimeData) -> RuntimeData | None:
        if mark.mark != FAILURE:
            return mark
        return self.take(mark, f"no {mark.metadata['value']['node_id']}")

    def take(self, data: RuntimeData, what: str) -> RuntimeData | None:
        self.kept.append(what)
        if len(self.kept) < 2:
            self.hold(data)
            return None
        said, self.kept = " and ".join(sorted(self.kept)), []
        self.release()
        return RuntimeData.text(said)


@register_node("retry-pass-array")
class PassArray(MultiprocessNode):
    """Passes an array on, the first time it is asked or the second."""

    def initialize(self) -> None:
        self.again = False

    def process(self, data: RuntimeData) -> RuntimeData:
        self.again = not self.again
        if self.again and self.config["fail"]:
            raise ValueError("not yet")
        return data


@register_node("retry-write-array")
class WriteArray(MultiprocessNode):
    """Says whether it could write in place, and what it got."""

    def process(self, data: RuntimeData) -> RuntimeData:
        array = data.as_numpy(writable=True)
        in_place = float(np.shares_memory(array, data.payload) or _same_pages(array, data))
        return RuntimeData.tensor(np.array([in_place, float(array.sum())]))


def _same_pages(array: Any, data: RuntimeData) -> bool:
    """Whether what is written to one is read from the other: the same memory, mapped twice."""
    array[0] += 1
    seen = bool(data.payload[0] == array[0])
    array[0] -= 1
    return seen


@register_node("retry-halves")
class Halves(Fails):
    """Halves an array, fails as often as ``times`` says, and then says which attempts wrote in place."""

    def initialize(self) -> None:
        self.in_place: list[bool] = []

    def process(self, data: RuntimeData) -> RuntimeData:
        array = data.as_numpy(writable=True)
        self.in_place.append(_same_pages(array, data))
        array *= 0.5
        if len(self.in_place) <= self.config["times"]:
            raise ValueError("not yet")
        return RuntimeData.json({"first": float(array[0]), "in_place": self.in_place})


@register_node("retry-loans")
class Loans(Fails):
    """Needs more than half of the memory in each attempt."""

    def process(self, data: RuntimeData) -> RuntimeData:
        array = self.loan(40_000, np.uint8)
        array[0] = len(str(self.answer(data).payload))
        return RuntimeData.tensor(array)


@register_node("retry-holds")
class Holds(Fails):
    """Holds each message that it is given; fails as "n words" says."""

    def initialize(self) -> None:
        super().initialize()
        self.kept: list[Any] = []

    def process(self, data: RuntimeData) -> RuntimeData | None:
        match str(data.payload).partition(" ")[2]:
            case "keep":
                held = self.hold(data)
                self.answer(data)
                self.kept.append(held)
            case "give one":
                self.release(self.kept[-1])
                said = self.answer(data)
                self.kept.pop()
                return said
            case "give all":
                self.release()
                return self.answer(data)
            case _:
                return self.answer(data)
        return None


@register_node("retry-stubborn")
class Stubborn(Fails):
    """Makes a failure of its end, for "emit" with something put out before."""

    async def process(self, data: RuntimeData) -> None:
        if data.payload == "emit":
            await self.emit(data)
        self.asked["x"] += 1
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            raise ValueError("not me") from None


@register_node("retry-own-task")
class OwnTask(Fails):
    """Something is emitted by a task of its own while a call is under way."""

    async def process(self, data: RuntimeData) -> RuntimeData:
        await asyncio.create_task(self.emit(RuntimeData.text("aside")))
        return self.answer(data)


@register_node("retry-no-failures")
class NoFailures(Fails):
    """Fails for marks of failures."""

    def process(self, data: RuntimeData) -> RuntimeData:
        return data

    def on_mark(self, mark: RuntimeData) -> RuntimeData:
        if mark.mark == FAILURE:
            raise ValueError(f"failed after {mark.metadata['value']['node_id']}")
        return mark
