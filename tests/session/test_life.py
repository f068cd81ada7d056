"""The life of a session: its states, its progress, its end."""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path
from typing import Any

import pytest

from remotemedia.core.multiprocessing import (
    InitProgress,
    Pipeline,
    PipelineError,
    Session,
    SessionStateError,
    SessionStatus,
)

pytestmark = pytest.mark.usefixtures("leak_check")


def test_every_node_goes_through_the_same_steps(px: Any) -> None:
    heard: list[InitProgress] = []

    async def main() -> None:
        session = px.session("t-echo", ("t-init", {"how": "progress"}), "t-echo")
        await session.initialize(heard.append)
        assert session.status is SessionStatus.READY
        await session.cleanup()

    px.run(main())
    plain = [("starting", 0.0, None), ("loading", 0.0, None), ("connecting", 0.95, None), ("ready", 1.0, None)]
    own = [("loading", 0.25, "reading weights"), ("loading", 0.5, "half"), ("loading", 1.0, "too much")]
    own.append(("loading", 0.0, "not a number"))
    for node_id, steps in {"n0": plain, "n1": [*plain[:2], *own, *plain[2:]], "n2": plain}.items():
        came = [(p.status, p.progress, p.message) for p in heard if p.node_id == node_id]
        # On a busy machine a node that still loads is heard of again.
        assert [step for step in came if "so far" not in str(step[2])] == steps
    assert [p.node_id for p in heard[:3]] == ["n0", "n1", "n2"], "all start before any is waited for"


def test_progress_reported_after_ready_is_not_taken_for_loading(px: Any) -> None:
    heard: list[InitProgress] = []

    async def main() -> None:
        session = px.session("t-do")
        await session.initialize(heard.append)
        await session.start()
        await px.send_all(session, "n0", ["progress late", "x"])
        assert await px.received(session, "n0") == ["progress late", "x"]
        await session.cleanup()

    px.run(main())
    assert heard[-1].status == "ready"


def test_calls_at_the_wrong_time_say_which_state_they_need(px: Any) -> None:
    async def main() -> None:
        session = px.session("t-echo")
        running_only = {
            "send": lambda: session.send("n0", px.text("x")),
            "receive": lambda: session.receive("n0"),
            "end_input": lambda: session.end_input(),
            "interrupt": lambda: session.interrupt(),
            "outputs": lambda: px.collect(session.outputs()),
        }

        async def refused(*names: str) -> None:
            for name in names:
                with pytest.raises(SessionStateError, match=rf"{name}\(\) needs a session that is running"):
                    await running_only[name]()

        assert session.status is SessionStatus.CREATED
        assert session.pids == {}
        await refused(*running_only)
        with pytest.raises(SessionStateError, match=r"start\(\) needs a session that is ready; session 's' is created"):
            await session.start()
        with pytest.raises(SessionStateError):
            session.channel_stats()

        await session.initialize()
        assert list(session.pids) == ["n0"]
        await refused(*running_only)
        with pytest.raises(SessionStateError, match=r"initialize\(\) needs a session that is created"):
            await session.initialize()

        await session.start()
        assert session.status is SessionStatus.RUNNING
        with pytest.raises(SessionStateError, match="is running"):
            await session.start()

        await session.stop()
        assert session.status is SessionStatus.STOPPED
        assert session.pids == {}
        await refused(*running_only)
        with pytest.raises(SessionStateError, match="is stopped"):
            await session.initialize()
        await session.stop()
        await session.cleanup()
        await session.cleanup()
        assert session.status is SessionStatus.STOPPED
        assert session.get_channel_stats("session_to_n0").message_count == 0

    px.run(main())


def test_stop_and_cleanup_before_initialize_do_nothing(px: Any) -> None:
    async def main() -> None:
        for call in ("stop", "cleanup"):
            session = px.session("t-echo")
            await getattr(session, call)()
            assert session.status is SessionStatus.STOPPED
            with pytest.raises(SessionStateError):
                await session.initialize()

    px.run(main())


def test_a_context_manager_runs_and_cleans_up_whatever_happens(px: Any) -> None:
    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            async with px.session("t-echo") as session:
                assert session.status is SessionStatus.RUNNING
                pids = list(session.pids.values())
                raise ZeroDivisionError
        assert session.status is SessionStatus.STOPPED
        assert not any(px.exists(pid) for pid in pids)

    px.run(main())


def test_initialized_and_started_without_data(px: Any, tmp_path: Path) -> None:
    async def main() -> None:
        for start in (False, True):
            session = px.session(*[("t-echo", {"cleanup_file": str(tmp_path / f"{start}")})] * 3)
            await session.initialize()
            if start:
                await session.start()
            await session.stop()
        assert {(tmp_path / f"{start}").read_text().count("\n") for start in (False, True)} == {3}

    px.run(main())


