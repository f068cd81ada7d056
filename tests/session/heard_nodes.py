"""Node classes for tests of what was heard. Node processes load this file by its path: it imports little."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import Interruption, MultiprocessNode, register_node

RATE = 1000


@register_node("heard-voice")
class Voice(MultiprocessNode):
    """For each text as many messages of a tenth of a second as it says, at once; then it goes on for ever."""

    async def process(self, data: RuntimeData) -> AsyncIterator[RuntimeData]:
        for number in range(int(str(data.payload))):
            yield RuntimeData.audio(np.full(100, number, np.float32), RATE, timestamp=data.timestamp + number)
        await asyncio.sleep(3600)


@register_node("heard-mind")
class Mind(MultiprocessNode):
    """Passes texts on, and says what it was told of interruptions since the last one."""

    def initialize(self) -> None:
        self.told: list[str] = []

    async def process(self, data: RuntimeData) -> dict[str, RuntimeData]:
        told, self.told = self.told, []
        return {"out": data, "told": RuntimeData.text("\n".join(told))}

    def on_interrupt(self, report: Interruption) -> None:
        for node_id, heard in report.heard.items():
            for what, at in zip(heard._fields, heard, strict=True):
                self.told.append(f"{node_id} {what} {at and (at.sequence, round(at.secs, 3), at.origin, at.timestamp)}")
