"""The program that holds a session ends, in whatever way and phase: its nodes and what they started go with it."""

from __future__ import annotations

import asyncio
import gc
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.usefixtures("leak_check"),
    pytest.mark.promise(
        "host program",
        "when it ends, every node and what that started in its process group is gone",
        "SIGKILL, SIGSEGV, SIGTERM, SIGHUP, os._exit, exceptions, sys.exit and Ctrl-C in 13 phases from starting to"
        " stopping, with nodes stuck in C code or stopped; interpreters that end without cleanup(); forks left behind",
    ),
]

PHASES = [
    "starting",
    "unheard",
    "loading",
    "ready",
    "idle",
    "streaming",
    "full",
    "receiving",
    "stuck_in_c_code",
    "stopped",
    "interrupting",
    "stopping",
    "leaving",
]
# What the program is sent, and what it ends with.
SUDDEN = {
    "SIGKILL": (signal.SIGKILL, -signal.SIGKILL),
    "SIGSEGV": (signal.SIGSEGV, -signal.SIGSEGV),
    "os._exit": (signal.SIGUSR1, 5),
    "SIGTERM": (signal.SIGTERM, -signal.SIGTERM),
    "SIGHUP": (signal.SIGHUP, -signal.SIGHUP),
}
ORDERLY = {"an exception": (signal.SIGUSR2, 1), "sys.exit": (signal.SIGALRM, 7)}
MATRIX = [(phase, way) for phase in PHASES for way in {**SUDDEN, **ORDERLY}]
QUICK = {(phase, [*SUDDEN, *ORDERLY][2 * number % 7]) for number, phase in enumerate(PHASES)}
"""Each phase once, each way at least once."""


@pytest.fixture
def host(px: Any, child_python: Callable[..., Any]) -> Callable[[str], Any]:
    """A host program in one of the phases."""
    lines = f"sys.path.append({str(Path(__file__).parent)!r})\nimport host_programs\n"
    return lambda phase: child_python(px.PATH_LINES + lines + "host_programs.run(sys.argv[1], say)", phase)


@pytest.fixture
def script(px: Any, child_python: Callable[..., Any]) -> Callable[[str], Any]:
    """A program that finds the helpers of sessions as ``px``."""
    return lambda text: child_python(px.PATH_LINES + "import asyncio, session_support as px\n" + text)


class Ends:
    """When each of some processes is gone, as the kernel tells it; they live when this is made."""

    def __init__(self, px: Any, pids: list[int]) -> None:
        self._px, self._pids = px, pids
        self._pidfds = {os.pidfd_open(pid): pid for pid in pids}

    def wait(self) -> dict[int, float]:
        """Monotonic times by pid; fails, and kills, where the watchdog would end the whole run."""
        poll, ends = select.poll(), {}
        for pidfd in self._pidfds:
            poll.register(pidfd, select.POLLIN)
        while len(ends) < len(self._pidfds) and (ready := poll.poll(self._px.PATIENCE_SECS * 1e3)):
            for pidfd, _ in ready:
                poll.unregister(pidfd)
                ends[self._pidfds[pidfd]] = time.monotonic()
        for pidfd, pid in self._pidfds.items():
            if pid not in ends:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.close(pidfd)
        assert sorted(ends) == sorted(self._pids), "left alive"
        assert not [left for pid in self._pids for left in self._px.group(pid)]
        return ends


def end(px: Any, child: Any, pids: list[int], *numbers: int) -> float:
    """Sends the signals, each once the program has answered the one before; milliseconds from its end to the last."""
    assert len(pids) >= 1
    ends = Ends(px, [child.pid, *pids])
    for later, number in enumerate(numbers):
        if later:
            child.hear()
        child.signal(number)
    times = ends.wait()
    return max(0.0, max(times[pid] for pid in pids) - times[child.pid]) * 1e3


@pytest.mark.parametrize(
    ("phase", "way"),
    [pytest.param(*pair, marks=[] if pair in QUICK else [pytest.mark.long], id="-".join(pair)) for pair in MATRIX],
)
def test_the_program_ends(px: Any, ledger: Any, host: Any, phase: str, way: str) -> None:
    number, code = {**SUDDEN, **ORDERLY}[way]
    child = host(phase)
    took_ms = end(px, child, child.hear(), number)
    assert child.wait() == code
    # That a node which sticks in C code was killed is a warning in the log.
    said = "".join(line for line in child.stderr().splitlines(True) if not line.startswith("node"))
    if way != "SIGSEGV":  # faulthandler has much to say of that
        assert said.rstrip().endswith("RuntimeError: the program's own") if way == "an exception" else said == ""
    assert "never retrieved" not in said and "never awaited" not in said and "ignored" not in said
    ledger.count("deaths")
    if way in SUDDEN:
        ledger.took("death to last node gone, ms", took_ms, p95_at_most=1000)


