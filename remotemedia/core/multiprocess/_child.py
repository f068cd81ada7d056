"""One child process from the outside: its exit, its output, how to end it. Owner of its pid and descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections import deque
from dataclasses import dataclass

from remotemedia.core.multiprocess._control import ControlSocket
from remotemedia.core.multiprocess._logs import about
from remotemedia.core.multiprocess._memory_limit import HeldLimit, MemoryLimit
from remotemedia.core.multiprocess._procfs import ProcessUsage
from remotemedia.core.multiprocess._spawn import Spawned
from remotemedia.core.multiprocess._watch import watch

__all__ = ["Child", "Exit"]

_TAIL_LINES = 50  # what faulthandler says of a crash is 20 and more, and what came before it matters too
_MAX_LINE_BYTES = 8192
_READ_BYTES = 65536
_logger = logging.getLogger("remotemedia.node")


@dataclass(frozen=True)
class Exit:
    """How a process ended.

    Attributes:
        code: exit code; 128 + the signal's number after a signal; -1 when somebody else reaped the process.
        signal: the signal that ended it, or None.
    """

    code: int
    signal: int | None = None

    def __str__(self) -> str:
        if self.signal is not None:
            return f"killed by signal {self.signal}"
        return "reaped by someone else" if self.code < 0 else f"exit code {self.code}"


class Child:
    """A running node process. ``exited`` resolves once, with its Exit, when the process is gone and reaped.

    When it ends, whatever is left of its process group is killed with it. OSError when the event loop cannot watch it;
    then it is gone again.
    """

    def __init__(self, session_id: str, node_id: str, spawned: Spawned, loop: asyncio.AbstractEventLoop) -> None:
        self.node_id = node_id
        self.pid = spawned.pid
        self._started = time.monotonic()
        self._ended: float | None = None
        self.control = ControlSocket(spawned.control, to_node=True)
        self.exited: asyncio.Future[Exit] = loop.create_future()
        self.memory: HeldLimit | None = None
        self.put_down_for = ""
        self._loop = loop
        self._pidfd = spawned.pidfd
        logger, extra = _logger.getChild(node_id), about(session_id, node_id)
        self._stdout = _Output(spawned.stdout_fd, loop, logger, logging.INFO, extra)
        self._stderr = _Output(spawned.stderr_fd, loop, logger, logging.WARNING, extra)
        try:
            self.usage = ProcessUsage(spawned.pid)
            self._stdout.start()
            self._stderr.start()
            watch(loop, self._pidfd, self._on_exit)
        except BaseException:
            self.abandon()
            raise

    @property
    def running(self) -> bool:
        """Whether it was not seen to end."""
        return self._ended is None

    @property
    def uptime_secs(self) -> float:
        """How long it has been running, or ran."""
        return (time.monotonic() if self._ended is None else self._ended) - self._started

    @property
    def stderr_tail(self) -> tuple[str, ...]:
        """The last lines it wrote to stderr."""
        return tuple(self._stderr.tail)

    def limit_memory(self, limit: MemoryLimit | None) -> None:
        """Limits its memory, as long as it has not been told what to run."""
        if limit is not None:
            self.memory = HeldLimit(limit, self.pid)
            _logger.getChild(self.node_id).debug("%s", self.memory)

    def signal_group(self, number: int) -> None:
        """Sends a signal to the process and all it started, unless it has ended."""
        if not self.exited.done():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)
            if number == signal.SIGKILL:  # it may have left its group
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    signal.pidfd_send_signal(self._pidfd, number)

    def put_down_if_deserted(self) -> None:
        """Its control socket has ended: kills it, unless that is so because the process is ending by itself.

        A node that cannot be told to stop, nor say that it fails, is none any more.
        """
        if not self.exited.done() and not self.usage.exiting():
            self.put_down_for = (
                "it was ended as it had closed its control socket: it became another program, "
                "or closed descriptors that were not its own"
            )
            self.signal_group(signal.SIGKILL)

    def _on_exit(self) -> None:
        self._ended = time.monotonic()
        self._loop.remove_reader(self._pidfd)
        try:
            # Looked at before it is reaped: as long as it is a zombie, no stranger can have its group's number.
            info = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            # The host program ignores SIGCHLD or reaps all children. The number is free now, but it takes the whole
            # range of pids to come round to it, and what the node started should not outlive it.
            info = None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        if info is not None:
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)
        os.close(self._pidfd)
        self._pidfd = -1
        self._stdout.close()
        self._stderr.close()
        try:
            self.control.drain()
        finally:
            self.control.close()
            self.exited.set_result(_exit_of(info))

    def abandon(self) -> None:
        """Kills and reaps without an event loop: the loop is gone, or never gets to run again."""
        if self._pidfd < 0:
            return
        self._ended = time.monotonic()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        if not self._loop.is_closed():
            self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        self._stdout.close()
        self._stderr.close()
        self.control.close()
        if self.memory is not None and self.memory.group is not None:
            self.memory.group.remove()
        if not self._loop.is_closed():
            self.exited.set_result(Exit(128 + signal.SIGKILL, signal.SIGKILL))


def _exit_of(info: os.waitid_result | None) -> Exit:
    if info is None:
        return Exit(-1)
    if info.si_code == os.CLD_EXITED:
        return Exit(info.si_status)
    return Exit(128 + info.si_status, info.si_status)


class _Output:
    """Reads one of the child's streams into a logger, line by line, and keeps the last lines."""

    def __init__(
        self, fd: int, loop: asyncio.AbstractEventLoop, logger: logging.Logger, level: int, extra: dict[str, str | None]
    ) -> None:
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._fd = fd
        self._loop = loop
        self._logger = logger
        self._level = level
        self._extra = extra
        self._partial = b""

    def start(self) -> None:
        """Reads from now on."""
        watch(self._loop, self._fd, self._readable)

    def _readable(self) -> bool:
        """Reads once; False when there is nothing more to read now or ever."""
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self.close()
            return False
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self._line(line)
        if len(self._partial) > _MAX_LINE_BYTES:
            end = _end_of_characters(self._partial)
            self._line(self._partial[:end])
            self._partial = self._partial[end:]
        return True

    def _line(self, raw: bytes) -> None:
        line = raw.decode(errors="replace").rstrip("\r")
        self.tail.append(line)
        self._logger.log(self._level, "%s", line, extra=self._extra)

    def close(self) -> None:
        """Takes in what is left in the pipe; what a grandchild may still write is not waited for."""
        if self._fd < 0:
            return
        fd = self._fd
        if not self._loop.is_closed():
            self._loop.remove_reader(fd)
        # A killed writer leaves at most a pipe's buffer; a living grandchild could go on for ever.
        for _ in range(16):
            try:
                data = os.read(fd, _READ_BYTES)
            except BlockingIOError:
                break
            if not data:
                break
            self._partial += data
        self._fd = -1
        os.close(fd)
        for line in self._partial.split(b"\n"):
            if line:
                self._line(line)
        self._partial = b""


def _end_of_characters(raw: bytes) -> int:
    """Where to cut ``raw`` so that no UTF-8 character is torn."""
    for back, byte in enumerate(reversed(raw[-3:]), 1):
        if byte >= 0xC0:  # the first byte of a character of 2, 3 or 4
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(raw) - back if length > back else len(raw)
        if byte < 0x80:
            break
    return len(raw)
