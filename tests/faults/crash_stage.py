"""The stage of the crash matrix: one event loop and one executor for all scenarios, and a session that looks on."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from remotemedia.core.multiprocessing import MultiprocessConfig, MultiprocessExecutor, ProcessCrashError, Session

PATIENCE_SECS = 60


class Bystander:
    """A session beside all others: numbered messages go through it as long as the event loop runs."""

    def __init__(self, px: Any, session: Session) -> None:
        self.px, self.session = px, session
        self.sent = self.received = self.seen = self.lost = 0
        self.over = False
        self.tasks = [asyncio.create_task(self.send()), asyncio.create_task(self.receive())]

    async def send(self) -> None:
        while not self.over:
            await self.session.send("n0", self.px.text(str(self.sent)))
            self.sent += 1
            await asyncio.sleep(0.005)
        await self.session.end_input()

    async def receive(self) -> None:
        while (data := await self.session.receive("n1")) is not None:
            assert data.payload == str(self.received)
            self.received += 1

    async def catch_up(self) -> int:
        """Returns when all has come that was sent until now, or the session has ended; how many since the last time."""
        sent, seen = self.sent, self.seen
        await self.px.until(lambda: self.received >= sent or not self.goes_on)
        self.lost = max(sent - self.received, 0)
        self.seen = self.received
        return self.seen - seen

    @property
    def goes_on(self) -> bool:
        return not any(task.done() for task in self.tasks)

    async def end(self) -> None:
        self.over = True
        await asyncio.gather(*self.tasks)
        assert self.received == self.sent


class Stage:
    """One event loop and one executor for all scenarios, and the bystander."""

    def __init__(self, px: Any, runner: asyncio.Runner, config: MultiprocessConfig) -> None:
        self.px, self.config = px, config
        self.crashes: list[ProcessCrashError] = []
        self._runner = runner
        self._complaints: list[dict[str, Any]] = []
        runner.get_loop().set_exception_handler(lambda loop, context: self._complaints.append(context))

    async def open(self) -> None:
        self.executor = MultiprocessExecutor(self.config)
        self.executor.on_process_crash(self.crashes.append)
        session = await self.executor.create_session("bystander", self.px.chain("crash-node", "crash-node"))
        self.bystander = Bystander(self.px, session)
        found = re.search(r"VmData:\s+(\d+) kB", Path(f"/proc/{session.pids['n0']}/status").read_text())
        assert found is not None
        self.private_bytes = int(found[1]) * 1024  # what a node that does nothing has

    async def close(self) -> None:
        await self.bystander.end()
        await self.executor.shutdown()

    def play(self, play: Callable[[Any], Awaitable[None]], scene: Any) -> None:
        async def main() -> None:
            try:
                await play(scene)
            finally:
                await scene.session.cleanup()
                self.crashes.clear()  # their tracebacks hold the session

        self.run(main())

    def run(self, coroutine: Any) -> None:
        async def main() -> None:
            async with asyncio.timeout(PATIENCE_SECS):
                await coroutine

        self._runner.run(main())
        assert not self._complaints, self._complaints
