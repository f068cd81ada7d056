"""Nodes that are slow to load: heard of all the time, whatever they do, and not waited for longer than was allowed."""

from __future__ import annotations

import fcntl
import re
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import pytest

from remotemedia.core.multiprocessing import (
    InitializationTimeout,
    InitProgress,
    MultiprocessConfig,
    Pipeline,
    Session,
)

pytestmark = pytest.mark.usefixtures("leak_check", "node_types")

# What a beat of each repeats: what the node itself said last, if it can say anything.
SLOW = {
    "asleep": "(step ",
    "computing": "",
    "in-c": "(reading weights)",
    "memory": " GB)",
    "in-a-thread": "(half)",
    "in-its-constructor": "",
}


@pytest.fixture(scope="module")
def node_types(beside: Any) -> None:
    beside("loading_nodes")


@pytest.fixture
def until(tmp_path: Path) -> Iterator[IO[str]]:
    """The file that the nodes wait for, locked."""
    with (tmp_path / "until").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


@pytest.fixture
def memory_bytes(ledger: Any, scale: Any) -> int:
    """How much one node allocates: in the long form half of what the machine has to spare."""
    available = int(Path("/proc/meminfo").read_text().partition("MemAvailable:")[2].split()[0]) * 1024
    chosen: int = min(available // 2, scale(1_000_000_000, available))
    ledger.took("allocated by one node, GB", chosen / 1e9)
    return chosen


def slow_session(until: IO[str], memory_bytes: int, init_timeout_secs: float) -> Session:
    pipeline = Pipeline().add_node("loads-not", "quick")
    for kind in SLOW:
        pipeline.add_node(f"loads-{kind}", kind, {"until": until.name, "bytes": memory_bytes})
        pipeline.connect("quick", "output", kind, "input")
    return Session("s", pipeline, MultiprocessConfig(init_timeout_secs=init_timeout_secs))


@pytest.mark.promise(
    "SC-002",
    "while nodes load, each is heard of at least every 2 s",
    "nodes that sleep, compute, stick in C with the GIL held, allocate gigabytes page by page, load in a thread or in "
    "their constructor; with words of their own and without",
)
@pytest.mark.watchdog(240)
def test_updates(px: Any, ledger: Any, scale: Any, until: IO[str], memory_bytes: int) -> None:
    wanted = scale(2, 15)
    heard: dict[str, list[tuple[float, InitProgress]]] = defaultdict(list)
    beats = dict.fromkeys(SLOW, 0)

    def hear(progress: InitProgress) -> None:
        heard[progress.node_id].append((time.monotonic(), progress))
        kind, said = progress.node_id, str(progress.message)
        if kind in SLOW and progress.status == "loading" and "s so far" in said and SLOW[kind] in said:
            beats[kind] += 1
            if min(beats.values()) >= wanted:
                fcntl.flock(until, fcntl.LOCK_UN)

    async def main() -> None:
        # Without a beat for each of them nobody lets them go on.
        session = slow_session(until, memory_bytes, init_timeout_secs=60 + 3 * wanted)
        await session.initialize(hear)
        await session.cleanup()

    px.run(main(), patience_secs=200)
    for kind in SLOW:
        times, updates = zip(*heard[kind], strict=True)
        assert len(updates) >= wanted
        assert updates[-1].status == "ready"
        ledger.count("updates", len(updates))
        ledger.took("longest gap between updates of a node, s", max(b - a for a, b in pairwise(times)), p95_at_most=2)
    assert "ready" not in [progress.status for _, progress in heard["quick"][:-1]]  # ready, it is not heard of again
    ledger.count("slow nodes", len(SLOW))


@pytest.mark.promise(
    "SC-002",
    "nobody waits longer for a session than init_timeout_secs; the error names each late node and how far it was",
    "the same nodes, never let go",
)
@pytest.mark.parametrize("timeout_secs", [3.0, pytest.param(20.0, marks=pytest.mark.long)])
def test_late_nodes(px: Any, ledger: Any, until: IO[str], memory_bytes: int, timeout_secs: float) -> None:
    async def main() -> None:
        session = slow_session(until, memory_bytes, timeout_secs)
        started = time.monotonic()
        with pytest.raises(InitializationTimeout) as caught:
            await session.initialize()
        ledger.took("raised after init_timeout_secs, s", time.monotonic() - started - timeout_secs, p95_at_most=2)
        assert session.pids == {}
        named = dict(re.findall(r"'([\w-]+)' \((\w+), \d+ %", str(caught.value)))
        assert set(SLOW) <= set(named) <= {*SLOW, "quick"}  # that, too, may be late where the machine is busy
        assert set(named.values()) <= {"starting", "loading", "connecting"}
        await session.cleanup()

    px.run(main(), patience_secs=100)
    ledger.count("late nodes", len(SLOW))
