"""Ours: the worker that starts sessions, and interpreters side by side."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from itertools import pairwise

import bench.light_node  # noqa: F401  (registers the node)
from bench.peers.remotemedia_session import CONFIG
from remotemedia.core.multiprocessing import (
    MultiprocessExecutor,
    Pipeline,
    ProcessProgress,
    ProcessReady,
)


class StartEnd:
    """Starts ``count`` processes at a time, this way or that."""

    def __init__(self, count: int) -> None:
        # Without compiled files, it would be the compiler that is measured: an installed package has them.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        self._count = count
        self._executor = MultiprocessExecutor(CONFIG)
        self._runner = asyncio.Runner()

    def close(self) -> None:
        self._runner.run(self._executor.shutdown())
        self._runner.close()

    def interpreters(self, code: str) -> int:
        """How long until all have run ``code`` and ended, in nanoseconds."""
        start_ns = time.perf_counter_ns()
        processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(self._count)]
        codes = [process.wait() for process in processes]
        took_ns = time.perf_counter_ns() - start_ns
        if any(codes):
            raise RuntimeError(f"python -c {code!r} failed")
        return took_ns

    def session(self) -> dict[str, int]:
        """How long until a session of them runs, and until all of its nodes had done each step, in nanoseconds."""
        return self._runner.run(self._session())

    async def _session(self) -> dict[str, int]:
        names = [f"light{number}" for number in range(self._count)]
        pipeline = Pipeline()
        for name in names:
            pipeline.add_node("bench-light", name)
        for before, after in pairwise(names):
            pipeline.connect(before, "out", after, "in")
        events = self._executor.events()
        begun, cpu_ns, start_ns = time.time(), time.process_time_ns(), time.perf_counter_ns()
        await self._executor.create_session("bench", pipeline)
        took_ns, cpu_ns = time.perf_counter_ns() - start_ns, time.process_time_ns() - cpu_ns
        events.close()
        # Of each step, the last node to take it. "starting" is that its process was spawned.
        steps: dict[str, int] = {}
        async for event in events:
            if isinstance(event, ProcessProgress | ProcessReady):
                step = event.progress.status if isinstance(event, ProcessProgress) else "ready"
                steps[step] = round((event.timestamp - begun) * 1e9)
        await self._executor.terminate_session("bench")
        return {**steps, "running": took_ns, "cpu": cpu_ns}
