"""No more descriptors while sessions run, and in the node that is to be given its share."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("leak_check")

RUNNING = """
import asyncio, errno, logging, resource, session_support as px
from remotemedia.core.multiprocessing import MultiprocessExecutor, ProcessCrashError, ProcessSpawnError

logging.disable()

async def main():
    async with MultiprocessExecutor() as executor:
        first, second, third = [
            await executor.create_session(name, px.chain("t-do", "t-echo")) for name in ("first", "second", "third")
        ]
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        for session in (first, second):
            messages = [str(number) for number in range(100)]
            sending = asyncio.create_task(px.send_all(session, "n0", messages, end=False))
            assert [(await session.receive("n1")).payload for _ in messages] == messages
            await sending
            await session.interrupt()
            session.get_status()
            try:
                session.get_metrics()
            except OSError as error:
                say(errno.errorcode[error.errno])
        try:
            await executor.create_session("fourth", px.chain("t-echo"))
        except ProcessSpawnError as error:
            say("Too many open files" in str(error))
        await first.send("n0", px.text("complain-and-die SIGSEGV"))
        try:
            await px.received(first, "n1")
        except ProcessCrashError as error:
            say(error.node_id, error.exit_code, "the last words" in error.stderr_tail)
        await executor.terminate_session("first")
        await executor.terminate_session("second")
        assert first.pids == second.pids == {}
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await px.works(third)
        say(third.get_metrics().process_count)

asyncio.run(main())
"""


@pytest.mark.promise(
    "host program",
    "without a single descriptor to spare its sessions stream, interrupt, crash and stop as ever; figures say why not",
    "RLIMIT_NOFILE below what is open, while three sessions run",
)
def test_none_while_sessions_run(px: Any, ledger: Any, child_python: Any) -> None:
    child = child_python(px.PATH_LINES + RUNNING)
    child.expect("EMFILE")
    child.expect("EMFILE")
    child.expect(True)
    child.expect("n0", 139, True)
    child.expect(2)
    assert child.wait() == 0, child.stderr()
    ledger.count("sessions", 3)


IN_A_NODE = """
import asyncio, logging, resource, session_support as px
from remotemedia.core.multiprocessing import *

logging.disable()

async def attempt(executor, name, limit):
    def hear(progress):
        if progress.status == "starting" and progress.node_id == "n0":
            resource.prlimit(executor.sessions[name].pids["n0"], resource.RLIMIT_NOFILE, (limit, limit))

    try:
        session = await executor.create_session(name, px.chain("t-echo", "t-echo"), progress_callback=hear)
        await px.works(session)
        await executor.terminate_session(name)
        return "ok"
    except (NodeInitializationError, ProcessCrashError) as error:
        said = "Too many open files" in str(error) or "No file descriptors available" in str(error)
        return [type(error).__name__, error.node_id, said]

async def main():
    async with MultiprocessExecutor(MultiprocessConfig(use_uvloop=False)) as executor:
        other = await executor.create_session("other", px.chain("t-echo", "t-echo"))
        for limit in range(6, 40, int(sys.argv[1])):
            outcome = await attempt(executor, f"s{limit}", limit)
            say(outcome)
            if outcome == "ok":
                break
            await px.works(other)

asyncio.run(main())
"""


@pytest.mark.promise(
    "host program",
    "a node with too few descriptors for its share is named, with the reason",
    "limits from what Python needs to what the node needs; libuv, which aborts, left out",
)
def test_none_in_a_node(px: Any, ledger: Any, child_python: Any, scale: Any) -> None:
    child = child_python(px.PATH_LINES + IN_A_NODE, str(scale(3, 1)))
    errors = []
    while (outcome := child.hear()[0]) != "ok":
        kind, *said = outcome
        assert said == ["n0", True], (errors, outcome)
        errors.append(kind)
    # Where it is the descriptors it is given that have no room, the node can say so itself.
    assert errors.count("NodeInitializationError") > scale(0, 3), errors
    assert child.wait() == 0, child.stderr()
    ledger.count("starts refused", len(errors))