def test_stop_drains_what_is_queued_and_runs_cleanup(px: Any, tmp_path: Path) -> None:
    count = 40
    bell = tmp_path / "cleaned"

    async def main() -> None:
        session = px.session(
            ("t-work", {"secs": 0.005, "cleanup_file": str(bell)}), ("t-echo", {"cleanup_file": str(bell)})
        )
        await session.initialize()
        await session.start()
        for _ in range(count):
            await session.send("n0", px.text("x"))
        await session.stop()
        assert [stats.messages for stats in session.node_stats()] == [count, count]
        assert sorted(bell.read_text().split()) == ["n0", "n1"]

    px.run(main())


def test_stop_drains_although_nobody_takes_the_outputs(px: Any, tmp_path: Path) -> None:
    bell = tmp_path / "cleaned"

    async def main() -> None:
        session = px.session("t-echo", ("t-echo", {"cleanup_file": str(bell)}), channel_capacity=2)
        await session.initialize()
        await session.start()
        for _ in range(6):  # two in each of the three channels: each of both nodes is stuck with one in its hands
            await session.send("n0", px.text("x"))
        await px.until(lambda: session.get_channel_stats("n1_to_session").current_occupancy == 2)
        await session.stop()
        assert [stats.messages for stats in session.node_stats()] == [6, 6]
        assert bell.read_text().split() == ["n1"]

    px.run(main())


def test_stop_wakes_whoever_waits_in_another_task(px: Any) -> None:
    async def main() -> None:
        session = px.session("t-do", channel_capacity=1)
        await session.initialize()
        await session.start()
        await session.send("n0", px.text("wait"))
        assert await session.receive("n0") is not None
        calls = {
            "receive": asyncio.create_task(session.receive("n0")),
            "outputs": asyncio.create_task(px.collect(session.outputs())),
            "send": asyncio.create_task(px.send_all(session, "n0", ["x"] * 3, end=False)),
        }
        await px.until(lambda: session.get_channel_stats("session_to_n0").current_occupancy == 1)
        stop = asyncio.create_task(session.stop())
        for name, call in calls.items():
            with pytest.raises(SessionStateError, match=rf"{name}\(\) needs a session that is running"):
                await call
        stop.cancel()  # it would wait its grace period for the node that waits for ever
        with pytest.raises(asyncio.CancelledError):
            await stop
        assert session.pids == {}

    px.run(main())


def test_stop_ends_an_interrupt_that_waits_in_another_task(px: Any) -> None:
    async def main() -> None:
        session = px.session("t-do", cleanup_grace_period_secs=0.2)
        await session.initialize()
        await session.start()
        await session.send("n0", px.text("stick"))
        assert await session.receive("n0") is not None
        await px.until(lambda: px.sticks(session.pids["n0"]))
        interrupt = asyncio.create_task(session.interrupt())
        await asyncio.sleep(0)
        await session.stop()
        with pytest.raises(SessionStateError):
            await interrupt

    px.run(main())


def test_stop_ends_an_initialize_that_waits_in_another_task(px: Any) -> None:
    async def main() -> None:
        heard = asyncio.Event()
        session = px.session(("t-init", {"how": "wait"}))
        initialize = asyncio.create_task(session.initialize(lambda progress: heard.set() if progress.message else None))
        await heard.wait()
        pids = list(session.pids.values())
        await session.stop()
        with pytest.raises(SessionStateError, match="stop"):
            await initialize
        assert session.status is SessionStatus.STOPPED
        assert not any(px.exists(pid) for pid in pids)

    px.run(main())


def test_stop_cancelled_kills(px: Any) -> None:
    async def main() -> None:
        session = px.session(("t-slow-cleanup", {"grandchild": True}), "t-echo", cleanup_grace_period_secs=3600)
        grandchildren: list[int] = []
        await session.initialize(lambda p: grandchildren.extend([px.grandchild(p.message)] if p.message else []))
        await session.start()
        pids = session.pids
        stop = asyncio.create_task(session.stop())
        await px.until(lambda: not px.exists(pids["n1"]))
        assert px.exists(pids["n0"])
        stop.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stop
        assert not px.exists(pids["n0"])
        await px.until(lambda: not px.lives(grandchildren[0]))
        await session.cleanup()
        assert session.status is SessionStatus.STOPPED

    px.run(main())


def test_two_stops_at_once(px: Any) -> None:
    async def main() -> None:
        session = px.session("t-echo", "t-echo")
        await session.initialize()
        await session.start()
        await asyncio.gather(session.stop(), session.cleanup(), session.stop())
        assert session.status is SessionStatus.STOPPED

    px.run(main())


@pytest.mark.parametrize(("node_type", "signal_number"), [("t-do", signal.SIGTERM), ("t-deaf", signal.SIGKILL)])
def test_a_node_stuck_in_c_code_is_terminated_then_killed(
    px: Any, caplog: pytest.LogCaptureFixture, node_type: str, signal_number: signal.Signals
) -> None:
    async def main() -> None:
        session = px.session(node_type, cleanup_grace_period_secs=0.1)
        await session.initialize()
        await session.start()
        await session.send("n0", px.text("stick"))
        assert await session.receive("n0") is not None
        pid = session.pids["n0"]
        await session.stop()
        assert not px.exists(pid)
        assert session.status is SessionStatus.STOPPED

    with caplog.at_level(logging.WARNING, "remotemedia.session"):
        px.run(main())
    said = [record.getMessage() for record in caplog.records if record.name == "remotemedia.session"]
    assert "['n0'] did not stop within 0.1 s: SIGTERM" in said[0]
    assert said[-1] == f"node 'n0' ended with killed by signal {signal_number.value} while the session stopped"


