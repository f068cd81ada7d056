"""When the orchestrator goes, in whatever way, its nodes and what they started go with it."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("leak_check")

GONE_WITHIN_SECS = 1.0
"""The issue's bound from the orchestrator's death to that of the last process of a node."""

DRIVER = """
import asyncio, os, signal
from remotemedia.core.multiprocessing import *

text = session_support.text
known = set()

def tell(progress):
    if progress.message and progress.message.startswith("grandchild"):
        known.add(int(progress.message.split()[1]))

async def ready(*nodes, **config):
    session = session_support.session(*nodes, **config)
    await session.initialize(tell)
    await session.start()
    say(*session.pids.values(), *known)
    return session

GRANDCHILD = {"grandchild": True}
"""


@pytest.fixture
def orchestrator(px: Any, child_python: Callable[..., Any]) -> Callable[[str], Any]:
    """A program with the node classes and functions at hand; it says the pids of its nodes and grandchildren."""

    def start(script: str) -> Any:
        imports = "import session_support\n"
        return child_python(px.PATH_LINES + imports + DRIVER + script)

    return start


def wait_gone(px: Any, pids: list[int]) -> float:
    """Seconds until none of them lives; the watchdog knows how long is too long."""
    started = time.monotonic()
    while any(map(px.lives, pids)) or any(px.group(pid) for pid in pids):
        elapsed = time.monotonic() - started
        if elapsed > px.PATIENCE_SECS:
            left = [(pid, px.stat(pid)) for pid in pids if px.lives(pid)]
            for pid, _ in left:
                os.kill(pid, signal.SIGKILL)
            pytest.fail(f"not gone after {elapsed:.0f} s: {left}")
        time.sleep(0.001)
    return time.monotonic() - started


KILLS = {
    "loading": """
async def main():
    session = session_support.session(
        ("t-init", {"how": "wait", **GRANDCHILD}), ("t-init", {"how": "stick", **GRANDCHILD})
    )
    reading = set()
    def hear(progress):
        tell(progress)
        if progress.message == "reading weights":
            reading.add(progress.node_id)
            if len(reading) == 2:
                say(*session.pids.values(), *known)
    await session.initialize(hear)
asyncio.run(main())
""",
    "starting": """
async def main():
    session = session_support.session("t-echo", "t-echo")
    def hear(progress):
        if len(session.pids) == 2 and not known:
            known.add(1)
            say(*session.pids.values())
    await session.initialize(hear)
    await asyncio.sleep(3600)
asyncio.run(main())
""",
    "idle": """
async def main():
    await ready(*[("t-echo", GRANDCHILD)] * 3)
    await asyncio.sleep(3600)
asyncio.run(main())
""",
    "processing": """
async def main():
    session = await ready(("t-work", GRANDCHILD), "t-echo", "t-work")
    async def feed():
        while True:
            await session.send("n0", text("x"))
    feeding = asyncio.create_task(feed())
    while True:
        await session.receive("n2")
asyncio.run(main())
""",
    "stuck in C code": """
async def main():
    session = session_support.session(("t-do", GRANDCHILD), "t-deaf")
    await session.initialize(tell)
    await session.start()
    await session.send("n0", text("stick"))
    await session.receive("n1")
    say(*session.pids.values(), *known)
    await asyncio.sleep(3600)
asyncio.run(main())
""",
    "stopped": """
async def main():
    session = session_support.session(("t-echo", GRANDCHILD), "t-echo")
    await session.initialize(tell)
    await session.start()
    for pid in session.pids.values():
        os.kill(pid, signal.SIGSTOP)
    await session_support.until(lambda: all(map(session_support.stopped, session.pids.values())))
    say(*session.pids.values(), *known)
    await asyncio.sleep(3600)
asyncio.run(main())
""",
    "stopping": """
async def main():
    session = await ready(("t-slow-cleanup", GRANDCHILD), "t-echo", cleanup_grace_period_secs=3600)
    await session.stop()
asyncio.run(main())
""",
}


@pytest.mark.parametrize("moment", KILLS)
def test_killed(px: Any, orchestrator: Any, record_property: Any, moment: str) -> None:
    child = orchestrator(KILLS[moment])
    pids = child.hear()
    assert len(pids) >= 2
    child.kill()
    elapsed = wait_gone(px, pids)
    record_property("gone_after_secs", elapsed)
    assert elapsed < GONE_WITHIN_SECS


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGSEGV, signal.SIGQUIT])
def test_ended_by_a_signal(px: Any, orchestrator: Any, number: int) -> None:
    child = orchestrator(KILLS["idle"])
    pids = child.hear()
    child.signal(number)
    assert child.wait() == -number
    assert wait_gone(px, pids) < GONE_WITHIN_SECS


EXITS = {
    "without cleanup": "asyncio.run(ready(('t-echo', GRANDCHILD), 't-deaf'))",
    "without cleanup, with the session in a global": ("session = asyncio.run(ready(('t-echo', GRANDCHILD), 't-deaf'))"),
    "in the middle": """
