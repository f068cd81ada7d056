"""Starting one node's process: posix_spawn in a process group of its own, with no descriptors but five of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from remotemedia import _orphans
from remotemedia.core.multiprocess.process.control import CONTROL_FD, ORCHESTRATOR_FD
from remotemedia.core.multiprocess.process.interpreter import command, environment, refuse_the_program_itself
from remotemedia.core.multiprocess.process.surroundings import check_surroundings, remedy_for
from remotemedia.errors import ProcessSpawnError

__all__ = ["Spawned", "find_python", "spawn_runner"]

# Handlers do not survive an exec, but ignored signals do: a node starts with the defaults.
_SIGNALS_TO_DEFAULT = [signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGHUP, signal.SIGCHLD, signal.SIGQUIT]
_NO_MORE_PROCESSES = "the system has no more processes to give (ulimit -u, or the pids limit of a control group)"


@dataclass
class Spawned:
    """A started process; everything in it is the receiver's to close."""

    pid: int
    pidfd: int
    control: socket.socket
    stdout_fd: int
    stderr_fd: int


def find_python(executable: str, venv_path: str | None = None) -> str:
    """The path of the interpreter: of ``venv_path`` if that is set, else what ``executable`` names.

    Raises:
        ProcessSpawnError: it does not exist, or is this program itself, which would be started again and again.
    """
    if venv_path is not None:
        python = Path(venv_path).absolute() / "bin" / "python"
        if shutil.which(python) is None:
            _refuse_if_not_executable("venv_path", python)
            raise ProcessSpawnError(
                f"venv_path {venv_path!r} is not a virtual environment: there is no interpreter {python} "
                f"(python3 -m venv {venv_path} makes one)"
            )
        refuse_the_program_itself(str(python))
        return str(python)
    refuse_the_program_itself(executable)
    found = shutil.which(executable)
    if found is None:
        if "/" in executable:
            _refuse_if_not_executable("python_executable", Path(executable))
        raise ProcessSpawnError(
            f"Python executable not found: {executable!r} (python_executable must be a path or a command in PATH)"
        )
    refuse_the_program_itself(found)
    return found


def _refuse_if_not_executable(setting: str, python: Path) -> None:
    if python.is_file():
        raise ProcessSpawnError(
            f"{setting} {str(python)!r} may not be executed: check its mode, and whether its file system is mounted "
            "noexec"
        )


def spawn_runner(python: str, env: Mapping[str, str], node_type: str, node_id: str, session_id: str) -> Spawned:
    """Starts the runner of one node, with ``env`` beside this program's environment.

    ProcessSpawnError when the system refuses; then nothing is left behind.
    """
    check_surroundings()
    argv = [*command(python), "--node-type", node_type, "--node-id", node_id, "--session", session_id]
    with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
        try:
            control, control_end = socket.socketpair()
            ours.enter_context(control)
            theirs.enter_context(control_end)
            stdout_fd, stdout_end = _pipe(ours, theirs)
            stderr_fd, stderr_end = _pipe(ours, theirs)
            orchestrator = os.pidfd_open(os.getpid())
            theirs.callback(os.close, orchestrator)
            ends = {1: stdout_end, 2: stderr_end, CONTROL_FD: control_end.fileno(), ORCHESTRATOR_FD: orchestrator}
            spawn = partial(
                os.posix_spawn,
                python,
                argv,
                environment(env),
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    *_moves(ends, theirs),
                ],
                setpgroup=0,
                setsigmask=[],
                setsigdef=_SIGNALS_TO_DEFAULT,
            )
            pid = _orphans.start(spawn)
        except (OSError, ValueError) as error:
            why = _NO_MORE_PROCESSES if isinstance(error, BlockingIOError) else f"{error}{remedy_for(error)}"  # EAGAIN
            raise ProcessSpawnError(f"cannot start the process of node {node_id!r} with {python}: {why}") from error
        try:
            pidfd = os.pidfd_open(pid)
        except OSError as error:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):  # the program may have reaped it already
                os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            _orphans.ended(pid)
            raise ProcessSpawnError(f"cannot watch the process of node {node_id!r}: {error}") from error
        ours.pop_all()
    os.set_blocking(stdout_fd, False)
    os.set_blocking(stderr_fd, False)
    return Spawned(pid, pidfd, control, stdout_fd, stderr_fd)


def _pipe(ours: contextlib.ExitStack, theirs: contextlib.ExitStack) -> tuple[int, int]:
    read_fd, write_fd = os.pipe()
    ours.callback(os.close, read_fd)
    theirs.callback(os.close, write_fd)
    return read_fd, write_fd


def _moves(wanted: dict[int, int], theirs: contextlib.ExitStack) -> list[tuple[int, int, int]]:
    """dup2 actions that put each descriptor at its number, even when a host without stdio got low numbers for them."""
    moves = []
    for target, fd in wanted.items():
        if fd <= max(wanted):
            import fcntl

            fd = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, max(wanted) + 1)
            theirs.callback(os.close, fd)
        moves.append((os.POSIX_SPAWN_DUP2, fd, target))
    return moves
