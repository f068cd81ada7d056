"""The command ``remotemedia``, its modules imported once: a process that forks one of its own for every call.

What a call does is what ``python -m remotemedia`` does after its imports: the same arguments, folder, environment,
streams, exit code. What the interpreter itself reads as it starts (PYTHONPATH, PYTHONWARNINGS) is the first one's.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self


class WarmCommand:
    """One such process. ``call()`` is to it what ``subprocess.run`` is to ``python -m remotemedia``."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            arguments = [sys.executable, "-m", "tests.warm_command", str(theirs.fileno())]
            self._process = subprocess.Popen(
                arguments,
                cwd=Path(__file__).parents[1],
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._orders.close()
        self._process.wait()

    def call(
        self, *arguments: str, cwd: str | Path, env: Mapping[str, str] | None = None, data: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        """Runs the command to its end, with ``data`` through a pipe as its stdin."""
        order = json.dumps([arguments, str(cwd), dict(os.environ if env is None else env)])
        pipes = [os.pipe(), os.pipe(), os.pipe()]
        given, ours = [pipes[0][0], pipes[1][1], pipes[2][1]], [pipes[0][1], pipes[1][0], pipes[2][0]]
        socket.send_fds(self._orders, [order.encode()], given)
        for file in given:
            os.close(file)
        with ThreadPoolExecutor(3) as threads:
            writing = threads.submit(_write, ours[0], data)
            out, err = (threads.submit(_read, file) for file in ours[1:])
            code = int(self._orders.recv(64))
            writing.result()
            return subprocess.CompletedProcess(["remotemedia", *arguments], code, out.result(), err.result())


def _write(pipe: int, data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), open(pipe, "wb") as file:
        file.write(data)


def _read(pipe: int) -> bytes:
    with open(pipe, "rb") as file:
        return file.read()


# --- the process itself ---


def _serve(orders: socket.socket) -> None:
    """Forks for each order, and answers with the exit code as subprocess would give it. Returns in the forked one."""
    while True:
        order, files, _, _ = socket.recv_fds(orders, 1 << 20, 3)
        if not order:
            sys.exit()
        child = os.fork()
        if child == 0:
            orders.close()
            _become(*json.loads(order), files)
            return
        for file in files:
            os.close(file)
        orders.send(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())


def _become(arguments: Sequence[str], folder: str, environment: Mapping[str, str], files: Sequence[int]) -> None:
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    # Python's own have seen the first ones' kind: whether they can be sought in.
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False, buffering=1, errors="backslashreplace")  # noqa: SIM115
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0] = folder
    sys.argv[1:] = arguments


if __name__ == "__main__":
    import numpy  # noqa: F401

    import remotemedia.cli._run_files
    import remotemedia.cli._run_session  # noqa: F401
    from remotemedia.cli import _commands, main  # noqa: F401

    signal.signal(signal.SIGINT, signal.default_int_handler)
    with socket.socket(fileno=int(sys.argv[1])) as _orders:
        _serve(_orders)
    sys.exit(main(sys.argv[1:]))
