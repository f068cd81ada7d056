"""Node classes for tests of speed. Node processes load this file by its path: it imports little."""

from __future__ import annotations

import json
import time
from abc import abstractmethod

import numpy as np
import numpy.typing as npt

from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode, register_node

Words = npt.NDArray[np.int32]
_PLACES = 64


def fill(words: Words, number: int) -> None:
    """Message ``number``, as it begins its way."""
    words[:] = number
    words[_places(words.size)] += np.arange(_PLACES, dtype=np.int32)


def number_of(words: Words, steps: int = 0) -> int:
    """Which message it is; AssertionError unless the places looked at are as ``fill`` and ``steps`` nodes left them."""
    found = words[_places(words.size)] - np.arange(_PLACES, dtype=np.int32)
    assert (found == found[0]).all(), f"not one message: {found.tolist()}"
    return int(found[0]) - steps


def _places(size: int) -> npt.NDArray[np.int64]:
    return np.linspace(0, size - 1, _PLACES).astype(np.int64)


class Hop(MultiprocessNode):
    """Notes when it had each message and when it gave it on; says so at the end, and passes on what others say.

    What writes to messages adds 1 in the places that are looked at.
    """

    async def initialize(self) -> None:
        self.came: list[tuple[int, int]] = []
        self.left: list[tuple[int, int]] = []
        self.steps = self.config["steps"]
        """How many nodes have written before."""

    async def process(self, data: RuntimeData) -> RuntimeData:
        now_ns = time.monotonic_ns()
        if data.type is DataType.TEXT:
            return data
        number = number_of(data.as_numpy(), self.steps)
        made = self.made_of(data)
        self.came.append((number, now_ns))
        self.left.append((number, time.monotonic_ns()))
        return made

    @abstractmethod
    def made_of(self, data: RuntimeData) -> RuntimeData:
        """What is to be sent for a message."""

    async def finish(self) -> RuntimeData:
        return RuntimeData.text(json.dumps({"node": self.node_id, "came": self.came, "left": self.left}))

    async def cleanup(self) -> None:
        """Nothing to release."""


@register_node("f-forward")
class Forward(Hop):
    def made_of(self, data: RuntimeData) -> RuntimeData:
        return data


@register_node("f-loan")
class Loan(Hop):
    """Sends a new array in shared memory, all of it written."""

    def made_of(self, data: RuntimeData) -> RuntimeData:
        words = data.as_numpy()
        made = self.loan(words.shape, words.dtype)
        np.copyto(made, words)
        made[_places(made.size)] += 1
        return RuntimeData.tensor(made)


@register_node("f-copy")
class Copy(Hop):
    """Sends an ordinary array, which publishing copies."""

    def made_of(self, data: RuntimeData) -> RuntimeData:
        made = data.as_numpy().copy()
        made[_places(made.size)] += 1
        return RuntimeData.tensor(made)


@register_node("f-in-place")
class InPlace(Hop):
    """Writes into what came, unless the sender still looks at it: then it is a copy that is written."""

    def made_of(self, data: RuntimeData) -> RuntimeData:
        made = data.as_numpy(writable=True)
        made[_places(made.size)] += 1
        return RuntimeData.tensor(made)


@register_node("f-half")
class Half(MultiprocessNode):
    """Audio at half the volume: exact, so that the end can be held against the beginning."""

    async def initialize(self) -> None:
        """Nothing to load."""

    async def process(self, data: RuntimeData) -> RuntimeData:
        samples = data.as_numpy()
        made = self.loan(samples.shape, samples.dtype)
        np.multiply(samples, np.float32(0.5), out=made)
        return RuntimeData.audio(made, 48_000, 2)

    async def cleanup(self) -> None:
        """Nothing to release."""
