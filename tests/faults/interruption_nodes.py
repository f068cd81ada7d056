"""A node class for tests of interruptions: each message says which node does what with it. Imports little."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode, register_node

FOREVER_SECS = 3600
BUSY_SECS = 0.03
LOAN_BYTES = 100_000


@register_node("i-act")
class Act(MultiprocessNode):
    """Passes messages on, and does what ``metadata["act"]`` says where ``metadata["at"]`` is its name.

    Gathers the turn of each message; ``finish()`` tells what was gathered, ``on_interrupt()`` forgets it. With
    ``finish`` in its config, that is what ``finish()`` does once it has made the file ``begun``; with ``slow``,
    ``on_interrupt()`` makes that file and takes until it is gone.
    """

    async def initialize(self) -> None:
        self.gathered: list[int] = []
        self.held: list[Any] = []

    def process(self, data: RuntimeData) -> Awaitable[Any] | AsyncIterator[Any]:
        words = data.metadata or {}
        if "turn" in words:
            self.gathered.append(words["turn"])
        result: Any = getattr(self, words.get("act", "go_on") if words.get("at") == self.node_id else "go_on")(data)
        return result

    async def go_on(self, data: RuntimeData) -> RuntimeData:
        if data.metadata is not None:
            data.metadata = {**data.metadata, "via": data.metadata.get("via", "") + self.node_id}
        return data

    async def wait(self, data: RuntimeData) -> None:
        await asyncio.sleep(FOREVER_SECS)

    async def work(self, data: RuntimeData) -> RuntimeData:
        until = time.perf_counter() + BUSY_SECS
        while time.perf_counter() < until:
            pass
        return await self.go_on(data)

    async def swallow(self, data: RuntimeData) -> RuntimeData:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(FOREVER_SECS)
        return await self.go_on(data)

    async def hold(self, data: RuntimeData) -> None:
        """Views, loans, and a failure that knows of them: all in the frames of a call that is cancelled."""
        mine = self.loan(LOAN_BYTES, "u1")
        mine[:] = data.as_numpy()[0] if data.size else 0
        self.held.append(data.payload)
        try:
            await asyncio.sleep(FOREVER_SECS)
        except asyncio.CancelledError as error:
            raise RuntimeError("the user's own way to end") from error

    async def pause(self, data: RuntimeData) -> AsyncIterator[RuntimeData]:
        """Between two outputs."""
        yield await self.go_on(data)
        await asyncio.sleep(FOREVER_SECS)

    async def stream(self, data: RuntimeData) -> AsyncIterator[RuntimeData]:
        while True:
            yield await self.go_on(data)

    async def clings(self, data: RuntimeData) -> AsyncIterator[RuntimeData]:
        """Streams, and goes on when it is cancelled."""
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.0005)
            yield await self.go_on(data)

    async def exhaust(self, data: RuntimeData) -> AsyncIterator[RuntimeData]:
        """Streams loans, until the pool is empty and loan() blocks."""
        while True:
            yield RuntimeData.tensor(self.loan(LOAN_BYTES, "u1"), metadata=data.metadata)

    async def finish(self) -> Any:
        data = RuntimeData.text("", metadata={"gathered": self.gathered})
        if begun := self.config.get("begun"):
            Path(begun).touch()
        result = getattr(self, self.config.get("finish", "go_on"))(data)
        if isinstance(result, AsyncIterator):
            async for output in result:
                yield output
        elif (output := await result) is not None:
            yield output

    async def on_interrupt(self) -> None:
        if slow := self.config.get("slow"):
            (begun := Path(slow)).touch()
            while begun.exists():
                await asyncio.sleep(0.001)
        self.gathered.clear()
        self.held.clear()

    async def cleanup(self) -> None:
        self.held.clear()
