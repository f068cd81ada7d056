"""One child process from the outside: its exit, its output, how to end it. Owner of its pid and descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from dataclasses import dataclass
from functools import partial

from remotemedia import _orphans
from remotemedia.core.multiprocess.kernel.procfs import ProcessUsage
from remotemedia.core.multiprocess.kernel.watch import watch
from remotemedia.core.multiprocess.process.control import ControlSocket
from remotemedia.core.multiprocess.process.memory_limit import HeldLimit, MemoryLimit
from remotemedia.core.multiprocess.process.output import Output
from remotemedia.core.multiprocess.process.spawn import Spawned
from remotemedia.core.multiprocess.values.logs import NodeLog

__all__ = ["Child", "Exit"]


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
        self._log = NodeLog(session_id, node_id)
        self._stdout = Output(spawned.stdout_fd, loop, partial(self._log.line, logging.INFO))
        self._stderr = Output(spawned.stderr_fd, loop, partial(self._log.line, logging.WARNING))
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

    @property
    def last_said(self) -> str:
        """The newest line, or part of one, on its stdout or stderr; empty if it has written nothing."""
        return max(self._stdout, self._stderr, key=lambda output: output.said_at).last_said

    def limit_memory(self, limit: MemoryLimit | None) -> None:
        """Limits its memory, as long as it does not know what to run."""
        if limit is not None:
            self.memory = HeldLimit(limit, self.pid)
            self._log.debug(str(self.memory))

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

        A node that cannot hear "stop", nor say that it fails, is no longer a node.
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
        self.usage.read_last()
        try:
            # Looked at before it is reaped: as long as it is a zombie, no stranger can have its group's number.
            info = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            # The host program ignores SIGCHLD or reaps all children. The number is free now, but it takes the whole
            # range of pids to come round to it, and what the node started should not outlive it.
            info = None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        _orphans.take_in(self._loop, self.pid)
        if info is not None:
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)
        _orphans.ended(self.pid)
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
            os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOWAIT)
            self.usage.read_last()
            if not self._loop.is_closed():
                _orphans.take_in(self._loop, self.pid)
            os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        _orphans.ended(self.pid)
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
