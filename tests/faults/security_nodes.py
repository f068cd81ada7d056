"""Nodes that mean harm, and nodes that tell what they hold. Node processes load this file by its path."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import multiprocessing
import os
import re
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode, register_node

CONTROL_FD = 3


def words(**message: Any) -> bytes:
    """A control message as a node sends it."""
    raw = json.dumps(message).encode()
    return len(raw).to_bytes(4) + raw


def progress(**more: Any) -> bytes:
    return words(**{"type": "progress", "status": "loading", "progress": 0.5, "message": None, **more})


def error(**more: Any) -> bytes:
    return words(
        **{"type": "error", "reason": "r", "traceback": "t", "out_of_memory": False, "sequence": 0, "port": "", **more}
    )


def say(said: bytes, fds: list[int] | None = None) -> None:
    """Writes all of it to the orchestrator. BrokenPipeError when that listens no more."""
    with socket.socket(fileno=os.dup(CONTROL_FD)) as control:
        left = memoryview(said)
        while left:
            select.select([], [control], [])
            left = left[socket.send_fds(control, [left], fds or []) :]


def say_on_and_on(said: bytes) -> None:
    with contextlib.suppress(BrokenPipeError):
        while True:
            say(said)


def say_on_and_on_beside(said: bytes) -> None:
    threading.Thread(target=say_on_and_on, args=(said,)).start()


def leave_somebody_who_talks_on(said: bytes) -> None:
    """This process ends, and another that is not of its group has its socket."""
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        print(os.getpid(), file=sys.stderr, flush=True)
        os.write(write, b"x")
        say_on_and_on(said)
        os._exit(0)
    os.read(read, 1)
    os._exit(7)


def hang_up(how: int) -> None:
    with socket.socket(fileno=os.dup(CONTROL_FD)) as control:
        control.shutdown(how)


class Passes(MultiprocessNode):
    async def initialize(self) -> None:
        pass

    async def process(self, data: RuntimeData) -> Any:
        return data

    async def cleanup(self) -> None:
        pass


@register_node("s-echo")
class Echo(Passes):
    pass


@register_node("s-forger")
class Forger(Passes):
    """Does what its config has, as Python, in ``initialize()`` or in ``process()``."""

    async def initialize(self) -> None:
        if "initialize" in self.config:
            exec(self.config["initialize"], globals())
        if self.config.get("waits"):
            await asyncio.sleep(3600)

    async def process(self, data: RuntimeData) -> Any:
        if "process" in self.config:
            exec(self.config["process"], globals())
        return data


# --- what is inherited ---

_LISTS_ITS_DESCRIPTORS = """
import json, os
for name in os.listdir("/proc/self/fd"):
    try:
        print(name, os.readlink(f"/proc/self/fd/{name}"))
    except OSError:
        pass  # what listed them
"""


def strange(told: str) -> list[str]:
    """The lines of the descriptors that are of nobody's business: not 0, 1 and 2."""
    return [line for line in told.splitlines() if int(line.partition(" ")[0]) > 2]


def _told(start: Callable[[int], int]) -> str:
    """What the process says that ``start`` starts with a pipe to write to."""
    read, write = os.pipe()
    pid = start(write)
    os.close(write)
    with os.fdopen(read) as pipe:
        told = pipe.read()
    os.waitpid(pid, 0)
    return told


def _fork_and_exec(write: int) -> int:
    pid = os.fork()
    if pid == 0:
        os.dup2(write, 1)
        os.execv(sys.executable, [sys.executable, "-c", _LISTS_ITS_DESCRIPTORS])
    return pid


def _posix_spawn(write: int) -> int:
    move = (os.POSIX_SPAWN_DUP2, write, 1)
    return os.posix_spawn(
        sys.executable, [sys.executable, "-c", _LISTS_ITS_DESCRIPTORS], os.environ, file_actions=[move]
    )


def _subprocess(write: int) -> int:
    return subprocess.Popen([sys.executable, "-c", _LISTS_ITS_DESCRIPTORS], close_fds=False, stdout=write).pid


@functools.cache
def _held_at_first() -> set[str]:
    """Before anything was started: multiprocessing gives its processes pipes of its own."""
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # what lists them
            if int(path.name) > 2:
                found.add(str(path.readlink()))
    return found


def _multiprocessing(method: str) -> str:
    """What a process of multiprocessing's has of what this one had, or could have had."""
    before = _held_at_first()
    context: Any = multiprocessing.get_context(method)
    mine, theirs = context.Pipe()
    with mine, theirs:
        tell = f"def print(*words): told.append(words)\ntold = []\n{_LISTS_ITS_DESCRIPTORS}\nend.send(told)"
        process = context.Process(target=exec, args=(tell, {"end": theirs}))
        process.start()
        told = mine.recv()
        process.join()
    ours = (line for line in told if line[1] in before or re.search(r"memfd|\[eventfd|\[pidfd", line[1]))
    return "\n".join(map(" ".join, ours))


WAYS: dict[str, Callable[[], str]] = {
    "fork and exec": lambda: _told(_fork_and_exec),
    "posix_spawn": lambda: _told(_posix_spawn),
    "subprocess": lambda: _told(_subprocess),
    "multiprocessing, spawn": lambda: _multiprocessing("spawn"),
    "multiprocessing, forkserver": lambda: _multiprocessing("forkserver"),
}


@register_node("s-parent")
class Parent(Passes):
    """Starts a process in the way that a text says, and tells what descriptors that has."""

    async def process(self, data: RuntimeData) -> Any:
        return RuntimeData.text(WAYS[str(data.payload)]())


@register_node("s-fails")
class Fails(Passes):
    """Fails where its config says."""

    async def initialize(self) -> None:
        if self.config["where"] == "initialize":
            raise RuntimeError("no such weights")

    async def process(self, data: RuntimeData) -> Any:
        if self.config["where"] == "process":
            raise ValueError("cannot")
        if self.config["where"] == "crash":
            os.abort()
        return data
