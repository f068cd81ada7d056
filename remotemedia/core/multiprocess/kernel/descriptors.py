"""Descriptors that come over a unix socket: received so that nothing a process starts inherits them."""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Iterable
from contextlib import suppress

__all__ = ["close_all", "receive"]


def receive(sock: socket.socket, max_bytes: int, max_fds: int) -> tuple[bytes, list[int], int]:
    """Bytes, descriptors, and the flags of the message; blocks as the socket does. OSError as of ``recvmsg``.

    ``socket.recv_fds`` takes flags, and forgets them.
    """
    fds = array.array("i")
    data, ancillary, flags, _ = sock.recvmsg(
        max_bytes, socket.CMSG_LEN(max_fds * fds.itemsize), socket.MSG_CMSG_CLOEXEC
    )
    for level, kind, raw in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(raw[: len(raw) - len(raw) % fds.itemsize])
    return data, fds.tolist(), flags


def close_all(fds: Iterable[int]) -> None:
    """Closes each, also where another cannot be closed."""
    for fd in fds:
        with suppress(OSError):
            os.close(fd)
