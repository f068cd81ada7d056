"""Ours: many sessions under one executor, and the worker that feeds them all."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from bench.contender import check
from bench.modes.pipeline import samples_of
from bench.peers.remotemedia_session import CONFIG, LATE_SECS, RATE, hops, spent
from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.multiprocessing import MultiprocessExecutor, NodeProcessError, ProcessCrashError, Session

Row = dict[str, Any]


class SessionsEnd:
    """Sessions with ``nodes`` in a row, for a worker to hold."""

    def __init__(self, nodes: int) -> None:
        # That of the sessions one is killed is said nowhere but in the results.
        logging.getLogger("remotemedia.session").addHandler(logging.NullHandler())
        self._nodes = nodes
        self._executor = MultiprocessExecutor(CONFIG)
        self._streams: list[_Stream] = []
        self._runner = asyncio.Runner()

    def close(self) -> None:
        self._runner.run(self._executor.shutdown())
        self._runner.close()

    def grow(self, sessions: int) -> None:
        """Until there are this many."""
        while len(self._streams) < sessions:
            name = f"bench{len(self._streams) + 1}"
            session = self._runner.run(self._executor.create_session(name, hops(self._nodes, False)))
            self._streams.append(_Stream(session))

    def feed(self, size: int, hz: int, count: int) -> Row:
        """Feeds every session ``count`` messages; returns the figures.

        Returns:
            ``secs``; ``cpu_ns`` of all nodes; ``memory_mb`` of all processes, in the middle of the first and of the
            last quarter; ``streams``, what ``_Stream.feed`` gives for each session.
        """
        return self._runner.run(self._feed(size, hz, count))

    def feed_and_kill(self, size: int, hz: int, count: int) -> Row:
        """The same, but half-way a node of one session is killed.

        Returns:
            ``killed_ns``, when; ``streams`` of the others.
        """
        return self._runner.run(self._feed_and_kill(size, hz, count))

    async def _feed(self, size: int, hz: int, count: int) -> Row:
        pids = [pid for stream in self._streams for pid in stream.session.pids.values()]
        cpu_ns, start_ns = [spent(pid)[1] for pid in pids], time.monotonic_ns()
        first, last, *streams = await asyncio.gather(
            *(self._memory_mb(eighths / 8 * count / hz) for eighths in (1, 7)), *self._feeding(size, hz, count)
        )
        took_ns = time.monotonic_ns() - start_ns
        return {
            "secs": took_ns / 1e9,
            "cpu_ns": sum(spent(pid)[1] - before for pid, before in zip(pids, cpu_ns, strict=True)),
            "memory_mb": [first, last],
            "streams": streams,
        }

    async def _feed_and_kill(self, size: int, hz: int, count: int) -> Row:
        victim = len(self._streams) // 2
        feeding = self._feeding(size, hz, count)
        feeding[victim] = _crashing(feeding[victim])
        killed_ns, *streams = await asyncio.gather(self._kill(victim, count / hz / 2), *feeding)
        del streams[victim]
        return {"killed_ns": killed_ns, "streams": streams}

    def _feeding(self, size: int, hz: int, count: int) -> list[Coroutine[Any, Any, Any]]:
        """Each session at a moment of its own, spread over the time between two messages."""
        period_ns = 1_000_000_000 // hz
        now_ns = time.monotonic_ns()
        return [
            stream.feed(size, period_ns, count, now_ns + period_ns * number // len(self._streams))
            for number, stream in enumerate(self._streams)
        ]

    async def _kill(self, victim: int, after_secs: float) -> int:
        await asyncio.sleep(after_secs)
        pids = list(self._streams[victim].session.pids.values())
        os.kill(pids[len(pids) // 2], signal.SIGKILL)
        return time.monotonic_ns()

    async def _memory_mb(self, after_secs: float) -> float:
        await asyncio.sleep(after_secs)
        # In a thread: nobody is to be fed late because of it.
        return await asyncio.to_thread(self._memory_mb_now)

    def _memory_mb_now(self) -> float:
        fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        own_mb = sum(int(fields[name].split()[0]) for name in ("RssAnon", "RssFile")) * 1024 / 1e6
        return own_mb + sum(stream.session.get_metrics().memory_mb for stream in self._streams)


class _Stream:
    """A session that is fed."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._first, self._last = session.pipeline.node_ids[0], session.pipeline.node_ids[-1]
        self._errors: list[NodeProcessError] = []
        session.on_error(self._errors.append)

    async def feed(self, size: int, period_ns: int, count: int, due_ns: int) -> Row:
        """Sends from ``due_ns`` on, takes the outputs.

        Returns:
            ``sent_ns``, when each message was due; ``came``, the numbers of those that came out; ``at_ns``, for each
            node, when it had each; ``error``, the first of a node, or None.
        """
        _, (came, at_ns) = await asyncio.gather(self._send(size, period_ns, count, due_ns), self._take(size))
        sent_ns = [due_ns + period_ns * number for number in range(count)]
        error = str(self._errors[0]) if self._errors else None
        return {"sent_ns": sent_ns, "came": came, "at_ns": at_ns, "error": error}

    async def _send(self, size: int, period_ns: int, count: int, due_ns: int) -> None:
        samples = samples_of(size)
        for value in range(count):
            await asyncio.sleep(max(0, due_ns + period_ns * value - time.monotonic_ns()) / 1e9)
            samples[0, 0] = samples[-1, -1] = value
            await self.session.send(self._first, RuntimeData.audio(samples, RATE, 2))
        await self.session.send(self._first, RuntimeData.text("[]"))

    async def _take(self, size: int) -> tuple[list[int], list[list[int]]]:
        came: list[int] = []
        while True:
            data = await self.session.receive(self._last, timeout=LATE_SECS)
            assert data is not None
            if data.type is DataType.TEXT:
                return came, json.loads(str(data.payload))
            samples = data.as_numpy()
            value = int(samples[0, 0])
            check(samples, size // 4, value)
            came.append(value)


async def _crashing(feeding: Coroutine[Any, Any, Any]) -> None:
    try:
        await feeding
    except ProcessCrashError:
        return
    raise RuntimeError("a session whose node was killed went on")
