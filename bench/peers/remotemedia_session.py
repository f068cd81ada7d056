"""Ours: a Session whose nodes pass messages on, and the worker that holds it."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from bench.contender import check
from bench.modes.pipeline import HZ, samples_of
from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.multiprocessing import (
    MultiprocessConfig,
    MultiprocessNode,
    Pipeline,
    Session,
    register_node,
)

CONFIG = MultiprocessConfig(extra_paths=(str(Path(__file__).parents[2]),))
RATE = 48_000
LATE_SECS = 20.0


@register_node("bench-hop")
class Hop(MultiprocessNode):
    """Notes when each message came, checks it, and gives it on. Asked by a text, it adds what it noted to it."""

    async def initialize(self) -> None:
        self._at_ns: list[int] = []
        self._loan = self.config["loan"]
        gc.collect()
        gc.freeze()
        gc.disable()

    async def process(self, data: RuntimeData) -> RuntimeData:
        now_ns = time.monotonic_ns()
        if data.type is DataType.TEXT:
            lists = [*json.loads(str(data.payload)), self._at_ns]
            self._at_ns = []
            return RuntimeData.text(json.dumps(lists))
        value = len(self._at_ns)
        self._at_ns.append(now_ns)
        samples = data.as_numpy()
        check(samples, samples.size, value)
        if not self._loan:
            return data
        made = self.loan(samples.shape, np.float32)
        made[0, 0] = made[-1, -1] = value
        return RuntimeData.audio(made, RATE, 2)

    async def cleanup(self) -> None:
        """Nothing to release."""


def hops(nodes: int, loan: bool) -> Pipeline:
    """``nodes`` in a row."""
    names = [f"hop{number}" for number in range(1, nodes + 1)]
    pipeline = Pipeline()
    for name in names:
        pipeline.add_node("bench-hop", name, {"loan": loan})
    for before, after in pairwise(names):
        pipeline.connect(before, "out", after, "in")
    return pipeline


class SessionEnd:
    """A session with ``nodes`` in a row, for a worker to hold."""

    def __init__(self, nodes: int, loan: bool) -> None:
        pipeline = hops(nodes, loan)
        self._first, self._last = pipeline.node_ids[0], pipeline.node_ids[-1]
        self._session = Session("bench", pipeline, CONFIG)
        self._errors: list[Exception] = []
        self._session.on_error(self._errors.append)
        self._runner = asyncio.Runner()
        try:
            self._runner.run(self._session.__aenter__())
        except BaseException:
            self._runner.close()
            raise

    def close(self) -> None:
        self._runner.run(self._session.cleanup())
        self._runner.close()

    def play(self, size: int, count: int) -> list[list[int]]:
        """Sends ``count`` messages at a fixed rate; for each node, when it had each of them."""
        return self._runner.run(self._play(size, count, HZ))

    async def _play(self, size: int, count: int, hz: int) -> list[list[int]]:
        samples = samples_of(size)
        due_ns = time.monotonic_ns()
        for value in range(count):
            due_ns += 1_000_000_000 // hz
            await asyncio.sleep(max(0, due_ns - time.monotonic_ns()) / 1e9)
            samples[0, 0] = samples[-1, -1] = value
            await self._session.send(self._first, RuntimeData.audio(samples, RATE, 2))
            check((await self._receive()).as_numpy(), samples.size, value)
        await self._session.send(self._first, RuntimeData.text("[]"))
        lists: list[list[int]] = json.loads(str((await self._receive()).payload))
        return lists

    async def _receive(self) -> RuntimeData:
        try:
            data = await self._session.receive(self._last, timeout=LATE_SECS)
        except TimeoutError:
            raise self._errors[0] if self._errors else TimeoutError(f"nothing came for {LATE_SECS:g} s") from None
        assert data is not None
        return data

    def observe_idle(self, secs: float) -> dict[str, Any]:
        """What the node processes do while nothing is sent."""
        return self._runner.run(self._observe(secs, asyncio.sleep(secs)))

    def observe_load(self, size: int, hz: int, secs: float) -> dict[str, Any]:
        """What they do while messages pass."""
        return self._runner.run(self._observe(secs, self._play(size, int(hz * secs), hz)))

    async def _observe(self, secs: float, meanwhile: Any) -> dict[str, Any]:
        pids = list(self._session.pids.values())
        before, start_ns = [spent(pid) for pid in pids], time.monotonic_ns()
        await meanwhile
        took_ns = time.monotonic_ns() - start_ns
        after = [spent(pid) for pid in pids]
        switches, cpu_ns = (
            sum(then[which] - now[which] for now, then in zip(before, after, strict=True)) for which in (0, 1)
        )
        return {"secs": took_ns / 1e9, "nodes": len(pids), "switches": switches, "cpu_ns": cpu_ns}


def spent(pid: int) -> tuple[int, int]:
    """Context switches and CPU time of a process, with all its threads.

    A process that sleeps all the time makes no system call, and one that does wakes up for it: a switch. The
    scheduler's own account is in nanoseconds; that of ``stat`` in ticks of 10 ms, between which short work gets lost.
    """
    switches = cpu_ns = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        cpu_ns += int((task / "schedstat").read_text().split()[0])
        for line in (task / "status").read_text().splitlines():
            if "ctxt_switches" in line:
                switches += int(line.split()[1])
    return switches, cpu_ns
