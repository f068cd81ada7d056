"""Sessions that are made, ended and made again at the same time: the executor loses none and keeps none."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from remotemedia.core.multiprocessing import (
    MultiprocessConfig,
    MultiprocessExecutor,
    ProcessEvent,
    ProcessExited,
    Session,
    SessionStateError,
    SessionStatus,
)

pytestmark = pytest.mark.usefixtures("leak_check")


def test_a_session_that_takes_over_an_id_is_still_the_executors(px: Any) -> None:
    async def main() -> None:
        executor = MultiprocessExecutor()
        first = asyncio.create_task(executor.create_session("one", px.chain(("t-init", {"how": "wait"}))))
        await px.until(lambda: executor.sessions)
        await executor.terminate_session("one")
        second = await executor.create_session("one", px.chain("t-echo"))
        with pytest.raises(SessionStateError, match="stopped meanwhile"):
            await first
        try:
            await executor.shutdown()
            assert second.pids == {}
        finally:
            await second.cleanup()

    px.run(main())


def test_shutdown_waits_for_sessions_that_are_being_ended(px: Any) -> None:
    async def main() -> None:
        executor = MultiprocessExecutor()
        session = await executor.create_session("one", px.chain("t-echo"))
        ending = asyncio.create_task(executor.terminate_session("one"))
        other = asyncio.create_task(executor.shutdown())
        await asyncio.sleep(0)
        await executor.shutdown()
        assert session.pids == {}
        await asyncio.gather(ending, other)

    px.run(main())


def test_a_session_that_cleans_up_itself_gives_its_id_back(px: Any) -> None:
    async def main() -> None:
        async with MultiprocessExecutor() as executor:
            session = await executor.create_session("one", px.chain("t-echo"))
            await session.cleanup()
            assert executor.sessions == {}
            await executor.create_session("one", px.chain("t-echo"))

    px.run(main())


def test_an_end_that_is_cancelled_leaves_no_session(px: Any) -> None:
    async def main() -> None:
        async with MultiprocessExecutor() as executor:
            session = await executor.create_session("one", px.chain("t-echo"))
            ending = asyncio.create_task(executor.terminate_session("one"))
            await asyncio.sleep(0)
            ending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await ending
            assert session.pids == executor.sessions == {}

    px.run(main())


@pytest.mark.parametrize("how", ["terminate_session", "shutdown"])
def test_a_caller_who_has_hung_up_is_not_drained(px: Any, tmp_path: Path, how: str) -> None:
    """The grace period is longer than any test may take: a call that drained would never return."""
    file = tmp_path / "cleaned"

    async def main() -> None:
        config = MultiprocessConfig(cleanup_grace_period_secs=3600)
        async with MultiprocessExecutor(config) as executor:
            session = await executor.create_session("one", px.chain(("t-do", {"cleanup_file": str(file)})))
            await session.send("n0", px.text("wait"))
            assert (await session.receive("n0")).payload == "wait"
            draining = asyncio.create_task(executor.terminate_session("one"))
            await px.until(lambda: session.status is SessionStatus.STOPPING)
            await (
                executor.terminate_session("one", abort=True)
                if how == "terminate_session"
                else executor.shutdown(abort=True)
            )
            assert session.pids == executor.sessions == {}
            await draining
        assert file.read_text().split() == ["n0"]

    px.run(main())


def test_a_start_that_is_cancelled_waits_for_no_node(px: Any) -> None:
    """One that hears nothing while it loads has a second; the grace period is longer than any test may take."""

    async def main() -> None:
        async with MultiprocessExecutor(MultiprocessConfig(cleanup_grace_period_secs=3600)) as executor:
            loading = asyncio.Event()
            pipeline = px.chain(("t-init", {"how": "stick"}))
            hear = lambda progress: loading.set() if progress.message else None  # noqa: E731
            starting = asyncio.create_task(executor.create_session("one", pipeline, progress_callback=hear))
            await loading.wait()
            starting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await starting
            assert executor.sessions == {}

    px.run(main())


def test_a_node_that_is_stopped_before_it_knows_what_it_is_ends_well(px: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> list[ProcessEvent]:
        async with MultiprocessExecutor() as executor:
            events = executor.events()
            await executor.execute_node("t-echo", "n0")
            await executor.terminate_session("default")
        return [event async for event in events]

    *_, exited = px.run(main())
    assert isinstance(exited, ProcessExited)
    assert exited.exit_code == 0
    assert caplog.text == ""


class DroppingId(str):
    """While somebody looks it up, the session it names is dropped, as a thread or a garbage collection may do."""

    kept: dict[str, Session]

    def __hash__(self) -> int:
        self.kept.clear()
        return super().__hash__()


def test_sessions_can_be_listed_while_one_is_dropped(px: Any) -> None:
    executor = MultiprocessExecutor()
    name = DroppingId("one")
    name.kept = {}
    session = Session(name, px.chain("t-echo"), executor=executor)
    executor._roll.admit(session)
    name.kept[""] = session
    del session
    assert list(executor.sessions) in ([], ["one"])
    assert name.kept == executor.sessions == {}


def test_a_session_whose_event_loop_is_closed_is_ended_by_shutdown(px: Any) -> None:
    executor = MultiprocessExecutor()
    session = px.run(executor.create_session("one", px.chain("t-echo", "t-echo")))
    (pid, _) = session.pids.values()

    async def main() -> None:
        await executor.create_session("two", px.chain("t-echo"))
        await executor.shutdown()

    px.run(main())
    assert (session.pids, session.status, executor.sessions) == ({}, SessionStatus.STOPPED, {})
    assert not px.exists(pid)


def test_a_session_of_another_event_loop_is_left_alone(px: Any, in_thread: Any) -> None:
    executor = MultiprocessExecutor()

    async def elsewhere() -> None:
        other = await executor.create_session("other", px.chain("t-echo", "t-echo"))
        with pytest.raises(SessionStateError, match="'one'"):
            await executor.shutdown()
        assert other.pids == {}

    async def main() -> None:
        session = await executor.create_session("one", px.chain("t-echo", "t-echo"))
        await asyncio.to_thread(in_thread(lambda: px.run(elsewhere())).result)
        await px.works(session)
        await executor.shutdown()
        assert session.pids == executor.sessions == {}

    px.run(main())


def test_a_forked_child_has_its_own_default_executor(px: Any, child_python: Any) -> None:
    child = child_python(
        px.PATH_LINES
        + """
import asyncio, threading
import session_support as px
from remotemedia.core.multiprocessing import Session, default_executor

async def one():
    async with Session("same", px.chain("t-echo", "t-echo")) as session:
        await px.works(session)

def forked():
    thread = threading.Thread(target=lambda: asyncio.run(one()) or say("works"))  # here a loop runs already
    thread.start()
    thread.join()
    os._exit(0)

async def main():
    async with Session("same", px.chain("t-echo", "t-echo")) as session:
        pid = os.fork()
        if not pid:
            forked()
        os.waitpid(pid, 0)
        await px.works(session)
        say(list(default_executor().sessions))

asyncio.run(main())
"""
    )
    child.expect("works")
    child.expect(["same"])
    assert child.wait() == 0


def test_an_executor_that_shuts_down_while_a_session_is_created(px: Any) -> None:
    async def main() -> None:
        executor = MultiprocessExecutor()
        creating = asyncio.create_task(executor.create_session("one", px.chain(("t-init", {"how": "wait"}))))
        await px.until(lambda: "one" in executor.sessions and executor.sessions["one"].pids)
        await executor.shutdown()
        with pytest.raises(SessionStateError, match="stopped"):
            await creating
        assert executor.sessions == {}

    px.run(main())
