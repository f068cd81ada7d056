"""The program that holds a session has its own ideas of what becomes of its child processes."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [
    pytest.mark.usefixtures("leak_check"),
    pytest.mark.promise(
        "host program",
        "a program that reaps all children, or ignores SIGCHLD, still hears which node crashed, and nothing is left",
        "SIG_IGN, a SIGCHLD handler with waitpid(-1), a thread in os.wait(); crashes, failed starts, dropped sessions",
    ),
]

PROGRAM = """
import asyncio, gc, logging, subprocess, threading, time, session_support as px
from remotemedia.core.multiprocessing import NodeInitializationError, ProcessCrashError

logging.disable()
spare = subprocess.Popen(["sleep", "3600"])  # os.wait() always has somebody to wait for

def ignore():
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)

def handle():
    def reap(*_):
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
    signal.signal(signal.SIGCHLD, reap)

def wait():
    def reap():
        while True:
            os.wait()
    threading.Thread(target=reap, daemon=True).start()

async def crash(order):
    grandchildren = []
    session = px.session("t-do", ("t-echo", {"grandchild": True}))
    await session.initialize(lambda p: grandchildren.extend([px.grandchild(p.message)] if p.message else []))
    await session.start()
    await session.send("n0", px.text(f"die {order}"))
    try:
        await px.received(session, "n1")
    except ProcessCrashError as error:
        assert not any(map(px.exists, session.pids.values()))
        await px.until(lambda: not px.lives(grandchildren[0]))
        say(error.node_id, error.exit_code, "exit code is unknown" in str(error))
    await session.cleanup()

async def main():
    async with px.session("t-echo", "t-echo") as session:
        await px.works(session)
    await crash("os._exit(3)")
    await crash("SIGKILL")
    try:
        async with px.session("t-echo", ("t-init", {"how": "raise"})):
            pass
    except NodeInitializationError as error:
        say(error.node_id)
    session = px.session("t-echo", "t-echo")
    await session.initialize()
    pids = list(session.pids.values())
    del session
    gc.collect()
    say(any(map(px.exists, pids)))

globals()[sys.argv[1]]()
asyncio.run(main())
spare.kill()
"""


@pytest.mark.parametrize("how", ["ignore", "handle", "wait"])
def test_whoever_reaps(px: Any, ledger: Any, child_python: Any, how: str) -> None:
    child = child_python(px.PATH_LINES + PROGRAM, how)
    for code in (3, 137):
        node_id, exit_code, unknown = child.hear()
        # Whoever comes first knows the code; of children that are ignored nobody does.
        assert node_id == "n0" and (exit_code, unknown) in ([] if how == "ignore" else [(code, False)]) + [(-1, True)]
        ledger.count("crashes")
    child.expect("n1")
    child.expect(False)
    assert child.wait() == 0, child.stderr()


TOO_LATE = """
import asyncio, session_support as px
from remotemedia.core.multiprocessing import ProcessSpawnError

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
pidfd_open = os.pidfd_open

def open_late(pid):
    if pid != os.getpid():
        os.kill(pid, signal.SIGKILL)
        while px.exists(pid):
            os.sched_yield()
    return pidfd_open(pid)

async def main():
    before = px.held()
    try:
        await px.session("t-echo").initialize()
    except ProcessSpawnError as error:
        say(str(error))
    say(px.held() == before)

os.pidfd_open = open_late
asyncio.run(main())
"""


def test_a_node_that_is_gone_before_anybody_looks(px: Any, ledger: Any, child_python: Any) -> None:
    child = child_python(px.PATH_LINES + TOO_LATE)
    child.expect("cannot watch the process of node 'n0': [Errno 3] No such process")
    child.expect(True)
    assert child.wait() == 0, child.stderr()
    ledger.count("crashes")
