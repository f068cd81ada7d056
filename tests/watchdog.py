"""Watches the tests from outside: one that takes too long has the stacks of all its processes dumped, and is ended.

Started by tests/conftest.py, whose process is the parent; a program of its own, as a test may hang with Python's lock
held, and what its nodes say goes to a pipe that only the hanging program reads. It hears "SECONDS NAME" when a test
begins and an empty line when it has ended. Stacks come from faulthandler, which tests and nodes have on SIGQUIT.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from pathlib import Path

QUIET_SECS = 1.0
"""A process that has written nothing for so long has said all."""


def descendants(pid: int) -> list[int]:
    """The processes that ``pid`` started, and those that they started."""
    found = []
    for task in sorted(Path(f"/proc/{pid}/task").glob("*")):
        with contextlib.suppress(OSError):
            for child in (task / "children").read_text().split():
                found += [int(child), *descendants(int(child))]
    return found


def facts(pid: int) -> str:
    """What a process is, and where the kernel has its threads."""
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()[:300]]
    for task in sorted(Path(f"/proc/{pid}/task").glob("*")):
        with contextlib.suppress(OSError):
            state = (task / "stat").read_text().rpartition(")")[2].split()[0]
            lines.append(
                f"  thread {task.name}: {state} {(task / 'wchan').read_text()} {(task / 'syscall').read_text()}"
            )
    return "\n".join(line.rstrip() for line in lines)


def dumps_stacks(pid: int) -> bool:
    """Whether SIGQUIT is caught: it would end any other process."""
    caught = Path(f"/proc/{pid}/status").read_text().partition("SigCgt:")[2].split()[0]
    return bool(int(caught, 16) >> (signal.SIGQUIT - 1) & 1)


def said_on_stderr(pid: int) -> bytes:
    """What a process that was sent SIGQUIT writes to its stderr, where that is a pipe."""
    path = f"/proc/{pid}/fd/2"
    if not os.readlink(path).startswith("pipe:"):  # noqa: PTH115
        return b""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        said = b""
        while select.select([fd], [], [], QUIET_SECS)[0] and (part := os.read(fd, 65536)):
            said += part
        return said
    finally:
        os.close(fd)


def dump(tests: int, out: int) -> None:
    def say(text: str) -> None:
        os.write(out, f"{text}\n".encode(errors="replace"))

    nodes = descendants(tests)
    nodes.remove(os.getpid())
    say(f"\n--- process {tests}, the tests: {facts(tests)}")
    os.kill(tests, signal.SIGQUIT)
    select.select([], [], [], QUIET_SECS)
    os.kill(tests, signal.SIGSTOP)  # or it would read what the nodes say
    for pid in nodes:
        with contextlib.suppress(OSError):
            say(f"\n--- process {pid}: {facts(pid)}")
            if dumps_stacks(pid):
                os.kill(pid, signal.SIGQUIT)
                os.write(out, said_on_stderr(pid))


def main(out: int) -> None:
    tests, secs, name = os.getppid(), None, ""
    lines = b""
    while True:
        if not select.select([0], [], [], secs)[0]:
            os.write(out, f"\n{name} takes longer than {secs:g} s: the stacks of all processes\n".encode())
            try:
                dump(tests, out)
            finally:
                os.kill(tests, signal.SIGKILL)  # its nodes go with it
            return
        heard = os.read(0, 65536)
        if not heard:
            return
        *whole, lines = (lines + heard).split(b"\n")
        if whole:
            first, _, name = whole[-1].decode(errors="replace").partition(" ")
            secs = float(first) if first else None


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests
    main(int(sys.argv[1]))
