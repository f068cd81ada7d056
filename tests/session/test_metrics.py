"""What a session's nodes use: memory counted once, processor time, and never a stranger's."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocess.kernel.procfs import ProcessUsage

pytestmark = pytest.mark.usefixtures("leak_check")

FRAME_BYTES = 64_000_000


def shared_bytes_of(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssShmem:"))


def test_shared_memory_is_counted_once(px: Any) -> None:
    async def main() -> None:
        looks = {"keep": 0}  # they look at all of it
        pipeline = px.Pipeline().add_node("t-echo", "a").add_node("t-hold", "b", looks).add_node("t-hold", "c", looks)
        pipeline.connect("a", "output", "b", "input").connect("a", "output", "c", "input").add_output("a")
        async with px.Session("s", pipeline) as session:
            before = session.get_metrics()
            assert before.process_count == 3
            assert before.memory_mb > sum(node.memory_mb for node in before.nodes.values()) > 3
            frame = await session.loan(FRAME_BYTES, np.uint8)
            frame[:] = 7
            await session.send("a", RuntimeData.tensor(frame))
            del frame
            held = await session.receive("a")
            await px.until(lambda: [node.messages for node in session.node_stats()] == [1, 1, 1])
            assert all(shared_bytes_of(session.pids[node_id]) >= FRAME_BYTES for node_id in ("b", "c"))
            now = session.get_metrics()
            assert now.shared_used_bytes >= FRAME_BYTES
            assert now.shared_resident_bytes >= FRAME_BYTES
            grown_mb = now.memory_mb - before.memory_mb
            assert FRAME_BYTES / 1e6 <= grown_mb < 1.5 * FRAME_BYTES / 1e6
            del held
        after = session.get_metrics()
        assert (after.process_count, after.memory_mb, after.cpu_secs) == (0, 0.0, 0.0)
        assert (after.shared_used_bytes, after.shared_resident_bytes) == (0, 0)

    px.run(main())


def test_memory_of_a_node_is_not_what_it_shares(px: Any) -> None:
    async def main() -> None:
        async with px.session(("t-hold", {"keep": 0})) as session:
            pid = session.pids["n0"]
            before = session.get_metrics().nodes["n0"].memory_mb
            await session.send("n0", RuntimeData.tensor(np.ones(FRAME_BYTES, np.uint8)))
            await px.until(lambda: shared_bytes_of(pid) >= FRAME_BYTES)  # it has looked at all of it
            # Comparing made an array of as many booleans; that is its own.
            assert session.get_metrics().nodes["n0"].memory_mb - before < 1.5 * FRAME_BYTES / 1e6

    px.run(main())


def test_processor_time_and_latency(px: Any) -> None:
    async def main() -> None:
        async with px.session(("t-work", {"secs": 0.02}), "t-echo") as session:
            worker = session.get_metrics().nodes["n0"]
            for _ in range(10):
                await session.send("n0", px.text("x"))
                await session.receive("n1")
            await px.until(lambda: session.node_stats()[0].messages == 10)  # it counts what it has put out
            metrics = session.get_metrics()
            worked = metrics.nodes["n0"]
            # It may have been kept from the processor meanwhile: then the 20 ms were not all its own.
            assert worked.cpu_secs > worker.cpu_secs
            assert metrics.cpu_secs == sum(node.cpu_secs for node in metrics.nodes.values())
            assert 0.02 <= worked.latency_p50_secs <= worked.latency_p95_secs <= worked.latency_p99_secs
            stats = session.node_stats()[0]
            assert (worked.latency_p50_secs, worked.latency_p99_secs) == (
                stats.latency_p50_secs,
                stats.latency_p99_secs,
            )
            assert sum(count for _, count in stats.latency_histogram()) == 10
            assert stats.latency_p50_secs <= stats.latency_max_secs

    px.run(main())


def test_before_initialize(px: Any) -> None:
    metrics = px.session("t-echo").get_metrics()
    assert (metrics.process_count, metrics.memory_mb) == (0, 0.0)
    assert list(metrics.nodes) == ["n0"]


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "3600"]) as process:
        yield process
        process.kill()


def test_a_process_that_ended_has_no_usage(sleeper: subprocess.Popen[bytes]) -> None:
    usage = ProcessUsage(sleeper.pid)
    found = usage.read()
    assert found is not None and found.memory_bytes > 0
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    zombie = usage.read()
    assert zombie is not None and zombie.memory_bytes == 0
    sleeper.wait()
    assert usage.read() is None
    assert ProcessUsage(sleeper.pid).read() is None


def test_a_stranger_with_the_same_number_is_none_of_ours(sleeper: subprocess.Popen[bytes]) -> None:
    usage = ProcessUsage(sleeper.pid)
    # Numbers come round after millions of processes; here another one has it at once.
    usage._folder = Path(f"/proc/{os.getpid()}")
    assert usage.read() is None
