"""What a session's nodes use: memory counted once, processor time, and never a stranger's."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocess.kernel.procfs import ProcessUsage
from remotemedia.core.multiprocessing import PipelinePlace

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


def test_first_outputs_of_nodes(px: Any) -> None:
    async def main() -> None:
        pipeline = px.chain(("t-work", {"secs": 0.02}), ("t-repeat", {"times": 3}), ("t-repeat", {"times": 0}))
        pipeline.add_output("n1")
        async with px.Session("s", pipeline) as session:
            for _ in range(4):
                await session.send("n0", px.text("x"))
                for _ in range(3):
                    await session.receive("n1")
            await px.until(lambda: [stats.messages for stats in session.node_stats()] == [4, 4, 12])
            worked, repeated, silent = session.node_stats()
            # One for each message, however many outputs it has; none where it has none.
            assert [worked.first_outputs, repeated.first_outputs, silent.first_outputs] == [4, 4, 0]
            assert repeated.published == 12
            assert 0.02 <= worked.first_output_p50_secs <= worked.first_output_p95_secs <= worked.first_output_p99_secs
            assert 0.02 <= worked.first_output_mean_secs <= worked.first_output_max_secs
            assert worked.first_output_p99_secs <= worked.first_output_max_secs
            assert sum(count for _, count in worked.first_output_histogram()) == 4
            assert worked.first_output_sum_secs == pytest.approx(4 * worked.first_output_mean_secs)
            # The first is sent before process() is done with all of them.
            assert repeated.first_output_max_secs <= repeated.latency_max_secs
            assert silent.first_output_mean_secs == silent.first_output_p99_secs == silent.first_output_max_secs == 0
            metrics = session.get_metrics().nodes["n0"]
            assert metrics.first_output_p50_secs == worked.first_output_p50_secs
            assert metrics.first_output_p95_secs == worked.first_output_p95_secs
            assert metrics.first_output_p99_secs == worked.first_output_p99_secs
        assert session.node_stats()[0].first_output == worked.first_output

    px.run(main())


def test_first_outputs_of_turns(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-echo") as session:
            none = session.get_metrics()
            assert (none.first_outputs, none.first_output_p50_secs, none.first_output_p99_secs) == (0, 0.0, 0.0)
            segment = session._wiring.segment
            for _ in range(3):
                segment.first_output(time.monotonic_ns() - 10**9)
            segment.first_output(time.monotonic_ns() - 10**10)
            found = session.get_metrics()
            assert found.first_outputs == 4
            assert 1 <= found.first_output_p50_secs < 10 <= found.first_output_p95_secs <= found.first_output_p99_secs
            assert session.totals().pipelines[PipelinePlace("unnamed")].first_output.count == 4
            assert session.node_stats()[0].first_outputs == 0  # these are the session's
        after = session.get_metrics()
        assert (after.first_outputs, after.first_output_p95_secs) == (4, found.first_output_p95_secs)

    px.run(main())


def test_before_initialize(px: Any) -> None:
    metrics = px.session("t-echo").get_metrics()
    assert (metrics.process_count, metrics.memory_mb) == (0, 0.0)
    assert list(metrics.nodes) == ["n0"]
    assert (metrics.first_outputs, metrics.nodes["n0"].first_output_p95_secs) == (0, 0.0)


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
    usage.read_last()
    sleeper.wait()
    assert usage.cpu_secs() == zombie.cpu_secs
    assert usage.read() is None
    assert ProcessUsage(sleeper.pid).read() is None


def test_a_stranger_with_the_same_number_is_none_of_ours(sleeper: subprocess.Popen[bytes]) -> None:
    usage = ProcessUsage(sleeper.pid)
    # Numbers come round after millions of processes; here another one has it at once.
    usage._folder = Path(f"/proc/{os.getpid()}")
    assert usage.read() is None
