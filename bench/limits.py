"""Compiles ``limits.c`` and asks it what this machine can do."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

from bench.workers import DEADLINE_SECS, ContenderFailed


class Limits:
    """The compiled program, in a folder that goes with the run."""

    def __init__(self, scratch: Path, cpus: tuple[int | None, int | None]) -> None:
        self._program = scratch / "limits"
        self._cpus = [str(-1 if cpu is None else cpu) for cpu in cpus]
        compiler = shlex.split(os.environ.get("CC", "cc"))
        source = Path(__file__).with_name("limits.c")
        # A compiler that is interrupted leaves its files: here they go with the rest.
        environment = {**os.environ, "TMPDIR": str(scratch)}
        subprocess.run([*compiler, "-O2", "-o", str(self._program), str(source)], check=True, env=environment)

    def _ask(self, *words: object) -> list[float]:
        try:
            done = subprocess.run(
                [str(self._program), *map(str, words)], capture_output=True, text=True, timeout=DEADLINE_SECS
            )
        except subprocess.TimeoutExpired:
            raise ContenderFailed(f"no answer within {DEADLINE_SECS:g} s") from None
        if done.returncode:
            raise ContenderFailed(done.stderr.strip())
        return [float(line) for line in done.stdout.split()]

    def ping_pong(self, rounds: int) -> list[float]:
        """One way of a cache line between two processes, as means over 100 round trips."""
        return self._ask("pingpong", *self._cpus, rounds)

    def futex_wake(self, hz: float, count: int) -> list[float]:
        """From the call that wakes a process until it runs."""
        return self._ask("futex", *self._cpus, hz, count)

    def eventfd_wake(self, hz: float, count: int) -> list[float]:
        """The same, of a process that sleeps in ``epoll_wait``."""
        return self._ask("eventfd", *self._cpus, hz, count)

    def memcpy(self, size: int, count: int) -> list[float]:
        """One copy between two warm buffers, in one process."""
        return self._ask("memcpy", self._cpus[0], size, count)


class Limit:
    """A figure of the machine that takes turns like everybody."""

    def __init__(self, name: str, ask: Callable[[], list[float]]) -> None:
        self.name = name
        self.ns: list[float] = []
        self._ask = ask

    def play(self) -> None:
        self.ns += self._ask()
