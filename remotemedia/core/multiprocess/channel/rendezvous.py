"""How two processes that share nothing but a channel's name meet.

The first to come listens on an abstract unix socket of that name (nothing in the file system, gone with the
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
import select
import socket
import struct
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Literal

from remotemedia.core.multiprocess.kernel.descriptors import close_all, receive
from remotemedia.errors import ChannelError, ChannelInUseError

__all__ = ["Meeting", "Role"]

Role = Literal["publisher", "subscriber"]

_logger = logging.getLogger("remotemedia.channel")

_VERSION = 1
_MAX_HELLO_BYTES = 4096
_MAX_FDS = 3
# How long the process that holds the name may take to answer; its answering thread needs only its GIL.
_ANSWER_TIMEOUT_SECS = 10.0
# A greeting follows its connection at once. A peer that has sent none after so many others have come is hung up on.
_MAX_GREETING = 16


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
        self._greeting: dict[socket.socket, None] = {}
        self._closed = False
        self._service = _Service.get()
        self._fds: list[int] = []
        try:
            for fd in fds:
                self._fds.append(os.dup(fd))
            deadline = time.monotonic() + _ANSWER_TIMEOUT_SECS
            while not (self._listen() or self._connect()):
                # The holder of the name went away between the two, or does not listen yet: the name is free again, or
                # will be listened to, in a moment.
                if time.monotonic() > deadline:
                    raise ChannelError(
                        f"channel {name!r} cannot be opened: the holder of the name has not answered for "
                        f"{_ANSWER_TIMEOUT_SECS:g} s"
                    )
                os.sched_yield()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Leaves: the name is free, and the peer notices. ``lost`` is not called."""
        with self._service.lock:  # a greeting under way in the service's thread would leave another socket
            self._closed = True
            sockets = (self._listener, self._connection, *self._greeting)
        self._service.forget(*sockets)
        self._close_fds()

    def _close_fds(self) -> None:
        fds, self._fds = self._fds, []
        close_all(fds)

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
        self._service.watch(listener, self._on_connect, only_news=True)
        return True

    def _on_connect(self) -> None:
        if self._closed or self._listener is None:
            return
        try:
            connection, _ = self._listener.accept()
        except OSError:
            # It gave up, or there are no descriptors to spare: then it stays in the queue until another comes. To be
            # told of it again and again would keep a processor busy.
            return
        self._service.watch(self._listener, self._on_connect, only_news=True)  # tells of the next, if it is here
        if _peer_uid(connection) != os.geteuid():
            connection.close()  # of another user, nothing is even read
            return
        connection.setblocking(False)
        if len(self._greeting) >= _MAX_GREETING:
            self._drop(next(iter(self._greeting)))
        self._greeting[connection] = None
        self._service.watch(connection, lambda: self._on_hello(connection))

    def _on_hello(self, connection: socket.socket) -> None:
        if self._closed:
            return
        try:
            hello, fds = _receive(connection)
        except BlockingIOError:
            return
        except (OSError, EOFError):
            self._drop(connection)
            return
        except ValueError:
            why = f"pid {os.getpid()} holds channel {self.name!r} but cannot read the greeting: no descriptors left?"
            self._refuse(connection, "unreadable", why)
            return
        refusal = self._refusal(hello, fds)
        if refusal:
            close_all(fds)
            self._refuse(connection, *refusal)
            return
        try:
            _send(connection, {"version": _VERSION, "role": self.role}, self._fds)
        except OSError:
            close_all(fds)
            self._drop(connection)
            return
        self._greeting.pop(connection, None)
        try:
            self._settle(connection, fds)
        except (OSError, ChannelError):
            # It sent something other than a channel's end. It is not served; the next one to come is.
            self._connection = self.peer_pid = None
            self._drop(connection)

    def _refuse(self, connection: socket.socket, refused: str, why: str) -> None:
        with contextlib.suppress(OSError):
            _send(connection, {"version": _VERSION, "refused": refused, "why": why}, [])
        self._drop(connection)

    def _drop(self, connection: socket.socket) -> None:
        self._greeting.pop(connection, None)
        self._service.forget(connection)

    def _refusal(self, hello: dict[str, object], fds: list[int]) -> tuple[str, str] | None:
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
            if _peer_uid(connection) != os.geteuid():
                raise ChannelError(f"channel {self.name!r} is held by another user")
            _send(connection, {"version": _VERSION, "role": self.role}, self._fds)
            answer, fds = _receive(connection)
        except TimeoutError:
            pid = _peer_pid(connection)
            connection.close()
            raise ChannelError(
                f"pid {pid} holds channel {self.name!r} but did not answer within {_ANSWER_TIMEOUT_SECS:g} s: "
                f"is it stopped, or are there no descriptors left?"
            ) from None
        except BlockingIOError:
            connection.close()
            raise ChannelError(f"too many processes are trying to open channel {self.name!r} at once") from None
        except (ConnectionError, EOFError):
            connection.close()
            return False
        except ValueError:
            connection.close()
            raise ChannelError(f"{self._nonsense()}, or there are no descriptors left to take it with") from None
        except BaseException:
            connection.close()
            raise
        other = "subscriber" if self.role == "publisher" else "publisher"
        if answer.get("role") != other or len(fds) != _expected_fds(other):
            close_all(fds)
            connection.close()
            kind = ChannelInUseError if answer.get("refused") == "taken" else ChannelError
            raise kind(str(answer.get("why", self._nonsense())))
        connection.setblocking(False)
        try:
            self._settle(connection, fds)
        except ChannelError as error:
            raise ChannelError(f"{self._nonsense()}: {error}") from None
        return True

    def _nonsense(self) -> str:
        return f"the holder of channel {self.name!r} gave an answer that makes no sense"

    # --- together ---

    def _settle(self, connection: socket.socket, fds: list[int]) -> None:
        self._connection = connection
        self.peer_pid = _peer_pid(connection)
        met = self._met()
        if met is None:
            close_all(fds)
            return
        met(fds, self.peer_pid)
        self._close_fds()
        self._service.watch(connection, self._on_peer)

    def _on_peer(self) -> None:
        connection = self._connection
        if self._closed or connection is None:
            return
        try:
            connection.recv(1)
        except BlockingIOError:
            return
        except OSError:
            pass
        # Its end. Or a word, and nothing is ever said after the greeting: that is not a peer, and might never stop.
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
        self.lock = threading.RLock()
        self._epoll: select.epoll | None = None
        self._waker: socket.socket | None = None
        self._receiver: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._watched: dict[int, tuple[socket.socket, Callable[[], None]]] = {}

    def watch(self, sock: socket.socket, callback: Callable[[], None], *, only_news: bool = False) -> None:
        """Calls ``callback`` in the thread whenever ``sock`` is readable; the service closes it on ``forget``.

        With ``only_news``, once: when it becomes readable, or is already. ``callback`` may be called for nothing.
        """
        with self.lock:
            if self._epoll is None:
                self._start()
            assert self._epoll is not None
            events = select.EPOLLIN | (select.EPOLLET if only_news else 0)
            if sock.fileno() in self._watched:
                self._epoll.modify(sock, events)
            else:
                self._epoll.register(sock, events)
            self._watched[sock.fileno()] = sock, callback

    def forget(self, *sockets: socket.socket | None) -> None:
        """Stops watching and closes; the thread ends with the last one."""
        thread = None
        with self.lock:
            for sock in sockets:
                if sock is None:
                    continue
                if self._watched.pop(sock.fileno(), None) is not None and self._epoll is not None:
                    self._epoll.unregister(sock)
                sock.close()
            if not self._watched:
                thread = self._thread
                if self._waker is not None:
                    # The thread keeps its own epoll; a socket that comes from now on gets a new thread.
                    # shutdown, not just close: a forked child may hold a copy.
                    self._waker.shutdown(socket.SHUT_RDWR)
                    self._waker.close()
                    self._waker = self._receiver = self._epoll = None
        # While the interpreter ends, a daemon thread never runs again, and joining it would wait for ever.
        if thread is not None and thread is not threading.current_thread() and not sys.is_finalizing():
            thread.join()

    def _start(self) -> None:
        with contextlib.ExitStack() as undo:
            # Nothing is kept until all of it exists: an epoll without its thread would answer nobody, for ever.
            epoll = undo.enter_context(select.epoll())
            receiver, waker = socket.socketpair()
            undo.callback(receiver.close)
            undo.callback(waker.close)
            epoll.register(receiver, select.EPOLLIN)
            thread = threading.Thread(
                target=self._run, args=(epoll, receiver), name="remotemedia-rendezvous", daemon=True
            )
            thread.start()
            undo.pop_all()
        self._epoll, self._receiver, self._waker, self._thread = epoll, receiver, waker, thread

    def _run(self, epoll: select.epoll, receiver: socket.socket) -> None:
        try:
            while True:
                for fd, _ in epoll.poll():
                    if fd == receiver.fileno():
                        return
                    with self.lock:
                        # Forgotten meanwhile, its number may be another's by now: called for nothing, then.
                        if fd in self._watched:
                            self._call(*self._watched[fd])
        finally:
            epoll.close()
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
        service.lock = threading.RLock()
        # Closed only, not unregistered: parent and child share one epoll.
        for sock in (*(sock for sock, _ in service._watched.values()), service._waker, service._receiver):
            if sock is not None:
                sock.close()
        if service._epoll is not None:
            service._epoll.close()
        service._watched = {}
        service._epoll = service._waker = service._receiver = service._thread = None


os.register_at_fork(after_in_child=_Service._in_forked_child)


def _address(name: str) -> str:
    raw = name.encode("utf-8", "surrogatepass")
    shown = name if len(raw) <= 60 and raw.isascii() else hashlib.sha256(raw).hexdigest()
    return f"\0remotemedia/{os.geteuid()}/{shown}"


def _expected_fds(role: str) -> int:
    # publisher: ring, segment, eventfd; subscriber: segment, eventfd
    return 3 if role == "publisher" else 2


def _send(sock: socket.socket, message: dict[str, object], fds: list[int]) -> None:
    socket.send_fds(sock, [json.dumps(message).encode()], fds)


def _receive(sock: socket.socket) -> tuple[dict[str, object], list[int]]:
    raw, fds, flags = receive(sock, _MAX_HELLO_BYTES, _MAX_FDS)
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
        close_all(fds)
        raise
    return message, fds


def _credentials(sock: socket.socket) -> tuple[int, int, int]:
    return struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))


def _peer_pid(sock: socket.socket) -> int:
    return _credentials(sock)[0]


def _peer_uid(sock: socket.socket) -> int:
    return _credentials(sock)[1]
