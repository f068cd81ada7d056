"""How two processes that share nothing but a channel's name meet.

Whoever comes first listens on an abstract unix socket of that name (nothing in the file system, gone with the
process); the other connects. Both send their shared memory over it as file descriptors and then keep the connection:
its end is how each notices the other's death. One thread per process answers and notices, asleep until something
happens; it is never in the path of data.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import selectors
import socket
import struct
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Literal

from remotemedia.errors import ChannelError, ChannelInUseError

__all__ = ["Meeting", "Role"]

Role = Literal["publisher", "subscriber"]

_logger = logging.getLogger("remotemedia.channel")

_VERSION = 1
_MAX_HELLO_BYTES = 4096
_MAX_FDS = 3
# How long the process that holds the name may take to answer; its answering thread needs only its GIL.
_ANSWER_TIMEOUT_SECS = 10.0


class Meeting:
    """One side of a named channel looking for, and then watching, the other side.

    Args:
        name: the channel's name.
        role: which side this is.
        fds: descriptors to give to the peer; copied, so they stay the caller's.
        met: a method called once, with the peer's descriptors (now the callee's) and pid; maybe in another thread.
        lost: a method called once when the connection to the peer ends; in the service's thread.

    Both methods are held weakly: a channel that nobody holds any more must not live on through its meeting.

    Raises ChannelInUseError when the name already has such a side, ChannelError when the holder does not answer or
    belongs to another user.
    """

    def __init__(
        self,
        name: str,
        role: Role,
        fds: list[int],
        met: Callable[[list[int], int], None],
        lost: Callable[[], None],
    ) -> None:
        self.name = name
        self.role = role
        self.peer_pid: int | None = None
        self._met = weakref.WeakMethod(met)
        self._lost = weakref.WeakMethod(lost)
        self._address = _address(name)
        self._listener: socket.socket | None = None
        self._connection: socket.socket | None = None
        self._greeting: set[socket.socket] = set()
        self._closed = False
        self._service = _Service.get()
        self._fds: list[int] = []
        try:
            for fd in fds:
                self._fds.append(os.dup(fd))
            while not (self._listen() or self._connect()):
                pass  # the holder of the name went away between the two: the name is free again
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Leaves: the name is free, and the peer notices. ``lost`` is not called."""
        self._closed = True  # seen by an accept under way in the service's thread
        self._service.forget(self._listener, self._connection)
        self._service.forget(*self._greeting)
        self._listener = self._connection = None
        self._close_fds()

    def _close_fds(self) -> None:
        fds, self._fds = self._fds, []
        _close_all(fds)

    # --- first comer ---

    def _listen(self) -> bool:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            listener.bind(self._address)
            listener.listen(16)
            listener.setblocking(False)
        except OSError as error:
            listener.close()
            if error.errno == errno.EADDRINUSE:
                return False
            raise ChannelError(f"cannot open channel {self.name!r}: {error}") from None
        self._listener = listener
        self._service.watch(listener, self._on_connect)
        return True

    def _on_connect(self) -> None:
        assert self._listener is not None
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return  # it gave up, or another thread's close came first
        if self._closed or _peer_uid(connection) != os.getuid():
            connection.close()  # of another user, nothing is even read
            return
        connection.setblocking(False)
        self._greeting.add(connection)
        self._service.watch(connection, lambda: self._on_hello(connection))

    def _on_hello(self, connection: socket.socket) -> None:
        try:
            hello, fds = _receive(connection)
        except BlockingIOError:
            return
        except (OSError, EOFError, ValueError):
            self._drop(connection)
            return
        refusal = self._refusal(connection, hello, fds)
        if refusal:
            _close_all(fds)
            with contextlib.suppress(OSError):
                _send(connection, {"version": _VERSION, "refused": refusal[0], "why": refusal[1]}, [])
            self._drop(connection)
            return
        try:
            _send(connection, {"version": _VERSION, "role": self.role}, self._fds)
        except OSError:
            _close_all(fds)
            self._drop(connection)
            return
        self._greeting.discard(connection)
        try:
            self._settle(connection, fds)
        except (OSError, ChannelError):
            # What it sent is no channel's end. It is not served; whoever comes next is.
            self._connection = self.peer_pid = None
            self._drop(connection)

    def _drop(self, connection: socket.socket) -> None:
        self._greeting.discard(connection)
        self._service.forget(connection)

    def _refusal(self, connection: socket.socket, hello: dict[str, object], fds: list[int]) -> tuple[str, str] | None:
        if hello.get("version") != _VERSION:
            return "version", f"channel {self.name!r} is held by another version of remotemedia"
        if hello.get("role") not in ("publisher", "subscriber") or len(fds) != _expected_fds(str(hello["role"])):
            return "malformed", "the greeting makes no sense"
        if hello["role"] == self.role:
            return "taken", f"channel {self.name!r} already has a {self.role} (pid {os.getpid()})"
        if self._connection is not None:
            return "taken", f"channel {self.name!r} already has a {hello['role']} (pid {self.peer_pid})"
        return None

    # --- second comer ---

    def _connect(self) -> bool:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.settimeout(_ANSWER_TIMEOUT_SECS)
        try:
            connection.connect(self._address)
            if _peer_uid(connection) != os.getuid():
                raise ChannelError(f"channel {self.name!r} is held by another user")
            _send(connection, {"version": _VERSION, "role": self.role}, self._fds)
            answer, fds = _receive(connection)
        except TimeoutError:
            pid = _peer_pid(connection)
            connection.close()
            raise ChannelError(
                f"pid {pid} holds channel {self.name!r} but did not answer within {_ANSWER_TIMEOUT_SECS:g} s; "
                f"is it stopped?"
            ) from None
        except BlockingIOError:
            connection.close()
            raise ChannelError(f"too many processes are trying to open channel {self.name!r} at once") from None
        except (ConnectionError, EOFError):
            connection.close()
            return False
        except BaseException:
            connection.close()
            raise
        if "refused" in answer or len(fds) != _expected_fds(str(answer.get("role"))):
            _close_all(fds)
            connection.close()
            kind = ChannelInUseError if answer.get("refused") == "taken" else ChannelError
            raise kind(str(answer.get("why", f"channel {self.name!r} gave an answer that makes no sense")))
        connection.setblocking(False)
        self._settle(connection, fds)
        return True

    # --- together ---

    def _settle(self, connection: socket.socket, fds: list[int]) -> None:
        self._connection = connection
        self.peer_pid = _peer_pid(connection)
        met = self._met()
        if met is None:
            _close_all(fds)
            return
        met(fds, self.peer_pid)
        self._close_fds()
        self._service.watch(connection, self._on_peer)

    def _on_peer(self) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            if connection.recv(1):
                return  # nothing is ever said after the greeting; ignored
        except BlockingIOError:
            return
        except OSError:
            pass
        self._service.forget(connection)
        lost = self._lost()
        if lost is not None:
            lost()


