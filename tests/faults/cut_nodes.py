"""A node class for tests of interruptions that begin at a node: it keeps a diary. Imports little."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode, register_node

FOREVER_SECS = 3600


@register_node("i-cut")
class Diary(MultiprocessNode):
    """Passes messages on, adding its name to ``metadata["via"]``; where ``metadata["at"]`` is its name it does ``act``.

    Each call, and each ``on_interrupt()``, is a line in the file ``diary``.
    """

    async def initialize(self) -> None:
        self.diary = os.open(self.config["diary"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, *words: Any) -> None:
        os.write(self.diary, f"{' '.join(map(str, words))}\n".encode())

    async def process(self, data: RuntimeData) -> AsyncIterator[RuntimeData]:
        if data.metadata is None:
            yield data
            return
        words: dict[str, Any] = data.metadata  # type: ignore[assignment]
        data.metadata = {**words, "via": words.get("via", "") + self.node_id}
        act = words["act"] if words.get("at") == self.node_id else ""
        self.write("took", data.metadata["via"], words["number"], act or "-")
        if act in ("wait", "cling"):
            with contextlib.suppress(asyncio.CancelledError) if act == "cling" else contextlib.nullcontext():
                await asyncio.sleep(FOREVER_SECS)
        yield data
        if act == "pause":
            self.write("pauses")
            await asyncio.sleep(FOREVER_SECS)

    async def on_interrupt(self) -> None:
        self.write("interrupted")

    async def cleanup(self) -> None:
        os.close(self.diary)
