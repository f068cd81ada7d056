"""Making an environment in a process of its own: it may take minutes, and can be ended at any moment."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from remotemedia.environments._store import Environment, Wanted, find
from remotemedia.errors import ProcessSpawnError

__all__ = ["make"]

_MOST_LINE_BYTES = 1 << 20
# Not by PYTHONPATH: what is there for this Python is not there for the one that is made.
_ROOT = str(Path(__file__).resolve().parents[2])
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from remotemedia.environments.__main__ import main; sys.exit(main())"
)


async def make(
    wanted: Wanted, tell: Callable[[str], None] = lambda text: None, python: str = sys.executable
) -> Environment:
    """The environment for this; made now if it is not there, and waited for if another process makes it.

    ``python`` is the interpreter that makes it: a program that embeds Python names another one than itself. ``tell``
    hears of each step. Cancelled, it ends the making: what is half made is made anew the next time. Raises
    ProcessSpawnError, in one line, if it cannot be made.
    """
    if (made := find(wanted)) is not None:
        return made
    process = subprocess.Popen(  # noqa: ASYNC220  posix_spawn takes a moment
        [python, "-P", "-c", _PROGRAM, _ROOT, wanted.python_version, *wanted.requirements],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    finished = False
    try:
        why = await _follow(process, tell)
        await _ended(process.pid)
        finished = process.wait() == 0
    finally:
        if not finished:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its installer too
        process.wait()
        assert process.stdin is not None
        process.stdin.close()
    if (made := find(wanted)) is None:
        said = why or f"its process ended with {process.returncode}"
        raise ProcessSpawnError(f"the environment of {wanted} cannot be made: {said}")
    return made


async def _follow(process: subprocess.Popen[bytes], tell: Callable[[str], None]) -> str:
    """Passes on what is said until nobody is left to say anything; why it failed, or ""."""
    lines = asyncio.StreamReader(limit=_MOST_LINE_BYTES)
    assert process.stdout is not None
    pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), process.stdout
    )
    why = ""
    try:
        async for line in lines:
            try:
                said = json.loads(line)
            except ValueError:
                continue  # not ours
            if isinstance(said, dict):
                why = str(said.get("error", ""))
            else:
                tell(str(said))
    finally:
        pipe.close()
    return why


async def _ended(pid: int) -> None:
    """Until this child of ours has ended; it is left to be waited for."""
    pidfd = os.pidfd_open(pid)
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    try:
        loop.add_reader(pidfd, ended.set)
        await ended.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
