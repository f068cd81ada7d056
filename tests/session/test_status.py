"""What a session says of its nodes while they start, work, hang, fail, crash and stop."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import (
    InitializationTimeout,
    NodeInitializationError,
    NodeStatus,
    ProcessCrashError,
    SessionStatus,
)

pytestmark = pytest.mark.usefixtures("leak_check")


def states(session: Any) -> list[str]:
    return [node.state.value for node in session.get_status().nodes.values()]


def test_before_during_and_after(px: Any) -> None:
    session = px.session("t-echo", "t-tag")
    assert session.get_status().status is SessionStatus.CREATED
    assert states(session) == ["idle", "idle"]
    assert {node.pid for node in session.get_status().nodes.values()} == {None}
    seen = set()

    async def main() -> None:
        await session.initialize(lambda progress: seen.update(states(session)))
        await session.start()
        await px.send_all(session, "n0", ["a", "b", "c"], end=False)
        for _ in range(3):
            await session.receive("n1")
        await px.until(lambda: states(session) == ["ready", "ready"])
        report = session.get_status()
        assert report.session_id == "s"
        assert report.status is SessionStatus.RUNNING
        assert list(report.nodes) == ["n0", "n1"]
        assert {node_id: node.pid for node_id, node in report.nodes.items()} == session.pids
        assert [node.node_type for node in report.nodes.values()] == ["t-echo", "t-tag"]
        assert [node.messages for node in report.nodes.values()] == [3, 3]
        assert all(node.uptime_secs > 0 and node.busy_secs == 0 for node in report.nodes.values())
        assert {node.last_error for node in report.nodes.values()} == {None}
        await session.cleanup()

    px.run(main())
    assert {"idle", "initializing"} <= seen <= {"idle", "initializing", "ready"}
    last = session.get_status()
    assert last.status is SessionStatus.STOPPED
    assert states(session) == ["stopped", "stopped"]
    assert [(node.pid, node.messages, node.last_error) for node in last.nodes.values()] == [(None, 3, None)] * 2
    assert last == session.get_status()  # also the uptime is that of its end


def test_a_stuck_node_shows_and_then_a_killed_one(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-echo", "t-do", "t-echo") as session:
            await session.send("n0", px.text("stick"))
            assert await session.receive("n2") is not None
            await px.until(lambda: px.sticks(session.pids["n1"]))
            await px.until(lambda: states(session) == ["ready", "processing", "ready"])
            first = session.get_status().nodes["n1"]
            second = session.get_status().nodes["n1"]
            assert 0 < first.busy_secs < second.busy_secs
            assert second.messages == 0
            os.kill(second.pid, signal.SIGKILL)
            with pytest.raises(ProcessCrashError):
                await session.receive("n2")
            report = session.get_status()
            assert report.status is SessionStatus.ERROR
            assert states(session) == ["stopped", "error", "stopped"]
            crashed = report.nodes["n1"]
            assert crashed.last_error == "Process n1 crashed with code 137 (killed by SIGKILL)"
            assert (crashed.pid, crashed.busy_secs) == (None, 0.0)
        assert states(session) == ["stopped", "error", "stopped"]
        assert session.node_stats()[1].current_secs == 0

    px.run(main())


def test_a_failed_message_is_the_last_error(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-do") as session:
            for reason in ("first", "second"):
                await session.send("n0", px.text(f"raise {reason}"))
            await session.end_input()
            await px.received(session, "n0")
            await px.until(lambda: session.get_status().nodes["n0"].last_error == "ValueError: second")
            assert session.get_status().nodes["n0"].failures == 2
        assert session.get_status().nodes["n0"].last_error == "ValueError: second"

    px.run(main())


def test_a_node_that_cannot_be_initialized(px: Any) -> None:
    session = px.session("t-echo", ("t-init", {"how": "raise"}))

    async def main() -> None:
        with pytest.raises(NodeInitializationError):
            await session.initialize()

    px.run(main())
    assert session.get_status().status is SessionStatus.ERROR
    assert states(session) == ["stopped", "error"]
    assert session.get_status().nodes["n1"].last_error == "RuntimeError: no such weights"


def test_a_node_that_is_late(px: Any) -> None:
    session = px.session("t-echo", ("t-init", {"how": "wait"}), init_timeout_secs=3)

    async def main() -> None:
        starting = asyncio.create_task(session.initialize())
        await px.until(lambda: states(session) == ["ready", "initializing"])
        with pytest.raises(InitializationTimeout):
            await starting

    px.run(main())
    assert states(session) == ["stopped", "error"]
    assert "init_timeout_secs" in (session.get_status().nodes["n1"].last_error or "")


def test_a_node_that_will_not_stop(px: Any) -> None:
    async def main() -> Any:
        async with px.session("t-slow-cleanup") as session:
            stopping = asyncio.create_task(session.stop())
            await px.until(lambda: states(session) == ["stopping"])
            assert session.get_status().nodes["n0"].pid is not None
            stopping.cancel()
            with pytest.raises(asyncio.CancelledError):
                await stopping
        return session

    session = px.run(main())
    node = session.get_status().nodes["n0"]
    assert node.state is NodeStatus.STOPPED
    assert node.last_error == "ended with killed by signal 9 while the session stopped"


def test_who_blocks_whom(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-echo", "t-do", channel_capacity=1) as session:
            await session.send("n0", px.text("wait"))
            assert await session.receive("n1") is not None
            for _ in range(2):  # one fills the channel, with the other its publisher waits
                await session.send("n0", px.text("x"))
            await px.until(lambda: session.get_channel_stats("n0_to_n1").blocked_now_secs > 0)
            first, second = (session.get_channel_stats("n0_to_n1") for _ in range(2))
            assert (first.publisher, first.subscriber, first.blocked_by) == ("n0", "n1", "n1")
            assert first.blocked_now_secs < second.blocked_now_secs
            assert session.get_status().nodes["n0"].state is NodeStatus.PROCESSING
            output = session.get_channel_stats("n1_to_session")
            assert (output.publisher, output.subscriber, output.blocked_by) == ("n1", "session", None)
            await session.interrupt()  # what blocked it is over
            await px.until(lambda: session.get_channel_stats("n0_to_n1").blocked_now_secs == 0)
            assert session.get_channel_stats("n0_to_n1").blocked_by == "n1"
            assert session.get_channel_stats("n0_to_n1").blocked_memory_secs == 0

    px.run(main())


def test_nobody_in_particular_holds_the_memory(px: Any) -> None:
    async def main() -> None:
        async with px.session(("t-hold", {"keep": 9}), shm_segment_size=65536) as session:
            filling = RuntimeData.tensor(np.zeros(60_000, np.uint8))
            await session.send("n0", filling)
            sending = asyncio.create_task(session.send("n0", filling))
            await px.until(lambda: session.get_channel_stats("session_to_n0").blocked_now_secs > 0)
            assert session.get_channel_stats("session_to_n0").blocked_by is None
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            stats = session.get_channel_stats("session_to_n0")
            assert stats.blocked_now_secs == 0
            assert stats.blocked_memory_secs == stats.blocked_secs > 0
            assert stats.blocked_by is None

    px.run(main())
