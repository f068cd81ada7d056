"""The system has no more descriptors to give: one clear error, nothing left, and the other sessions go on."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [
    pytest.mark.usefixtures("leak_check"),
    pytest.mark.promise(
        "system limits",
        "no descriptors: a clear error, other sessions go on, nothing left",
        "a host program with 0, 1, 2, ... descriptors to spare",
    ),
]

SCRIPT = """
import asyncio, resource, session_support as px
from remotemedia.core.multiprocessing import MultiprocessExecutor, ProcessSpawnError

async def attempt(executor, others, limit):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        session = await executor.create_session("s", px.chain("t-echo", "t-echo"))
        await px.works(session)
        outcome = "ok"
    except ProcessSpawnError as error:
        assert "n0" in str(error) or "n1" in str(error) or "'s'" in str(error), error
        assert "Too many open files" in str(error), error
        outcome = "refused"
    for other in others:
        await px.works(other)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if outcome == "ok":
        await executor.terminate_session("s")
    assert list(executor.sessions) == ["first", "second"]
    return outcome

async def main():
    async with MultiprocessExecutor() as executor:
        others = [await executor.create_session(name, px.chain("t-echo", "t-echo")) for name in ("first", "second")]
        assert await attempt(executor, others, 1024) == "ok"
        before = px.held()
        outcomes = []
        top = max(map(int, os.listdir("/proc/self/fd")))
        # From no room for a single descriptor on, one more each time, until a session fits.
        for limit in range(top, top + 200):
            outcomes.append(await attempt(executor, others, limit))
            assert px.held() == before, (limit, before, px.held())
            if outcomes[-1] == "ok":
                break
    say("done", len(outcomes), sorted(set(outcomes)))

asyncio.run(main())
"""


def test_out_of_descriptors_at_every_single_step(px: Any, child_python: Any) -> None:
    child = child_python(px.PATH_LINES + SCRIPT)
    word, tries, outcomes = child.hear()
    assert word == "done", (tries, outcomes)
    assert outcomes == ["ok", "refused"]
    assert tries > 10
    assert child.wait() == 0, child.stderr()
