"""The system has no more memory to give: one clear error, nothing left, and the other sessions go on."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [
    pytest.mark.usefixtures("leak_check"),
    pytest.mark.promise(
        "memory pressure",
        "no address space: a clear error, nothing left",
        "the limit set at each step of a start in turn",
    ),
]

# The nodes inherit the limit: it may be one of them that cannot map what it was given.
SCRIPT = """
import asyncio, resource, session_support as px
from remotemedia.core.multiprocessing import MultiprocessExecutor, NodeInitializationError, ProcessSpawnError

STEP_BYTES = 64 << 20

def mapped_bytes():
    return int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()

async def attempt(executor, others, limit):
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        await px.works(await executor.create_session("s", px.chain("t-echo", "t-echo")))
        outcome = "ok"
    except (ProcessSpawnError, NodeInitializationError) as error:
        assert "Cannot allocate memory" in str(error), error
        outcome = type(error).__name__
    for other in others:
        await px.works(other)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    if outcome == "ok":
        await executor.terminate_session("s")
    assert list(executor.sessions) == ["first", "second"]
    return outcome

async def main():
    async with MultiprocessExecutor() as executor:
        others = [await executor.create_session(name, px.chain("t-echo", "t-echo")) for name in ("first", "second")]
        before, room = px.held(), mapped_bytes() + STEP_BYTES // 2
        outcomes = []
        while outcomes[-1:] != ["ok"]:
            outcomes.append(await attempt(executor, others, room + STEP_BYTES * len(outcomes)))
            assert px.held() == before, (outcomes, before, px.held())
    say(outcomes)

asyncio.run(main())
"""


def test_address_space_is_refused_at_every_step(px: Any, child_python: Any) -> None:
    child = child_python(px.PATH_LINES + SCRIPT)
    (outcomes,) = child.hear()
    # Three segments of 256 MB.
    assert outcomes[:12] == ["ProcessSpawnError"] * 12 and outcomes[-1] == "ok", outcomes
    assert child.wait() == 0, child.stderr()
