"""``max_processes_per_session``: refused before anything is started, and the other sessions go on."""

from __future__ import annotations

from typing import Any

import pytest

from remotemedia.core.multiprocessing import ResourceLimitError

pytestmark = [
    pytest.mark.usefixtures("leak_check"),
    pytest.mark.promise(
        "system limits",
        "more nodes than max_processes_per_session: refused before anything starts",
        "a pipeline of four with a limit of three, under an audit hook",
    ),
]

SCRIPT = """
import asyncio, session_support as px
from remotemedia.core.multiprocessing import MultiprocessConfig, MultiprocessExecutor, ResourceLimitError, Session

STARTS = ("os.posix_spawn", "os.fork", "os.forkpty", "os.exec", "subprocess.Popen")
started = []
sys.addaudithook(lambda event, arguments: started.append(event) if event in STARTS else None)

async def refusal(awaitable):
    try:
        await awaitable
    except ResourceLimitError as error:
        return str(error)

async def main():
    config = MultiprocessConfig(max_processes_per_session=3)
    four = px.chain(*["t-echo"] * 4)
    async with MultiprocessExecutor(config) as executor:
        first = await executor.create_session("first", px.chain("t-echo", "t-echo"))
        before = px.held()
        say(len(started))
        say(await refusal(executor.create_session("second", four)))
        alone = Session("alone", four, config)
        say(await refusal(alone.initialize()))
        await alone.cleanup()
        say(len(started), px.held() == before)
        await px.works(first)
        await executor.create_session("second", px.chain("t-echo", "t-echo", "t-echo"))
        say(len(started), list(executor.sessions))

asyncio.run(main())
"""


def test_nothing_is_started(px: Any, child_python: Any) -> None:
    child = child_python(px.PATH_LINES + SCRIPT)
    child.expect(2)
    child.expect("the pipeline has 4 nodes; max_processes_per_session is 3")
    child.expect("the pipeline has 4 nodes; max_processes_per_session is 3")
    child.expect(2, True)
    child.expect(5, ["first", "second"])
    assert child.wait() == 0, child.stderr()


def test_processes_per_session_are_limited(px: Any) -> None:
    async def main() -> None:
        session = px.session("t-echo", "t-echo", "t-echo", max_processes_per_session=2)
        error = await px.refused(session, ResourceLimitError)
        assert "3 nodes; max_processes_per_session is 2" in str(error)
        async with px.session("t-echo", "t-echo", max_processes_per_session=2):
            pass

    px.run(main())
