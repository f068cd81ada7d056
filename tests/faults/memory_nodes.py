"""Node classes for tests of memory pressure. Imports little."""

from __future__ import annotations

import errno
import mmap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import refusals

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode, Publisher, register_node

FOLDER = str(Path(__file__).parent)
"""For ``extra_paths``: node processes load this file by its path, and look for the other by its name."""
MB = 1 << 20
BIG_BYTES = 8 * MB
RING_CAPACITY, RING_BYTES = 64, 4096 + 64 * 256


def filled(size: int, number: int) -> RuntimeData:
    return RuntimeData.tensor(np.full(size, number % 251, np.uint8), metadata={"number": number})


class Plain(MultiprocessNode):
    async def initialize(self) -> None:
        pass

    async def cleanup(self) -> None:
        pass


@register_node("m-refused")
class Refused(Plain):
    """Gets no memory from the kernel, once it is initialized."""

    async def initialize(self) -> None:
        size = {"pool": (1, "at least", MB), "ring": (1, "is", RING_BYTES)}[self.config["what"]]
        refusals.refuse("mmap", errno.ENOMEM, (3, "has", mmap.MAP_SHARED), size)

    async def process(self, data: RuntimeData) -> RuntimeData:
        return data


@register_node("m-tries")
class Tries(Plain):
    """Does what a text says; anything else passes."""

    async def process(self, data: RuntimeData) -> AsyncIterator[RuntimeData]:
        yield data
        if not isinstance(data.payload, str):
            data.as_numpy().max()
            return
        if data.payload == "no more memfds":
            refusals.refuse("memfd_create", errno.ENOMEM)
        elif data.payload == "a channel":
            Publisher("tests-memory-refused").close()
        elif data.payload == "no more pages":
            refusals.take_pages()
        elif data.payload == "copy":
            yield RuntimeData.tensor(np.ones(BIG_BYTES, np.uint8))
        elif data.payload == "loan":
            self.loan(BIG_BYTES, "u1")[:] = 1
        elif data.payload.startswith("loan "):
            yield RuntimeData.tensor(self.loan(int(data.payload[5:]), "u1"))


@register_node("m-more")
class More(Plain):
    """Gives what it got, plus ``add``: in memory of its own pool."""

    async def process(self, data: RuntimeData) -> RuntimeData:
        array = data.as_numpy() + np.uint8(self.config.get("add", 1))
        return RuntimeData.tensor(array, metadata=data.metadata)  # type: ignore[arg-type]


@register_node("m-keep")
class Keep(Plain):
    """Keeps every payload until it is told to let go, and says then how many of them are not as they came."""

    async def initialize(self) -> None:
        self.kept: list[Any] = []

    async def process(self, data: RuntimeData) -> RuntimeData | None:
        if isinstance(data.payload, str):
            return self.let_go()
        self.kept.append(data.as_numpy())
        return None

    def let_go(self) -> RuntimeData:
        wrong = sum(not (array == array[0]).all() for array in self.kept)
        count = len(self.kept)
        self.kept.clear()
        return RuntimeData.text(f"{count} kept, {wrong} wrong")

    async def finish(self) -> RuntimeData:
        return self.let_go()
