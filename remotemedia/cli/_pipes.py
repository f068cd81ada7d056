"""Descriptors that are read and written without holding up the event loop: stdin, stdout, pipes, files."""

from __future__ import annotations

import asyncio
import fcntl
import os
import select
import stat
from collections.abc import Callable
from typing import Any

__all__ = ["PipeReader", "PipeWriter"]

_READ_BYTES = 65536


class PipeReader:
    """Reads a descriptor, which stays the caller's. Cancelled, a call has lost nothing."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._held = bytearray()
        self._ended = False

    async def peek(self, count: int) -> bytes:
        """The next ``count`` bytes, which stay to be read; fewer at the end."""
        while len(self._held) < count and await self._fill():
            pass
        return bytes(self._held[:count])

    async def read(self, count: int) -> bytes:
        """The next ``count`` bytes; fewer at the end, b"" after it."""
        await self.peek(count)
        return self._take(count)

    async def read_line(self) -> bytes:
        """Up to and with the next newline; the last line may have none; b"" after it."""
        searched = 0
        while (at := self._held.find(b"\n", searched)) < 0:
            searched = len(self._held)
            if not await self._fill():
                return self._take(searched)
        return self._take(at + 1)

    async def read_all(self) -> bytes:
        """All the rest."""
        while await self._fill():
            pass
        return self._take(len(self._held))

    def _take(self, count: int) -> bytes:
        taken = bytes(self._held[:count])
        del self._held[:count]
        return taken

    async def _fill(self) -> bool:
        if not self._ended:
            loop = asyncio.get_running_loop()
            await _until_ready(self._fd, loop.add_reader, loop.remove_reader)
            try:
                block = os.read(self._fd, _READ_BYTES)
            except BlockingIOError:  # somebody else also reads it
                return True
            self._held += block
            self._ended = not block
        return not self._ended


class PipeWriter:
    """Writes a descriptor, which stays the caller's. BrokenPipeError once nobody reads."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        regular = stat.S_ISREG(os.fstat(fd).st_mode)
        appending = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_APPEND
        self._start = os.lseek(fd, 0, os.SEEK_CUR) if regular and not appending else None
        # More than this may block although there is room for some of it.
        self._most = _READ_BYTES if regular else select.PIPE_BUF
        self._room = select.poll()
        self._room.register(fd, select.POLLOUT)

    async def write(self, data: bytes | memoryview) -> None:
        """All of it, in the end; other tasks run while there is no room."""
        left = memoryview(data).cast("B")
        while left:
            if not self._room.poll(0):
                loop = asyncio.get_running_loop()
                await _until_ready(self._fd, loop.add_writer, loop.remove_writer)
            left = left[os.write(self._fd, left[: self._most]) :]

    def rewrite_start(self, data: bytes) -> None:
        """Replaces the first bytes written, where that is possible: not in a pipe."""
        if self._start is not None:
            os.pwrite(self._fd, data, self._start)


async def _until_ready(fd: int, add: Callable[..., Any], remove: Callable[[int], Any]) -> None:
    ready = asyncio.Event()
    try:
        add(fd, ready.set)
    except PermissionError:  # epoll does not take files: they are always ready
        await asyncio.sleep(0)
        return
    try:
        await ready.wait()
    finally:
        remove(fd)
