"""What an executor tells of the processes of its sessions, and to whom."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from typing import Any

import pytest

from remotemedia.core.multiprocessing import (
    EventsLost,
    EventStream,
    ExitReason,
    MultiprocessError,
    MultiprocessExecutor,
    NodeFailed,
    NodeInitializationError,
    NodeProcessError,
    ProcessCrashError,
    ProcessEvent,
    ProcessExited,
    ProcessProgress,
    ProcessReady,
    ProcessStarted,
    Session,
    SessionStateError,
    default_executor,
)

pytestmark = pytest.mark.usefixtures("leak_check")


async def rest(events: EventStream) -> list[ProcessEvent]:
    """All that is left; the stream ends with its executor."""
    return [event async for event in events]


def of(events: list[ProcessEvent], session_id: str, node_id: str) -> list[ProcessEvent]:
    return [event for event in events if (event.session_id, event.node_id) == (session_id, node_id)]


def test_a_process_is_heard_of_from_start_to_exit(px: Any) -> None:
    async def main() -> tuple[dict[str, int], list[ProcessEvent]]:
        async with MultiprocessExecutor() as executor:
            events = executor.events()
            session = await executor.create_session("one", px.chain("t-init", "t-echo"))
            pids = session.pids
        return pids, await rest(events)

    pids, heard = px.run(main())
    for node_id, pid in pids.items():
        story = of(heard, "one", node_id)
        assert {event.pid for event in story} == {pid}
        assert [event.timestamp for event in story] == sorted(event.timestamp for event in story)
        started, *progress, ready, exited = story
        assert isinstance(started, ProcessStarted)
        assert [event.progress.status for event in progress if isinstance(event, ProcessProgress)] == (
            ["starting", "loading", "loading", "connecting"]
            if node_id == "n0"
            else ["starting", "loading", "connecting"]
        )
        assert isinstance(ready, ProcessReady)
        assert isinstance(exited, ProcessExited)
        assert (exited.reason, exited.exit_code, exited.signal, exited.crashed) == (ExitReason.NORMAL, 0, None, False)
    assert len(heard) == len(of(heard, "one", "n0")) + len(of(heard, "one", "n1"))


def test_a_failed_message_is_an_event(px: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> list[ProcessEvent]:
        async with MultiprocessExecutor() as executor:
            session = await executor.create_session("one", px.chain("t-do"))
            events = executor.events()
            await px.send_all(session, "n0", ["fine", "raise no good"])
            await px.received(session, "n0")
        return await rest(events)

    failed, exited = px.run(main())
    assert isinstance(failed, NodeFailed)
    assert isinstance(failed.error, NodeProcessError)
    assert (failed.error.sequence, failed.error.reason) == (1, "ValueError: no good")
    assert isinstance(exited, ProcessExited)


def test_a_node_that_cannot_initialize_is_an_event(px: Any) -> None:
    async def main() -> list[ProcessEvent]:
        async with MultiprocessExecutor() as executor:
            events = executor.events()
            with pytest.raises(NodeInitializationError):
                await executor.create_session("one", px.chain(("t-init", {"how": "raise"})))
        return await rest(events)

    *_, failed, exited = px.run(main())
    assert isinstance(failed, NodeFailed)
    assert isinstance(failed.error, NodeInitializationError)
    assert isinstance(exited, ProcessExited)
    assert exited.reason is ExitReason.ERROR


def test_a_crash_is_an_event_and_a_callback(px: Any, caplog: pytest.LogCaptureFixture) -> None:
    crashes: list[ProcessCrashError] = []

    def broken(error: ProcessCrashError) -> None:
        raise ValueError("the callback's own fault")

    async def main() -> list[ProcessEvent]:
        async with MultiprocessExecutor() as executor:
            executor.on_process_crash(broken)
            executor.on_process_crash(crashes.append)
            doomed = await executor.create_session("doomed", px.chain("t-do", "t-echo"))
            other = await executor.create_session("other", px.chain("t-echo"))
            events = executor.events()
            await doomed.send("n0", px.text("die SIGKILL"))
            with pytest.raises(ProcessCrashError):
                await px.received(doomed, "n1")
            await px.send_all(other, "n0", ["x"])
            assert await px.received(other, "n0") == ["x"]
        return await rest(events)

    heard = px.run(main())
    (killed,) = of(heard, "doomed", "n0")
    (companion,) = of(heard, "doomed", "n1")
    assert isinstance(killed, ProcessExited)
    assert isinstance(companion, ProcessExited)
    assert (killed.reason, killed.exit_code, killed.signal, killed.crashed) == (ExitReason.KILLED, 137, 9, True)
    assert not companion.crashed
    assert [(error.session_id, error.node_id, error.signal) for error in crashes] == [("doomed", "n0", 9)]
    assert "the callback's own fault" in caplog.text


def test_every_listener_hears_everything_from_its_making_on(px: Any) -> None:
    async def main() -> tuple[list[ProcessEvent], list[ProcessEvent], list[ProcessEvent]]:
        async with MultiprocessExecutor() as executor:
            first, second, closed = (executor.events() for _ in range(3))
            await executor.create_session("one", px.chain("t-echo"))
            late = executor.events()
            closed.close()
            kept = await rest(closed)
        one, two = await rest(first), await rest(second)
        assert one == two
        assert kept == one[:-1]
        return one, await rest(late), kept

    everything, late, _ = px.run(main())
    assert late == everything[-1:]


def test_a_slow_listener_is_told_how_much_it_missed(px: Any) -> None:
    async def main() -> tuple[list[ProcessEvent], list[ProcessEvent]]:
        async with MultiprocessExecutor() as executor:
            slow, all_of_it = executor.events(backlog=2), executor.events()
            await executor.create_session("one", px.chain("t-echo"))
            first = [await anext(slow) for _ in range(3)]
        return first + await rest(slow), await rest(all_of_it)

    found, everything = px.run(main())
    assert found[:2] == everything[:2]
    assert isinstance(found[2], EventsLost)
    assert found[2].count == len(everything) - 3
    assert found[3:] == everything[-1:]


def test_a_listener_on_another_event_loop(px: Any) -> None:
    executor = MultiprocessExecutor()
    listening = threading.Event()
    heard: list[ProcessEvent] = []

    async def listen() -> None:
        events = executor.events()
        listening.set()
        heard.extend(await rest(events))

    listener = threading.Thread(target=lambda: asyncio.run(listen()))
    listener.start()

    async def main() -> None:
        async with executor:
            await executor.create_session("one", px.chain("t-echo"))

    try:
        listening.wait()
        px.run(main())
    finally:
        executor._roll.bus.end()
        listener.join()
    assert isinstance(heard[0], ProcessStarted)
    assert isinstance(heard[-1], ProcessExited)


def test_a_listener_nobody_has_any_more_is_forgotten(px: Any) -> None:
    async def main() -> None:
        executor = MultiprocessExecutor()
        stream = weakref.ref(executor.events())
        gc.collect()
        assert stream() is None
        with pytest.raises(ValueError, match="backlog must be a positive number of events"):
            executor.events(backlog=0)

    px.run(main())


def test_a_session_on_its_own_is_one_of_the_default_executor(px: Any) -> None:
    async def main() -> None:
        executor = default_executor()
        events = executor.events()
        async with Session("alone", px.chain("t-echo")) as session:
            assert executor.sessions == {"alone": session}
            assert session.executor is executor
            twin = Session("alone", px.chain("t-echo"))
            with pytest.raises(MultiprocessError, match="'alone' exists already"):
                await twin.initialize()
        assert executor.sessions == {}
        await twin.initialize()  # the id is free again
        await twin.cleanup()
        events.close()
        heard = await rest(events)
        assert [type(event) for event in heard].count(ProcessStarted) == 2

    px.run(main())


def test_an_executor_that_was_shut_down_makes_no_more_sessions(px: Any) -> None:
    async def main() -> None:
        executor = MultiprocessExecutor()
        await executor.initialize()
        await executor.shutdown()
        with pytest.raises(SessionStateError, match="not shut down"):
            await executor.create_session("one", px.chain("t-echo"))
        with pytest.raises(SessionStateError, match="not shut down"):
            await executor.execute_node("t-echo", "n0")
        assert await rest(executor.events()) == []

    px.run(main())