def test_a_cleanup_that_raises_stops_nobody(px: Any, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    bell = tmp_path / "cleaned"

    async def main() -> None:
        async with px.session("t-bad-cleanup", ("t-echo", {"cleanup_file": str(bell)})):
            pass

    px.run(main())
    assert "RuntimeError: cannot clean up" in caplog.text
    assert bell.exists()


@pytest.mark.parametrize("step", ["starting", "loading", "ready"])
def test_a_progress_callback_that_raises_ends_initialize(px: Any, step: str) -> None:
    async def main() -> None:
        session = px.session("t-echo", "t-echo")

        def on_progress(progress: InitProgress) -> None:
            if progress.status == step:
                raise ZeroDivisionError(progress.node_id)

        with pytest.raises(ZeroDivisionError):
            await session.initialize(on_progress)
        assert session.status is SessionStatus.ERROR
        assert session.pids == {}
        await session.cleanup()

    px.run(main())


def test_initialize_cancelled_leaves_nothing(px: Any) -> None:
    async def main() -> None:
        heard = asyncio.Event()
        session = px.session(("t-init", {"how": "wait"}), "t-echo")
        task = asyncio.create_task(session.initialize(lambda p: heard.set() if p.message else None))
        await heard.wait()
        pids = list(session.pids.values())
        assert len(pids) == 2
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not any(px.exists(pid) for pid in pids)

    px.run(main())


def test_sessions_side_by_side_and_in_a_loop_each(px: Any) -> None:
    async def one(number: int) -> list[Any]:
        pipeline = px.chain("t-tag", "t-tag")
        async with Session(f"side-{number}", pipeline) as session:
            await px.send_all(session, "n0", [str(number)])
            data = await session.receive("n1")
            assert data.session_id == f"side-{number}"
            return [data.payload, *(await px.received(session, "n1"))]

    async def main() -> list[Any]:
        return await asyncio.gather(*(one(number) for number in range(3)))

    for _ in range(2):
        assert px.run(main()) == [[f"{number}>n0.input>n1.input"] for number in range(3)]


@pytest.mark.parametrize("bad", ["", "a\0b", 7, None])
def test_session_ids_are_checked(px: Any, bad: Any) -> None:
    with pytest.raises(ValueError, match="session_id"):
        Session(bad, px.chain("t-echo"))


def test_a_pipeline_is_checked(px: Any) -> None:
    with pytest.raises(TypeError, match="pipeline must be a Pipeline"):
        Session("s", [])  # type: ignore[arg-type]
    with pytest.raises(PipelineError, match="has no nodes"):
        px.run(Session("s", Pipeline()).initialize())


@pytest.mark.parametrize("state", ["wait", "stick", "idle"])
def test_aborting_does_not_wait_for_what_is_under_way(px: Any, tmp_path: Path, state: str) -> None:
    """The grace period is longer than any test may take: whoever drained, or waited for a node, would never return."""
    file = tmp_path / "cleaned"

    async def main() -> None:
        config = {"cleanup_file": str(file)}
        session = px.session(("t-do", config), ("t-echo", config), cleanup_grace_period_secs=3600)
        await session.initialize()
        await session.start()
        await session.send("n0", px.text(state))
        assert (await session.receive("n1")).payload == state
        if state == "stick":
            await px.until(lambda: px.sticks(session.pids["n0"]))
        pids = list(session.pids.values())
        await session.cleanup(abort=True)
        assert session.status is SessionStatus.STOPPED
        assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]

    px.run(main())
    cleaned = sorted(file.read_text().split()) if file.exists() else []
    assert cleaned == (["n1"] if state == "stick" else ["n0", "n1"]), "one that is stuck is killed, the others clean up"


def test_cleanup_that_awaits_a_task_it_cancelled(px: Any) -> None:
    async def main() -> None:
        async with px.session(("t-own-task", {"where": "cleanup"})) as session:
            await px.send_all(session, "n0", ["x"])
            assert await px.received(session, "n0") == ["x"]
            child = session._supervisor.children["n0"]
        assert session.status is SessionStatus.STOPPED
        assert child.exited.result().code == 0

    px.run(main())


def test_cleanup_after_a_stop_cancelled_twice(px: Any) -> None:
    async def main() -> None:
        session = px.session("t-do")
        await session.initialize()
        await session.start()
        await session.send("n0", px.text("wait"))
        assert await session.receive("n0") is not None  # it does not drain now
        stopping = asyncio.create_task(session.stop())
        await px.until(lambda: session.status is SessionStatus.STOPPING)
        stopping.cancel()
        await asyncio.sleep(0)
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping
        await session.cleanup()
        assert session.status is SessionStatus.STOPPED
        assert session.pids == {}

    px.run(main())
