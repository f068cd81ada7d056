"""The program that holds a session forks: the children end nothing of it, and keep nothing of it alive."""

from __future__ import annotations

import os
import select
import signal
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("leak_check")

# A task of its own holds the session and waits for its output: a child that runs the event loop ends that task.
PROGRAM = """
import asyncio, gc, multiprocessing, subprocess, session_support as px
from remotemedia.core.multiprocess.session.by_node import complete, launch

sessions = []

async def hold(entered):
    async with px.session("t-echo", "t-echo") as session:
        sessions.append(session)
        entered.set()
        await asyncio.sleep(3600)

async def main():
    entered = asyncio.Event()
    holding = asyncio.create_task(hold(entered))
    await entered.wait()
    (session,) = sessions
    receiving = asyncio.create_task(session.receive("n1"))
    await asyncio.sleep(0)
    await session.send("n0", px.text("a"))
    while session.node_stats()[1].messages == 0:
        os.sched_yield()  # its arrival is for whoever looks first
    fork()
    (session,) = sessions
    say((await receiving).payload)
    await session.interrupt()
    await px.works(session)
    pid = session.pids["n0"]
    os.kill(pid, signal.SIGKILL)
    try:
        await session.receive("n1")
    except Exception as error:
        say(type(error).__name__, error.node_id, error.signal, px.exists(pid))
    holding.cancel()

def forked(*body):
    pid = os.fork()
    if not pid:
        try:
            for act in body:
                act()
        finally:
            os._exit(1)
    say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

def drop():
    sessions.clear()
    gc.collect()

def use():
    (session,) = sessions
    calls = {
        "initialize": session.initialize,
        "start": session.start,
        "execute_node": lambda: launch(session, session.pipeline.nodes[0]),
        "start_session": lambda: complete(session),
        "loan": lambda: session.loan(3, "f4"),
        "send": lambda: session.send("n0", px.text("x")),
        "receive": lambda: session.receive("n1"),
        "end_input": session.end_input,
        "interrupt": session.interrupt,
    }
    for name, call in calls.items():
        try:
            asyncio.run(call())
        except Exception as error:
            assert type(error).__name__ == "SessionStateError", error
            assert str(error) == f"{name}() in a forked child: session {session.session_id!r} belongs to its parent"
        else:
            raise AssertionError(name)
    asyncio.run(session.cleanup())

def process(method, target):
    child = multiprocessing.get_context(method).Process(target=target)
    child.start()
    child.join()
    say(child.exitcode)

def leave():
    os._exit(7)
"""
CHILDREN = {
    "leaves": "forked(leave)",
    "drops what it inherited": "forked(drop, leave)",
    "uses what it inherited": "forked(use, leave)",
    "runs the event loop it inherited": """
    pid = os.fork()
    if not pid:
        sys.exit(7)
    say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
""",
    "multiprocessing, fork": "process('fork', drop)",
    "multiprocessing, forkserver": "process('forkserver', os.getpid)",
    "subprocess with a preexec_fn": "say(subprocess.run(['true'], preexec_fn=drop, close_fds=False).returncode)",
    "a pool of processes": """
    with multiprocessing.get_context("fork").Pool(1) as pool:
        say(pool.apply(len, ["1234567"]))
""",
}


ends_nothing = pytest.mark.promise(
    "host program",
    "children that it forks end nothing: its sessions go on, and crashes are still noticed",
    "os.fork, multiprocessing (fork, forkserver, pool), subprocess with preexec_fn; children that leave, or first drop,"
    " use or run what they inherited",
)


@ends_nothing
@pytest.mark.parametrize("how", CHILDREN)
def test_a_forked_child_ends_nothing(px: Any, ledger: Any, child_python: Any, how: str) -> None:
    child = child_python(px.PATH_LINES + PROGRAM + f"def fork():\n    {CHILDREN[how]}\nasyncio.run(main())")
    assert child.hear() in ([7], [0])
    child.expect("a")
    child.expect("ProcessCrashError", "n0", 9, False)
    assert child.wait() == 0, child.stderr()
    ledger.count("forks")


STOPPING = """
import asyncio, session_support as px

async def main():
    session = px.session("t-slow-cleanup", "t-echo", cleanup_grace_period_secs=3600)
    await session.initialize()
    await session.start()
    stop = asyncio.create_task(session.stop())
    await px.until(lambda: "n1" not in session.pids)
    pid = os.fork()
    if not pid:
        sys.exit(7)
    say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), px.lives(session.pids["n0"]))
    stop.cancel()

asyncio.run(main())
"""


@ends_nothing
def test_a_forked_child_hurries_nobody(px: Any, ledger: Any, child_python: Any) -> None:
    """It ends the task that waits for a node to stop, which in its parent would kill that node."""
    child = child_python(px.PATH_LINES + STOPPING)
    child.expect(7, True)
    assert child.wait() == 0, child.stderr()
    ledger.count("forks")


LEFT_BEHIND = """
import asyncio, time, session_support as px

forked = []

def hear(progress):
    if progress.status == sys.argv[1] and len(session.pids) == 2 and not forked:
        pid = os.fork()
        if not pid:
            ctypes.CDLL(None).prctl(1, 0)
            time.sleep(3600)
        forked.append(pid)
        say(pid, *session.pids.values())
        time.sleep(3600)

async def main():
    await session.initialize(hear)

session = px.session("t-echo", "t-echo")
asyncio.run(main())
"""


@pytest.mark.promise(
    "host program",
    "its nodes are gone with it even though a child that it forked lives on, with copies of all its descriptors",
    "SIGKILL when nodes were just started, load, and are ready",
)
@pytest.mark.parametrize("status", ["starting", "loading", "connecting", "ready"])
def test_a_forked_child_keeps_nothing_alive(px: Any, ledger: Any, child_python: Any, status: str) -> None:
    child = child_python(px.PATH_LINES + LEFT_BEHIND, status)
    forked, *nodes = child.hear()
    pidfds = [os.pidfd_open(pid) for pid in nodes]
    child.kill()
    try:
        assert all(select.select([fd], [], [], px.PATIENCE_SECS)[0] for fd in pidfds), "left alive"
        assert px.lives(forked)
    finally:
        for pid in (forked, *nodes):
            if px.lives(pid):
                os.kill(pid, signal.SIGKILL)
        for fd in pidfds:
            os.close(fd)
    ledger.count("forks")