# While its event loop is held up, the first Ctrl-C waits for its turn; in the last phase there are two, one when the
# end of the context manager takes its time.
@pytest.mark.parametrize("phase", [*(phase for phase in PHASES if phase != "unheard"), "staying"])
def test_ctrl_c(px: Any, ledger: Any, host: Any, phase: str) -> None:
    child = host(phase)
    end(px, child, child.hear(), signal.SIGINT, *[signal.SIGINT] * (phase == "staying"))
    assert child.wait() == -signal.SIGINT
    said = child.stderr()
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert "never retrieved" not in said and "never awaited" not in said and "ignored" not in said
    ledger.count("deaths")


def test_ctrl_c_of_a_terminal_reaches_the_program_only(px: Any, ledger: Any, tmp_path: Path) -> None:
    # A terminal signals the whole foreground group; the nodes have groups of their own and end in order.
    program = tmp_path / "program.py"
    bell = tmp_path / "cleaned"
    program.write_text(
        px.PATH_LINES
        + "import asyncio, session_support\n"
        + "async def main():\n"
        + f"    async with session_support.session(('t-echo', {{'cleanup_file': {str(bell)!r}}})):\n"
        + "        print('ready', flush=True)\n"
        + "        await asyncio.sleep(3600)\n"
        + "asyncio.run(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, str(program)],
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
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert bell.read_text() == "n0\n"
    ledger.count("deaths")


# --- nobody calls cleanup() ------------------------------------------------------------------------------------

READY = """
async def ready(*nodes):
    session, known = px.session(*nodes), []
    await session.initialize(lambda p: known.extend([px.grandchild(p.message)] if p.message else []))
    await session.start()
    say(*session.pids.values(), *known)
    hear()
    return session
NODES = ("t-echo", {"grandchild": True}), "t-deaf"
"""
DAEMON = """
import threading
running = threading.Event()
async def main():
    session = await ready(*NODES)
    running.set()
    await session.receive("n1")
threading.Thread(target=asyncio.run, args=[main()], daemon=True).start()
running.wait()
"""
ENDS = {
    "nothing refers to the session": "asyncio.run(ready(*NODES))",
    "a global does": "session = asyncio.run(ready(*NODES))",
    "a cycle does": "session = asyncio.run(ready(*NODES)); session.on_error(lambda error: session); del session",
    "sys.exit in the coroutine": """
async def main():
    session = await ready(*NODES)
    sys.exit()
asyncio.run(main())
""",
    "sys.exit in a callback": """
async def main():
    session = await ready("t-do")
    session.on_error(lambda error: sys.exit())
    await session.send("n0", px.text("raise it"))
    await px.received(session, "n0")
asyncio.run(main())
""",
    "a loop run by hand": """
loop = asyncio.new_event_loop()
session = loop.run_until_complete(ready(*NODES))
""",
    "a daemon thread runs its loop": DAEMON,
    "a daemon thread runs its loop, and sys.exit": DAEMON + "sys.exit()",
}


@pytest.mark.parametrize("how", ENDS)
def test_the_interpreter_ends_without_cleanup(px: Any, ledger: Any, script: Any, scale: Any, how: str) -> None:
    for _ in range(scale(1, 10)):
        child = script(READY + ENDS[how])
        pids = child.hear()
        ends = Ends(px, [child.pid, *pids])
        child.say("go")
        times = ends.wait()
        assert child.wait() == 0, child.stderr()
        said = [line for line in child.stderr().splitlines() if "unclosed event loop" not in line]
        assert said == [] or (how == "a loop run by hand" and "ResourceWarning" not in said[0])
        ledger.count("deaths")
        took_ms = max(0.0, max(times.values()) - times[child.pid]) * 1e3
        ledger.took("death to last node gone, ms", took_ms, p95_at_most=1000)


def test_a_dropped_session_takes_its_processes_along(px: Any, ledger: Any) -> None:
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
    ledger.count("sessions dropped")


def test_a_dropped_session_whose_callbacks_know_it(px: Any, ledger: Any) -> None:
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
    ledger.count("sessions dropped")


def test_a_session_dropped_by_another_thread(px: Any, ledger: Any, in_thread: Any) -> None:
    """Its event loop runs on meanwhile, and closes what it held."""
    held: list[Any] = []

    async def main() -> None:
        await asyncio.sleep(0)
        before = px.held()
        held.append(px.session("t-echo", "t-echo"))
        await held[0].initialize()
        ends = Ends(px, list(held[0].pids.values()))
        in_thread(held.clear).result()
        ends.wait()
        await px.until(lambda: px.held() == before)

    px.run(main())
    ledger.count("sessions dropped")
