"""Orphans: processes that become children of this one when the process that started them has ended.

That happens only in process 1 of a container and in a child subreaper. An orphan that ends stays a zombie until its new
parent waits for it, and the parent does not know about it. ``take_in`` waits for the orphans that nodes leave, and not
for what the program itself started; ``reaping_strangers`` is for a program that starts nothing but nodes, and waits for
every other child.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ctypes

__all__ = ["adopts_orphans", "ended", "host_mark", "reaping_strangers", "start", "take_in"]

_HOST_VARIABLE = "REMOTEMEDIA_HOST"
_PR_GET_CHILD_SUBREAPER = 37


@dataclass
class _Host:
    """What this process knows about its children. A forked child starts afresh: it has no children yet."""

    mark: str
    lock: threading.Lock
    nodes: set[int]
    taken_in: dict[int, tuple[asyncio.AbstractEventLoop, int]]


def _new_host() -> _Host:
    return _Host(f"{os.getpid()}-{os.urandom(8).hex()}", threading.Lock(), set(), {})


_host = _new_host()


def _begin_anew() -> None:
    global _host
    _host = _new_host()


os.register_at_fork(after_in_child=_begin_anew)


# --- nodes ---


def host_mark() -> tuple[str, str]:
    """An environment variable of all nodes of this process; what they start inherits it."""
    return _HOST_VARIABLE, _host.mark


def start(spawn: Callable[[], int]) -> int:
    """The pid that ``spawn`` returns. From then on, until ``ended``, that process counts as a node, not an orphan."""
    with _host.lock:  # nobody lists the children while it is started but not yet known
        pid = spawn()
        _host.nodes.add(pid)
    return pid


def ended(pid: int) -> None:
    """A node was waited for: its pid may be reused from now on."""
    _host.nodes.discard(pid)


# --- orphans ---


def adopts_orphans() -> bool:
    """Whether orphans become children of this process."""
    if os.getpid() == 1:
        return True
    import ctypes  # numpy has loaded it wherever nodes are started

    flag = ctypes.c_int()
    return _libc().prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(flag), 0, 0, 0) == 0 and flag.value != 0


@functools.cache
def _libc() -> ctypes.CDLL:
    """Each CDLL makes a class of its own."""
    import ctypes

    return ctypes.CDLL(None)


def take_in(loop: asyncio.AbstractEventLoop, parent: int) -> None:
    """Process ``parent``, a node or an orphan, has ended and is still a zombie: waits, on the event loop, for the
    processes that it left to this one.

    These are the members of its process group and its session, and processes with the mark of this process's nodes. A
    process that a node started in a session of its own lives on, and is waited for when it ends. What the program
    started itself fits neither.
    """
    if not adopts_orphans():
        return
    leaders = {parent}
    if (facts := _facts(parent)) is not None:
        leaders |= {facts.group, facts.session} - {0, os.getpgrp(), os.getsid(0)}
    left = _left_by_closed_loops()
    for pid in _strangers():
        if pid in _host.taken_in:
            continue
        facts = _facts(pid)
        if facts is None or not (pid in left or leaders & {facts.group, facts.session} or _is_marked(pid)):
            continue
        if facts.zombie:
            _reap(pid)
        else:
            with contextlib.suppress(OSError):  # no descriptor left: the next process that ends brings another try
                _watch(loop, pid)


def _left_by_closed_loops() -> set[int]:
    """The orphans taken in on an event loop that is closed, which nobody watches any more."""
    with _host.lock:  # each is taken by one thread
        closed = {pid: pidfd for pid, (loop, pidfd) in list(_host.taken_in.items()) if loop.is_closed()}
        for pid in closed:
            del _host.taken_in[pid]
    left = set()
    for pid, pidfd in closed.items():
        # Of one that the program has waited for, the number may be that of a child of its own now.
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            left.add(pid)
        os.close(pidfd)
    return left


def _watch(loop: asyncio.AbstractEventLoop, pid: int) -> None:
    pidfd = os.pidfd_open(pid)
    owner_pid = os.getpid()

    def has_ended() -> None:
        if os.getpid() != owner_pid:
            return  # a forked child that runs its copy of the loop
        loop.remove_reader(pidfd)
        take_in(loop, pid)  # while it is a zombie, neither its pid nor its group's can be reused
        _host.taken_in.pop(pid, None)
        with contextlib.suppress(ChildProcessError):  # the program may reap all children
            os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
        os.close(pidfd)

    try:
        loop.add_reader(pidfd, has_ended)
    except BaseException:
        os.close(pidfd)
        raise
    _host.taken_in[pid] = loop, pidfd


@contextlib.contextmanager
def reaping_strangers(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Within it, this process waits for every child that is not its own, if it adopts orphans. In the main thread.

    Its own are its nodes and the members of its process group: nothing that a node starts gets into that group by
    itself, and the code that started such a process here waits for it. A child from before exec(), when this process
    was another program, is not its own.
    """
    if not adopts_orphans():
        yield
        return
    inherited = set(_strangers())

    def reap() -> None:
        for pid in _strangers():
            facts = _facts(pid)
            if facts is not None and facts.zombie and (facts.group != os.getpgrp() or pid in inherited):
                inherited.discard(pid)
                _reap(pid)

    loop.add_signal_handler(signal.SIGCHLD, reap)
    try:
        reap()
        yield
    finally:
        loop.remove_signal_handler(signal.SIGCHLD)


@dataclass(frozen=True)
class _Facts:
    zombie: bool
    group: int
    session: int


def _facts(pid: int) -> _Facts | None:
    try:
        state, _, group, session = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[:4]
    except (OSError, ValueError):
        return None
    return _Facts(state == b"Z", int(group), int(session))


def _strangers() -> list[int]:
    """The children of this process except its nodes. The kernel gives orphans to the main thread."""
    me = os.getpid()
    with _host.lock:
        try:
            children = Path(f"/proc/{me}/task/{me}/children").read_text().split()
        except OSError:
            return []
        return [pid for pid in map(int, children) if pid not in _host.nodes]


def _is_marked(pid: int) -> bool:
    """Whether a node of this process started it, directly or not; cannot be known for a zombie."""
    try:
        return f"{_HOST_VARIABLE}={_host.mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):  # the program may reap all children
        os.waitpid(pid, os.WNOHANG)
