"""What a child process writes, line by line: to a logger, and the last lines kept."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque

from remotemedia.core.multiprocess._watch import watch

__all__ = ["Output"]

_TAIL_LINES = 50  # what faulthandler says of a crash is 20 and more, and what came before it matters too
_MAX_LINE_BYTES = 8192
_READ_BYTES = 65536


class Output:
    """Reads one of the child's streams into a logger, line by line, and keeps the last lines."""

    def __init__(
        self, fd: int, loop: asyncio.AbstractEventLoop, logger: logging.Logger, level: int, extra: dict[str, str | None]
    ) -> None:
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._fd = fd
        self._loop = loop
        self._logger = logger
        self._level = level
        self._extra = extra
        self._partial = b""

    def start(self) -> None:
        """Reads from now on."""
        watch(self._loop, self._fd, self._readable)

    def _readable(self) -> bool:
        """Reads once; False when there is nothing more to read now or ever."""
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self.close()
            return False
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self._line(line)
        if len(self._partial) > _MAX_LINE_BYTES:
            end = _end_of_characters(self._partial)
            self._line(self._partial[:end])
            self._partial = self._partial[end:]
        return True

    def _line(self, raw: bytes) -> None:
        line = raw.decode(errors="replace").rstrip("\r")
        self.tail.append(line)
        self._logger.log(self._level, "%s", line, extra=self._extra)

    def close(self) -> None:
        """Takes in what is left in the pipe; what a grandchild may still write is not waited for."""
        if self._fd < 0:
            return
        fd = self._fd
        if not self._loop.is_closed():
            self._loop.remove_reader(fd)
        # A killed writer leaves at most a pipe's buffer; a living grandchild could go on for ever.
        for _ in range(16):
            try:
                data = os.read(fd, _READ_BYTES)
            except BlockingIOError:
                break
            if not data:
                break
            self._partial += data
        self._fd = -1
        os.close(fd)
        for line in self._partial.split(b"\n"):
            if line:
                self._line(line)
        self._partial = b""


def _end_of_characters(raw: bytes) -> int:
    """Where to cut ``raw`` so that no UTF-8 character is torn."""
    for back, byte in enumerate(reversed(raw[-3:]), 1):
        if byte >= 0xC0:  # the first byte of a character of 2, 3 or 4
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(raw) - back if length > back else len(raw)
        if byte < 0x80:
            break
    return len(raw)
