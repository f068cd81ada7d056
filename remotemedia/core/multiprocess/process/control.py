"""The control socket between the orchestrator and one node: JSON messages and file descriptors, never data.

A message is four bytes of length and JSON; descriptors travel beside its first bytes. The same class serves both
ends: blocking while a node's process starts, on an event loop afterwards.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

from remotemedia.core.multiprocess.kernel.descriptors import close_all, receive
from remotemedia.core.multiprocess.kernel.watch import watch

__all__ = ["CONTROL_FD", "NODE_MARK", "ORCHESTRATOR_FD", "ControlSocket", "Message"]

CONTROL_FD = 3
"""Where a node's process finds its control socket."""

ORCHESTRATOR_FD = 4
"""Where it finds a pidfd of its orchestrator."""

NODE_MARK = "REMOTEMEDIA_NODE"
"""An environment variable that a node's process removes: a program that still has it was started in place of a node."""

Message: TypeAlias = "dict[str, Any]"

_LENGTH = struct.Struct(">I")
_MAX_MESSAGE_BYTES = 64 * 1024 * 1024
# Of a node: what it has to tell is cut short before (_failure).
_MAX_NODE_MESSAGE_BYTES = 512 * 1024
_READ_BYTES = 65536
_READS_OF_A_BUFFER = 64
# The kernel's SCM_MAX_FD is 253.
_FDS_PER_SEND = 250


