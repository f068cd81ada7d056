"""The system has no more descriptors or processes to give: one clear error, nothing left, and the rest goes on."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("leak_check")

SCRIPT = """
import asyncio, gc, os, resource, session_support
from remotemedia.core.multiprocessing import MultiprocessConfig, ProcessSpawnError, Session

def held():
    gc.collect()
    fds = sorted(os.readlink(f"/proc/self/fd/{fd}").partition(":[")[0] for fd in os.listdir("/proc/self/fd")
                 if os.path.exists(f"/proc/self/fd/{fd}") or os.path.islink(f"/proc/self/fd/{fd}"))
    maps = open("/proc/self/maps").read().count("memfd:remotemedia")
    children = open(f"/proc/self/task/{os.getpid()}/children").read().split()
    return fds, maps, children

async def attempt(limit):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    session = session_support.session("t-echo", "t-echo")
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        await session.initialize()
        await session.start()
        await session_support.send_all(session, "n0", ["x"])
        assert await session_support.received(session, "n1") == ["x"]
        return "ok"
    except ProcessSpawnError as error:
        assert "n0" in str(error) or "n1" in str(error) or "'s'" in str(error), error
        assert "Too many open files" in str(error), error
        return "refused"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await session.cleanup()

async def main():
    first = await Session("first", session_support.chain("t-echo")).__aenter__()
    assert await attempt(1024) == "ok"
    before = held()
    outcomes = []
    top = max(map(int, os.listdir("/proc/self/fd")))
    # From no room for a single descriptor on, one more each time, until a session fits.
    for limit in range(top, top + 200):
        outcomes.append(await attempt(limit))
        now = held()
        if now != before:
            say("left behind", limit, [repr(before), repr(now)])
            return
        if outcomes[-1] == "ok":
            break
    await session_support.send_all(first, "n0", ["still here"])
    assert await session_support.received(first, "n0") == ["still here"]
    await first.cleanup()
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


def test_out_of_processes(px: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # A limit on processes binds no superuser: here the system call says what it would say.
    import errno
    import os

    from remotemedia.core.multiprocessing import ProcessSpawnError

    real, calls = os.posix_spawn, []

    def posix_spawn(*arguments: Any, **options: Any) -> int:
        calls.append(arguments)
        if len(calls) == 3:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return real(*arguments, **options)

    monkeypatch.setattr(os, "posix_spawn", posix_spawn)

    async def main() -> None:
        session = px.session("t-echo", "t-echo", "t-echo", "t-echo")
        with pytest.raises(ProcessSpawnError, match=r"'n2'.*Resource temporarily unavailable"):
            await session.initialize()
        assert session.pids == {}
        await session.cleanup()

    px.run(main())
    assert len(calls) == 3
