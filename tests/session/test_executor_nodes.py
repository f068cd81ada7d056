"""A session made node by node: ``execute_node``, ``connect_nodes``, ``start_session``."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from remotemedia.core.multiprocessing import (
    MultiprocessConfig,
    MultiprocessError,
    MultiprocessExecutor,
    NodeInitializationError,
    PipelineError,
    ProcessCrashError,
    ProcessProgress,
    ResourceLimitError,
    SessionStateError,
)

pytestmark = pytest.mark.usefixtures("leak_check")


def test_nodes_load_while_others_are_added_and_work_once_connected(px: Any) -> None:
    async def main() -> None:
        async with MultiprocessExecutor() as executor:
            events = executor.events()
            first = await executor.execute_node("t-tag", "a", session_id="s")
            async for event in events:  # it has loaded, before there is anything else
                if isinstance(event, ProcessProgress) and event.progress.status == "connecting":
                    break
            await executor.execute_node("t-tag", "b", {"says_end": True}, session_id="s")
            last = await executor.execute_node("t-tag", "c", session_id="s")
            await executor.connect_nodes("a", "out", "b", "in", session_id="s")
            await executor.connect_nodes("b", "out", "c", "in", session_id="s")
            session = await executor.start_session("s")
            assert session is first.session is last.session is executor.sessions["s"]
            assert session.pids["a"] == first.process_id
            await px.send_all(session, "a", ["x"])
            assert await px.received(session, "c") == ["x>a.input>b.in>c.in", "end>b>c.in"]
            await executor.terminate_session("s")
            assert executor.sessions == {}

    px.run(main())


def test_wrong_nodes_are_refused_one_by_one(px: Any) -> None:
    async def main() -> None:
        async with MultiprocessExecutor(MultiprocessConfig(max_processes_per_session=2)) as executor:
            with pytest.raises(PipelineError, match="t-ecco"):
                await executor.execute_node("t-ecco", "a")
            assert executor.sessions == {}
            await executor.execute_node("t-tag", "a", {"says_end": True})
            with pytest.raises(PipelineError, match="'a' is used twice"):
                await executor.execute_node("t-echo", "a")
            with pytest.raises(PipelineError, match="t-ecco"):
                await executor.execute_node("t-ecco", "b")
            await executor.execute_node("t-tag", "b")
            with pytest.raises(ResourceLimitError, match="max_processes_per_session is 2"):
                await executor.execute_node("t-tag", "c")
            with pytest.raises(PipelineError, match="no node 'c' to connect; the nodes are: a, b"):
                await executor.connect_nodes("a", "out", "c", "in")
            with pytest.raises(MultiprocessError, match="no session 'other'; the sessions are: default"):
                await executor.connect_nodes("a", "out", "b", "in", session_id="other")
            await executor.connect_nodes("a", "out", "b", "in")
            session = await executor.start_session()
            with pytest.raises(SessionStateError, match="connect_nodes"):
                await executor.connect_nodes("a", "out", "b", "in2")
            with pytest.raises(SessionStateError, match="execute_node"):
                await executor.execute_node("t-tag", "c")
            await px.send_all(session, "a", ["x"])
            assert await px.received(session, "b") == ["x>a.input>b.in", "end>a>b.in"]

    px.run(main())


def test_a_session_that_is_being_started_stays_as_it_is(px: Any) -> None:
    async def main() -> None:
        async with MultiprocessExecutor() as executor:
            for node_id in ("n0", "n1"):
                await executor.execute_node("t-echo", node_id)
            await executor.connect_nodes("n0", "out", "n1", "in")
            starting = asyncio.create_task(executor.start_session())
            await asyncio.sleep(0)
            for call in (
                executor.execute_node("t-echo", "late"),
                executor.connect_nodes("n0", "more", "n1", "in"),
                executor.start_session(),
            ):
                with pytest.raises(SessionStateError, match="too late: session 'default' is being started"):
                    await call
            await px.works(await starting)

    px.run(main())


def test_a_session_that_is_made_whole_takes_no_more_nodes_meanwhile(px: Any) -> None:
    async def main() -> None:
        async with MultiprocessExecutor() as executor:
            making = asyncio.create_task(executor.create_session("one", px.chain("t-echo", "t-echo")))
            await px.until(lambda: executor.sessions)
            with pytest.raises(SessionStateError, match="too late"):
                await executor.execute_node("t-echo", "late", session_id="one")
            await px.works(await making)

    px.run(main())


def test_what_makes_the_graph_wrong_is_refused_and_the_rest_works(px: Any) -> None:
    async def main() -> None:
        async with MultiprocessExecutor() as executor:
            with pytest.raises(PipelineError, match="node 'n0': there is no param 'fator'; did you mean 'factor'"):
                await executor.execute_node("t-strict", "n0", {"fator": 2})
            assert executor.sessions == {}
            await executor.execute_node("t-strict", "n0")
            with pytest.raises(PipelineError, match="param 'factor' must be a number"):
                await executor.execute_node("t-strict", "n1", {"factor": "two"})
            await executor.execute_node("t-echo", "n1")
            with pytest.raises(PipelineError, match="'n0' has no output port 'wrds'; did you mean 'words'"):
                await executor.connect_nodes("n0", "wrds", "n1", "in")
            await executor.connect_nodes("n0", "words", "n1", "in")
            with pytest.raises(PipelineError, match="cycle: n0 -> n1 -> n0"):
                await executor.connect_nodes("n1", "out", "n0", "words")
            await px.works(await executor.start_session())

    px.run(main())


@pytest.mark.parametrize(
    ("config", "error"),
    [({"how": "raise"}, NodeInitializationError), ({"how": "die", "with": "SIGKILL"}, ProcessCrashError)],
)
def test_a_node_that_fails_before_the_session_starts(px: Any, config: dict[str, Any], error: type[Exception]) -> None:
    async def main() -> None:
        async with MultiprocessExecutor() as executor:
            await executor.execute_node("t-echo", "fine")
            handle = await executor.execute_node("t-init", "bad", config)
            await px.until(lambda: not handle.session.pids)
            for call in (executor.execute_node("t-echo", "more"), executor.start_session()):
                with pytest.raises(error, match="bad"):
                    await call

    px.run(main())


def test_a_session_that_is_never_started_leaves_nothing(px: Any) -> None:
    async def main() -> None:
        async with MultiprocessExecutor() as executor:
            await executor.execute_node("t-echo", "a")
            await executor.execute_node("t-init", "b", {"how": "wait"})

    px.run(main())