class ControlSocket:
    """One end of a control socket; it owns the socket and every descriptor given to ``send``.

    At the other end of the orchestrator's is a node (``to_node``), which may send anything: it has no descriptors to
    give, and no long stories to tell.
    """

    def __init__(self, sock: socket.socket, *, to_node: bool = False) -> None:
        self._sock = sock
        self._to_node = to_node
        self._max_in_bytes = _MAX_NODE_MESSAGE_BYTES if to_node else _MAX_MESSAGE_BYTES
        self._lock = threading.Lock()
        self._out: deque[tuple[memoryview, list[int]]] = deque()
        self._in = bytearray()
        self._in_fds: deque[int] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_message: Callable[[Message, list[int]], None] | None = None
        self._on_end: Callable[[Exception | None], None] | None = None

    def fileno(self) -> int:
        """The socket's descriptor; -1 when closed."""
        return self._sock.fileno()

    # --- blocking, while a process starts ---

    def receive(self) -> tuple[Message, list[int]] | None:
        """Blocks for the next message; None when the peer is gone. ValueError for anything but a message."""
        while True:
            found = self._next()
            if found is not None:
                return found
            if not self._read():
                return None

    # --- on an event loop ---

    def attach(
        self,
        loop: asyncio.AbstractEventLoop,
        on_message: Callable[[Message, list[int]], None],
        on_end: Callable[[Exception | None], None],
    ) -> None:
        """Calls ``on_message`` for each message, and ``on_end`` once: with None when the peer is gone, with the error
        when it sends anything but a message, or ``on_message`` raises what a wrong message leads to (ValueError,
        KeyError, TypeError, OverflowError); then nothing more is read."""
        self._sock.setblocking(False)
        self._loop, self._on_message, self._on_end = loop, on_message, on_end
        watch(loop, self._sock.fileno(), self._readable)
        self._deliver()
        with self._lock:
            self._flush()

    def send(self, message: Message, fds: list[int] | None = None) -> None:
        """Sends without blocking on an event loop, blocking before ``attach``. From any thread.

        ``fds`` become this object's and are closed once sent. Messages that can no longer reach the peer are dropped:
        its end is noticed by reading.
        """
        fds = fds or []
        try:
            raw = json.dumps({**message, "fds": len(fds)} if fds else message).encode()
        except BaseException:
            close_all(fds)
            raise
        if len(raw) > _MAX_MESSAGE_BYTES:
            close_all(fds)
            raise ValueError(f"a control message of {len(raw)} bytes is over the limit of {_MAX_MESSAGE_BYTES}")
        frame = memoryview(_LENGTH.pack(len(raw)) + raw)
        with self._lock:
            if self._sock.fileno() < 0:
                close_all(fds)
                return
            # One byte carries each batch of descriptors but the last, so that none is without data.
            while len(fds) > _FDS_PER_SEND:
                self._out.append((frame[:1], fds[:_FDS_PER_SEND]))
                frame, fds = frame[1:], fds[_FDS_PER_SEND:]
            self._out.append((frame, fds))
            self._flush()

    def drain(self) -> None:
        """Delivers what the peer said before it went: its last words and its end may be noticed in any order."""
        # The socket's buffer is read a few times over; what the peer started may hold a copy, and go on for ever.
        for _ in range(_READS_OF_A_BUFFER):
            if self._on_message is None or self._sock.fileno() < 0:
                return
            try:
                alive = self._read()
            except OSError:
                return
            self._deliver()
            if not alive:
                return

    def close(self) -> None:
        """Closes the socket and every descriptor still under way. May be repeated."""
        with self._lock:
            if self._loop is not None and not self._loop.is_closed() and self._sock.fileno() >= 0:
                self._loop.remove_reader(self._sock)
                self._loop.remove_writer(self._sock)
            self._sock.close()
            for _, fds in self._out:
                close_all(fds)
            self._out.clear()
            close_all(self._in_fds)
            self._in_fds.clear()
            self._on_message = self._on_end = None

    def leave(self) -> None:
        """Leaves the socket open until the process ends: only then does the peer see the end."""
        with self._lock:
            self._sock.detach()

    def _flush(self) -> None:
        """Sends the queue; under the lock."""
        while self._out:
            data, fds = self._out[0]
            try:
                sent = socket.send_fds(self._sock, [data], fds) if fds else self._sock.send(data)
            except BlockingIOError:
                if self._loop is not None:
                    self._loop.call_soon_threadsafe(self._wait_writable)
                return
            except OSError:
                for _, rest in self._out:
                    close_all(rest)
                self._out.clear()
                return
            close_all(fds)
            self._out.popleft()
            if sent < len(data):
                self._out.appendleft((data[sent:], []))

    def _wait_writable(self) -> None:
        if self._loop is not None and self._sock.fileno() >= 0 and self._out:
            self._loop.add_writer(self._sock, self._writable)

    def _writable(self) -> None:
        assert self._loop is not None
        self._loop.remove_writer(self._sock)
        with self._lock:
            self._flush()

    def _readable(self) -> None:
        try:
            alive = self._read()
        except BlockingIOError:
            return
        except OSError as error:
            self._end(error)
            return
        self._deliver()
        if not alive:
            self._end()

    def _deliver(self) -> None:
        try:
            while self._on_message is not None and (found := self._next()) is not None:
                self._on_message(*found)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            self._end(error)

    def _end(self, error: Exception | None = None) -> None:
        on_end = self._on_end
        self._on_message = self._on_end = None
        if self._loop is not None and self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock)
        if on_end is not None:
            on_end(error)

    def _read(self) -> bool:
        """Reads once; False at the peer's end. OSError when this process has no room for the descriptors that came."""
        try:
            if self._to_node:
                data, flags = self._sock.recv(_READ_BYTES), 0  # the kernel drops the descriptors
            else:
                data, fds, flags = receive(self._sock, _READ_BYTES, _FDS_PER_SEND)
                self._in_fds.extend(fds)
        except BlockingIOError:
            raise
        except OSError:
            return False  # the peer is gone, or somebody closed the descriptor behind our back
        self._in += data
        if flags & socket.MSG_CTRUNC:
            close_all(self._in_fds)  # reporting it takes one
            self._in_fds.clear()
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return bool(data)

    def _next(self) -> tuple[Message, list[int]] | None:
        if len(self._in) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._in)
        if length > self._max_in_bytes:
            raise ValueError(f"a control message claims {length} bytes")
        if len(self._in) < _LENGTH.size + length:
            return None
        raw = bytes(self._in[_LENGTH.size : _LENGTH.size + length])
        del self._in[: _LENGTH.size + length]
        message = json.loads(raw)
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise ValueError("a control message must be an object with a type")
        count = message.pop("fds", 0)
        if not isinstance(count, int) or not 0 <= count <= len(self._in_fds):
            raise ValueError("a control message came without its descriptors")
        return message, [self._in_fds.popleft() for _ in range(count)]