class _Service:
    """The process's answering thread; it runs while there are sockets to watch."""

    _instance: _Service | None = None
    _pid = 0
    _guard = threading.Lock()

    @classmethod
    def get(cls) -> _Service:
        with cls._guard:
            # A forked child inherits the object but not its thread.
            if cls._instance is None or cls._pid != os.getpid():
                cls._instance = cls()
                cls._pid = os.getpid()
            return cls._instance

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._selector: selectors.BaseSelector | None = None
        self._waker: socket.socket | None = None
        self._receiver: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._watched: dict[socket.socket, Callable[[], None]] = {}

    def watch(self, sock: socket.socket, callback: Callable[[], None]) -> None:
        """Calls ``callback`` in the thread whenever ``sock`` is readable; the service closes it on ``forget``."""
        with self._lock:
            if self._selector is None:
                self._start()
            assert self._selector is not None
            if sock in self._watched:
                self._selector.modify(sock, selectors.EVENT_READ, sock)
            else:
                self._selector.register(sock, selectors.EVENT_READ, sock)
            self._watched[sock] = callback

    def forget(self, *sockets: socket.socket | None) -> None:
        """Stops watching and closes; the thread ends with the last one."""
        thread = None
        with self._lock:
            for sock in sockets:
                if sock is None:
                    continue
                if self._watched.pop(sock, None) is not None and self._selector is not None:
                    self._selector.unregister(sock)
                sock.close()
            if not self._watched:
                thread = self._thread
                if self._waker is not None:
                    # The thread keeps its own selector; a socket that comes from now on gets a new thread.
                    # shutdown, not just close: a forked child may hold a copy.
                    self._waker.shutdown(socket.SHUT_RDWR)
                    self._waker.close()
                    self._waker = self._receiver = self._selector = None
        # While the interpreter ends, a daemon thread never runs again, and joining it would wait for ever.
        if thread is not None and thread is not threading.current_thread() and not sys.is_finalizing():
            thread.join()

    def _start(self) -> None:
        with contextlib.ExitStack() as undo:
            # Nothing is kept until all of it exists: a selector without its thread would answer nobody, for ever.
            selector = undo.enter_context(selectors.DefaultSelector())
            receiver, waker = socket.socketpair()
            undo.callback(receiver.close)
            undo.callback(waker.close)
            selector.register(receiver, selectors.EVENT_READ, None)
            thread = threading.Thread(
                target=self._run, args=(selector, receiver), name="remotemedia-rendezvous", daemon=True
            )
            thread.start()
            undo.pop_all()
        self._selector, self._receiver, self._waker, self._thread = selector, receiver, waker, thread

    def _run(self, selector: selectors.BaseSelector, receiver: socket.socket) -> None:
        try:
            while True:
                for key, _ in selector.select():
                    if key.data is None:
                        return
                    with self._lock:
                        callback = self._watched.get(key.data)
                        if callback is not None:
                            self._call(key.data, callback)
        finally:
            selector.close()
            receiver.close()

    def _call(self, sock: socket.socket, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception:
            # Every channel of the process depends on this thread: one bad socket must not end it.
            _logger.exception("a connection to a channel failed")
            self.forget(sock)

    @classmethod
    def _in_forked_child(cls) -> None:
        """Lets go of the parent's sockets: while a copy is open, no peer would notice the parent's end."""
        cls._guard = threading.Lock()
        service, cls._instance = cls._instance, None
        if service is None:
            return
        service._lock = threading.RLock()
        # Closed only, not unregistered: parent and child share one epoll.
        for sock in (*service._watched, service._waker, service._receiver):
            if sock is not None:
                sock.close()
        if service._selector is not None:
            service._selector.close()
        service._watched = {}
        service._selector = service._waker = service._receiver = service._thread = None


os.register_at_fork(after_in_child=_Service._in_forked_child)


def _address(name: str) -> str:
    raw = name.encode("utf-8", "surrogatepass")
    shown = name if len(raw) <= 60 and raw.isascii() else hashlib.sha256(raw).hexdigest()
    return f"\0remotemedia/{os.getuid()}/{shown}"


def _expected_fds(role: str) -> int:
    # publisher: ring, segment, eventfd; subscriber: segment, eventfd
    return 3 if role == "publisher" else 2


def _send(sock: socket.socket, message: dict[str, object], fds: list[int]) -> None:
    socket.send_fds(sock, [json.dumps(message).encode()], fds)


def _receive(sock: socket.socket) -> tuple[dict[str, object], list[int]]:
    raw, fds, flags, _ = socket.recv_fds(sock, _MAX_HELLO_BYTES, _MAX_FDS, socket.MSG_CMSG_CLOEXEC)
    try:
        if not raw:
            raise EOFError("the peer hung up")
        try:
            message = json.loads(raw)
        except RecursionError:
            raise ValueError("not a greeting") from None
        if flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC) or not isinstance(message, dict):
            raise ValueError("not a greeting")
    except BaseException:
        _close_all(fds)
        raise
    return message, fds


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def _credentials(sock: socket.socket) -> tuple[int, int, int]:
    return struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))


def _peer_pid(sock: socket.socket) -> int:
    return _credentials(sock)[0]


def _peer_uid(sock: socket.socket) -> int:
    return _credentials(sock)[1]