async def main():
    session = await ready(("t-slow-cleanup", GRANDCHILD), "t-echo")
    raise SystemExit(0)
asyncio.run(main())
""",
    "by os._exit": """
async def main():
    session = await ready(("t-slow-cleanup", GRANDCHILD), "t-echo")
    os._exit(0)
asyncio.run(main())
""",
}


@pytest.mark.parametrize("how", EXITS)
def test_exits(px: Any, orchestrator: Any, how: str) -> None:
    child = orchestrator(EXITS[how])
    pids = child.hear()
    assert child.wait() == 0, child.stderr()
    assert wait_gone(px, pids) < GONE_WITHIN_SECS
    assert child.stderr() == ""


def test_a_dropped_session_takes_its_processes_along(px: Any) -> None:
    async def main() -> None:
        session = px.session(("t-echo", {"grandchild": True}), "t-deaf")
        grandchildren: list[int] = []
        await session.initialize(lambda p: grandchildren.extend([px.grandchild(p.message)] if p.message else []))
        await session.start()
        pids = list(session.pids.values())
        assert all(map(px.lives, pids + grandchildren))
        del session
        gc.collect()
        assert not any(map(px.exists, pids))
        await px.until(lambda: not px.lives(grandchildren[0]))

    px.run(main())


def test_a_dropped_session_whose_callbacks_know_it(px: Any) -> None:
    async def pids_of_a_session_that_knows_itself() -> list[int]:
        session = px.session("t-echo")
        session.on_process_crash(lambda error: print(session))
        await session.initialize(lambda progress: print(session, progress))
        return list(session.pids.values())

    async def main() -> None:
        pids = await pids_of_a_session_that_knows_itself()
        gc.collect()
        assert not any(map(px.exists, pids))

    px.run(main())


def test_a_fork_of_the_orchestrator_ends_nothing(px: Any, orchestrator: Any) -> None:
    child = orchestrator("""
async def main():
    session = await ready("t-echo")
    pid = os.fork()
    if pid == 0:
        import sys
        sys.exit(7)  # runs what runs at exit
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    await session_support.send_all(session, "n0", ["x"])
    say(await session_support.received(session, "n0"))
    await session.cleanup()
try:
    asyncio.run(main())
except SystemExit:
    raise
""")
    child.hear()
    child.expect(["x"])
    assert child.wait() == 0, child.stderr()


# --- Ctrl-C ----------------------------------------------------------------------------------------------------

CTRL_C = {
    "initialize": KILLS["loading"],
    "streaming": KILLS["processing"],
    "streaming in a context manager": """
async def main():
    async with session_support.session("t-work", "t-echo") as session:
        say(*session.pids.values())
        async def feed():
            while True:
                await session.send("n0", text("x"))
        async def drain():
            while True:
                await session.receive("n1")
        await asyncio.gather(feed(), drain())
asyncio.run(main())
""",
    "stop": KILLS["stopping"],
}


@pytest.mark.parametrize("moment", CTRL_C)
def test_ctrl_c(px: Any, orchestrator: Any, moment: str) -> None:
    # Loading nodes that stick in C code would have their grace period; that it ends is tested elsewhere.
    child = orchestrator(CTRL_C[moment].replace('"how": "stick"', '"how": "wait"'))
    pids = child.hear()
    assert all(map(px.lives, pids))
    child.signal(signal.SIGINT)
    assert child.wait() == -signal.SIGINT
    assert child.stderr().rstrip().endswith("KeyboardInterrupt")
    assert "never retrieved" not in child.stderr() and "never awaited" not in child.stderr()
    assert wait_gone(px, pids) < GONE_WITHIN_SECS


def test_ctrl_c_of_a_terminal_reaches_the_orchestrator_only(px: Any, tmp_path: Path) -> None:
    # A terminal signals the whole foreground group; the nodes have groups of their own and end in order.
    script = tmp_path / "program.py"
    bell = tmp_path / "cleaned"
    script.write_text(
        px.PATH_LINES
        + "import asyncio, session_support\n"
        + "async def main():\n"
        + f"    async with session_support.session(('t-echo', {{'cleanup_file': {str(bell)!r}}})):\n"
        + "        print('ready', flush=True)\n"
        + "        await asyncio.sleep(3600)\n"
        + "asyncio.run(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait() == -signal.SIGINT
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert bell.read_text() == "n0\n"
