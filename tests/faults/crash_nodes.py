"""The nodes of the crash matrix. Node processes find this file by its path, and crash_faults through extra_paths."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from crash_faults import FOREVER_SECS, strike

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode, register_node


@register_node("crash-node")
class CrashNode(MultiprocessNode):
    """Passes on what it gets. Commits the ``fault`` of its config ``at`` one of: init, initialize, signal, process,
    cleanup. "hold" keeps it busy until it is interrupted or stopped."""

    def __init__(self, node_id: str, config: dict[str, Any]) -> None:
        super().__init__(node_id, config)
        self.reach("init")

    async def initialize(self) -> None:
        signal.signal(signal.SIGUSR1, lambda number, frame: self.reach("signal"))
        self.reach("initialize")

    async def process(self, data: RuntimeData) -> RuntimeData:
        if data.payload in ("strike", "strike and hold"):
            self.reach("process")
        if data.payload in ("hold", "strike and hold"):
            await asyncio.sleep(FOREVER_SECS)
        return data

    async def cleanup(self) -> None:
        self.reach("cleanup")

    def reach(self, place: str) -> None:
        if self.config.get("at") == place:
            strike(self.config["fault"], self.config["notice"])
