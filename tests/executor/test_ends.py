"""Sessions that are made, ended and made again at the same time: the executor loses none and keeps none."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from remotemedia.core.multiprocessing import MultiprocessExecutor, SessionStateError

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
