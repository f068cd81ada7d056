"""Sessions that are made, ended and made again at the same time: the executor loses none and keeps none."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from remotemedia.core.multiprocessing import (
    MultiprocessExecutor,
    ProcessEvent,
    ProcessExited,
    Session,
    SessionStateError,
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
    executor.admit(session)
    name.kept[""] = session
    del session
    assert list(executor.sessions) in ([], ["one"])
    assert name.kept == executor.sessions == {}
