"""What the kernel says of one process: its processor time and memory. Two small files, read when asked."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ProcessUsage", "Usage"]

_TICKS_PER_SEC = os.sysconf("SC_CLK_TCK")
# Fields of /proc/PID/stat, counted from behind the name, which may hold anything.
_STATE, _FLAGS, _USER_TICKS, _SYSTEM_TICKS, _BORN_TICKS = 0, 6, 11, 12, 19
_PF_EXITING = 0x4


@dataclass(frozen=True)
class Usage:
    """Processor time since the start, of all threads; resident memory without shared memory."""

    cpu_secs: float
    memory_bytes: int


class ProcessUsage:
    """Reads the usage of a process that was just started: its number, and when it was born, are its identity."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")
        self._seen_secs = 0.0
        self._final_secs: float | None = None
        try:
            self._born = self._stat()[_BORN_TICKS:][:1]
        except (FileNotFoundError, ProcessLookupError):
            self._born = []

    def read(self) -> Usage | None:
        """None once it is gone, even when another process has its number by now. From any thread.

        OSError when this process has no descriptor left to look.
        """
        try:
            status = (self._folder / "status").read_bytes()
            stat = self._stat()  # last: if this is still the same process, the status was its own
        except (FileNotFoundError, ProcessLookupError):
            return None
        if stat[_BORN_TICKS : _BORN_TICKS + 1] != self._born:
            return None
        # A process that has ended and waits to be reaped has no memory, and no such lines.
        memory_kb = sum(
            int(line.split()[1]) for line in status.splitlines() if line.startswith((b"RssAnon:", b"RssFile:"))
        )
        ticks = int(stat[_USER_TICKS]) + int(stat[_SYSTEM_TICKS])
        self._seen_secs = ticks / _TICKS_PER_SEC
        return Usage(self._seen_secs, memory_kb * 1024)

    def read_last(self) -> None:
        """It has ended and was not reaped: its processor time is final. For one thread."""
        with contextlib.suppress(OSError):  # no descriptor is left to look
            found = self.read()
            if found is not None:
                self._final_secs = found.cpu_secs

    def cpu_secs(self) -> float:
        """Processor time so far; when it is gone, what it had: at its end or, if somebody else reaped it, when it was
        read last. From any thread."""
        found = None
        if self._final_secs is None:
            with contextlib.suppress(OSError):
                found = self.read()
        if self._final_secs is not None:  # it may have ended meanwhile
            return self._final_secs
        return self._seen_secs if found is None else found.cpu_secs

    def exiting(self) -> bool:
        """Whether it has ended, or the kernel is taking it down. Not to be asked once it may have been reaped."""
        try:
            # Its other threads, and the files only they hold open, are gone before the one that dumps core is marked.
            if b"CoreDumping:\t1" in (self._folder / "status").read_bytes():
                return True
            stat = self._stat()
        except OSError:
            return True  # or this process has no descriptor left to look: then its pidfd will tell
        return stat[_STATE] in (b"Z", b"X") or bool(int(stat[_FLAGS]) & _PF_EXITING)

    def _stat(self) -> list[bytes]:
        return (self._folder / "stat").read_bytes().rpartition(b")")[2].split()
