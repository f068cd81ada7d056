"""A program to which orphans come, as process 1 of a container or as a child subreaper: its nodes leave no zombies, and
nobody waits for its own children but itself."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [
    pytest.mark.usefixtures("leak_check"),
    pytest.mark.promise(
        "host program",
        "a program that gets its nodes' orphans has no zombies of them, and its own children stay its own",
        "a child subreaper; children in a node's group and in their own sessions; sessions stopped, crashed, dropped",
    ),
]

PROGRAM = """
import asyncio, gc, logging, subprocess, session_support as px
from remotemedia.core.multiprocessing import ProcessCrashError

logging.disable()
assert ctypes.CDLL(None).prctl(36, 1) == 0
own = [
    subprocess.Popen(["sh", "-c", "exit 7"]),
    subprocess.Popen(["sh", "-c", "exit 8"], start_new_session=True),
    subprocess.Popen(["sleep", "3600"], start_new_session=True, stdout=subprocess.DEVNULL),
]

def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return list(map(int, file.read().split()))

def others():
    return set(children(os.getpid())) - {process.pid for process in own}

async def session():
    session = px.session(("t-do", {"grandchild": True}), "t-echo")
    await session.initialize()
    await session.start()
    await session.send("n0", px.text("detach sleep 3600 & wait"))
    await session.receive("n1")
    return session, int((await session.receive("n1")).payload)

async def main(how):
    mine, shell = await session()
    await px.until(lambda: children(shell))
    (sleep,) = children(shell)
    if how == "stopped":
        await mine.cleanup()
    elif how == "crashed":
        os.kill(mine.pids["n0"], signal.SIGKILL)
        try:
            await mine.receive("n1")
        except ProcessCrashError:
            await mine.cleanup()
    del mine
    gc.collect()
    await px.until(lambda: others() == {shell})  # the member of the group is gone, who left it lives
    os.kill(shell, signal.SIGKILL)
    await px.until(lambda: others() == {sleep})
    os.kill(sleep, signal.SIGKILL)
    await px.until(lambda: not others())
    own[2].kill()
    say([process.wait() for process in own])

px.run(main(sys.argv[1]))
"""


@pytest.mark.parametrize("how", ["stopped", "crashed", "dropped"])
def test_a_subreaper(px: Any, ledger: Any, child_python: Any, how: str) -> None:
    child = child_python(px.PATH_LINES + PROGRAM, how)
    child.expect([7, 8, -9])
    assert child.wait() == 0, child.stderr()
    ledger.count("sessions")


REAPED_BY_THE_PROGRAM = """
import asyncio, contextlib, session_support as px

assert ctypes.CDLL(None).prctl(36, 1) == 0

def pidfds():
    count = 0
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # what listed them
            count += os.readlink(f"/proc/self/fd/{fd}") == "anon_inode:[pidfd]"
    return count

async def orphan():
    session = px.session("t-do", "t-echo")
    await session.initialize()
    await session.start()
    await session.send("n0", px.text("detach exec sleep 3600"))
    await session.receive("n1")
    pid = int((await session.receive("n1")).payload)
    await session.cleanup()
    return pid

# Each session has an event loop of its own, which its orphan outlives.
first = px.run(orphan())
os.kill(first, signal.SIGKILL)
os.waitpid(first, 0)
second = px.run(orphan())
say(pidfds())
os.kill(second, signal.SIGKILL)
os.waitpid(second, 0)
"""


def test_an_orphan_that_the_program_has_waited_for(px: Any, ledger: Any, child_python: Any) -> None:
    """Nothing is kept of it: its number may be that of a child of the program's own."""
    child = child_python(px.PATH_LINES + REAPED_BY_THE_PROGRAM)
    child.expect(1)
    assert child.wait() == 0, child.stderr()
    ledger.count("sessions", 2)


STRANGERS = """
import asyncio, subprocess, session_support as px
from remotemedia._orphans import reaping_strangers

assert ctypes.CDLL(None).prctl(36, 1) == 0
inherited = subprocess.Popen(["true"])  # as if before an exec
os.waitid(os.P_PID, inherited.pid, os.WEXITED | os.WNOWAIT)

def children():
    with open(f"/proc/{os.getpid()}/task/{os.getpid()}/children") as file:
        return list(map(int, file.read().split()))

async def main():
    with reaping_strangers(asyncio.get_running_loop()):
        say(children())
        own = subprocess.Popen(["sh", "-c", "exit 7"])
        subprocess.run(["sh", "-c", "setsid sh -c 'read line; exit 3' <&0 & exec sleep 0"], stdin=subprocess.DEVNULL)
        await px.until(lambda: children() == [own.pid])
        async with px.session("t-echo", "t-echo") as session:
            await px.works(session)
            await px.until(lambda: px.stat(own.pid)[0] == "Z")
        say(own.wait(), signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL)
    say(signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL)

px.run(main())
"""


def test_whoever_starts_nothing_but_nodes(px: Any, ledger: Any, child_python: Any) -> None:
    """As ``remotemedia serve``: it waits for all that others started, and for nobody in its own group."""
    child = child_python(px.PATH_LINES + STRANGERS)
    child.expect([])
    child.expect(7, False)
    child.expect(True)
    assert child.wait() == 0, child.stderr()
    ledger.count("sessions")
