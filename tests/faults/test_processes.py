"""The system has no more processes to give: one clear error, nothing left, and the other sessions go on."""

from __future__ import annotations

import os
from typing import Any

import pytest

pytestmark = [
    pytest.mark.usefixtures("leak_check"),
    pytest.mark.promise(
        "system limits",
        "no more processes: a clear error, other sessions go on, nothing left",
        "RLIMIT_NPROC reached at the first, a middle and the last node",
    ),
]

# A user of its own that runs nothing else, without the privileges that lift the limit. The effective user stays root:
# another could not read what only root may. A node's program gets the privileges back: its threads are not refused.
SCRIPT = """
import asyncio, resource, struct, session_support as px
from remotemedia.core.multiprocessing import MultiprocessExecutor, ProcessSpawnError

def become_limited():
    PR_SET_SECUREBITS, NO_SETUID_FIXUP = 28, 1 << 2
    assert ctypes.CDLL(None).prctl(PR_SET_SECUREBITS, NO_SETUID_FIXUP) == 0  # the other privileges stay
    os.setresuid(2_000_000_000 + os.getpid(), 0, 0)
    SYS_ADMIN, SYS_RESOURCE = 1 << 21, 1 << 24
    CAPGET, CAPSET = {"x86_64": (125, 126), "aarch64": (90, 91)}[os.uname().machine]
    libc = ctypes.CDLL(None)
    header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0))
    data = ctypes.create_string_buffer(24)
    assert libc.syscall(CAPGET, header, data) == 0
    words = list(struct.unpack("=6I", data.raw[:24]))
    words[0] &= ~(SYS_ADMIN | SYS_RESOURCE)
    assert libc.syscall(CAPSET, header, ctypes.create_string_buffer(struct.pack("=6I", *words))) == 0

async def attempt(executor, others, limit):
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    resource.setrlimit(resource.RLIMIT_NPROC, (limit, hard))
    try:
        session = await executor.create_session("s", px.chain("t-echo", "t-echo", "t-echo"))
        outcome = "ok"
    except ProcessSpawnError as error:
        assert "no more processes" in str(error), error
        outcome = str(error).partition("node '")[2][:2]
    for other in others:
        await px.works(other)
    resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard))
    if outcome == "ok":
        await executor.terminate_session("s")
    assert list(executor.sessions) == ["first", "second"]
    return outcome

async def main():
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    become_limited()
    async with MultiprocessExecutor() as executor:
        others = [await executor.create_session(name, px.chain("t-echo", "t-echo")) for name in ("first", "second")]
        before = px.held()
        outcomes = []
        while outcomes[-1:] != ["ok"]:
            outcomes.append(await attempt(executor, others, 1 + len(outcomes)))
            assert px.held() == before, (outcomes, before, px.held())
    say(sorted(set(outcomes)))

asyncio.run(main())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user that runs nothing else")
def test_processes_are_refused_from_the_first_to_the_last(px: Any, child_python: Any) -> None:
    child = child_python(px.PATH_LINES + SCRIPT)
    (outcomes,) = child.hear()
    # How many threads the nodes before it have by then is the scheduler's: it may be n2 that is refused, or not.
    assert outcomes[:2] == ["n0", "n1"] and outcomes[-1] == "ok", outcomes
    assert child.wait() == 0, child.stderr()
