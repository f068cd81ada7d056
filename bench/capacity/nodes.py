"""Ours: the three nodes. A process of its own imports this for each of them, and loads only what its node needs."""

from __future__ import annotations

from bench.capacity.work import OUT_RATE, step
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode, register_node


class CapacityNode(MultiprocessNode):
    """Does its step's work on each chunk. The timestamp is the chunk's number."""

    step = ""

    async def initialize(self) -> None:
        self._work = step(self.step)

    async def process(self, data: RuntimeData) -> RuntimeData:
        return RuntimeData.audio(self._work(data.as_numpy()), OUT_RATE, timestamp=data.timestamp)

    async def cleanup(self) -> None:
        """Nothing to release."""


@register_node("capacity-resample")
class ResampleStep(CapacityNode):
    step = "resample"


@register_node("capacity-vad")
class VADStep(CapacityNode):
    step = "vad"

    async def process(self, data: RuntimeData) -> RuntimeData:
        self._work(data.as_numpy())
        return data


@register_node("capacity-echo")
class EchoStep(CapacityNode):
    step = "echo"

    async def process(self, data: RuntimeData) -> RuntimeData:
        return data
