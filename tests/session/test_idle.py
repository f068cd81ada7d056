"""An idle pipeline sleeps in the kernel: no system calls, no wake-ups, no processor time."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("leak_check")

IDLE_SECS = 5


def activity(pid: int | str) -> list[tuple[str, int, int, int, int]]:
    """For each thread: name, wake-ups of its own and forced ones, and processor time in ticks."""
    found = []
    for task in sorted(Path(f"/proc/{pid}/task").iterdir()):
        status = (task / "status").read_text()
        voluntary, forced = (int(n) for n in re.findall(r"voluntary_ctxt_switches:\s+(\d+)", status))
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        found.append((task.name, voluntary, forced, int(fields[11]), int(fields[12])))
    return found


async def settled(px: Any, session: Any) -> None:
    """Some messages have passed, and every thread of every node sleeps."""
    for number in range(20):
        await session.send("n0", px.text(str(number)))
        assert await session.receive("n2") is not None
    pids = session.pids.values()
    tasks = [task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
    still: list[list[tuple[str, int, int, int, int]]] = []
    while not still or still != [activity(pid) for pid in pids]:
        still = [activity(pid) for pid in pids]
        await px.until(lambda: all((task / "stat").read_text().rpartition(")")[2].split()[0] == "S" for task in tasks))
        await asyncio.sleep(0.2)


def test_nothing_wakes_an_idle_session(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-echo", "t-echo", "t-echo") as session:
            await settled(px, session)
            waiting = asyncio.create_task(session.receive("n2"))  # the orchestrator waits as well
            before = {pid: activity(pid) for pid in session.pids.values()}
            await asyncio.sleep(IDLE_SECS)
            assert {pid: activity(pid) for pid in session.pids.values()} == before
            await session.send("n0", px.text("awake"))
            data = await waiting
            assert data is not None and data.payload == "awake"

    px.run(main())


def test_the_orchestrator_sleeps_too(child_python: Any, px: Any) -> None:
    child = child_python(
        px.PATH_LINES
        + """
import asyncio, session_support
async def main():
    async with session_support.session("t-echo", "t-echo") as session:
        waiting = asyncio.create_task(session.receive("n1"))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(say, "waiting")
        await waiting
asyncio.run(main())
"""
    )
    child.expect("waiting")

    async def main() -> None:
        state = Path(f"/proc/{child.pid}/stat")
        await px.until(lambda: state.read_text().rpartition(")")[2].split()[0] == "S")
        before = activity(child.pid)
        await asyncio.sleep(2)
        assert activity(child.pid) == before

    px.run(main())


def test_idle_nodes_make_no_system_calls(px: Any, tmp_path: Path) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("there is no strace here")
    report = tmp_path / "calls"

    async def main() -> None:
        async with px.session("t-echo", "t-echo", "t-echo") as session:
            await settled(px, session)
            pids = [str(pid) for pid in session.pids.values()]
            tracer = subprocess.Popen(
                [strace, "-f", "-o", str(report), *(word for pid in pids for word in ("-p", pid))],
                stderr=subprocess.PIPE,
                text=True,
            )
            try:
                assert tracer.stderr is not None
                threads = sum(len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in pids)
                for _ in range(len(pids)):
                    line = await asyncio.to_thread(tracer.stderr.readline)
                    if "ttach" in line and "attached" not in line:
                        pytest.skip(f"tracing is not permitted here: {line.strip()}")
                # Being traced breaks a sleeping call off and has it start again, once per thread.
                await px.until(lambda: len(report.read_text().splitlines()) >= threads)
                before = report.read_text()
                await asyncio.sleep(IDLE_SECS)
                assert report.read_text() == before
                assert len(before.splitlines()) == threads, before
                calls = set(re.findall(r"(\w+)\(", before))
                assert calls <= {"epoll_wait", "epoll_pwait", "poll", "ppoll", "restart_syscall", "futex"}
                await session.send("n0", px.text("awake"))
                assert await session.receive("n2") is not None
                await px.until(lambda: report.read_text() != before)  # it was looking all the time
            finally:
                tracer.send_signal(signal.SIGINT)
                tracer.communicate()

    px.run(main())
