"""Node classes for tests of marks. Node processes load this file by its path: it imports little."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import END_OF_TURN, MultiprocessNode, register_node


@register_node("mark-gather")
class Gather(MultiprocessNode):
    """Keeps texts to the end of the turn, and says them then, before the mark."""

    def initialize(self) -> None:
        self.texts: list[str] = []

    def process(self, data: RuntimeData) -> None:
        self.texts.append(str(data.payload))

    def on_mark(self, mark: RuntimeData) -> Iterator[RuntimeData]:
        if mark.mark == END_OF_TURN:
            yield RuntimeData.text(" ".join(self.texts))
            self.texts.clear()
        yield mark


@register_node("mark-ignorant")
class Ignorant(MultiprocessNode):
    """Knows no marks: says of what it is given type and size."""

    async def process(self, data: RuntimeData) -> AsyncIterator[RuntimeData]:
        yield RuntimeData.text(f"{data.type.value} of {data.size} bytes at {data.metadata}")


@register_node("mark-swallow")
class Swallow(MultiprocessNode):
    """Lets no mark pass, and fails at one of the name "fail"."""

    async def process(self, data: RuntimeData) -> RuntimeData:
        return data

    async def on_mark(self, mark: RuntimeData) -> None:
        if mark.mark == "fail":
            raise ValueError("asked to fail")
