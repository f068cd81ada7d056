"""The output of a child process, line by line: passed on to its log, with the last lines kept."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections import deque
from collections.abc import Callable

from remotemedia.core.multiprocess.kernel.watch import watch

__all__ = ["Output"]

_TAIL_LINES = 50  # faulthandler writes 20 lines or more about a crash, and the lines before it also matter
_MAX_LINE_BYTES = 8192
_READ_BYTES = 65536
_SAID_CHARS = 200

_OVERWRITTEN_EVERY_SECS = 1.0
"""A line that ends with a carriage return, which a terminal overwrites, is passed on at most this often."""

_LINE_END = re.compile(rb"(\r?\n|\r)")


class Output:
    """Reads one of a child's streams, passes it on to ``tell`` line by line, and keeps the last lines.

    A carriage return also ends a line. On a terminal the next line overwrites such a line, so only the newest counts:
    one per second is passed on, and the last one when a newline or the end comes. The time is checked as data arrive;
    there is no timer.

    Attributes:
        tail: the last lines that were passed on.
        said_at: when it last wrote something other than blanks, on the monotonic clock.
    """

    def __init__(self, fd: int, loop: asyncio.AbstractEventLoop, tell: Callable[[str], None]) -> None:
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self.said_at = 0.0
        self._fd = fd
        self._loop = loop
        self._tell = tell
        self._partial = b""
        self._overwritten: bytes | None = None  # ended with a carriage return, and not passed on
        self._overwritten_at = -_OVERWRITTEN_EVERY_SECS
        self._after_cr: bytes | None = None  # the line that the last carriage return ended; a newline may follow

    @property
    def last_said(self) -> str:
        """The line that is being written, or else the last one; clipped, and stripped of blanks."""
        for raw in (self._partial, self._overwritten or b""):
            if said := _text(raw).strip():
                return said[:_SAID_CHARS]
        return next((said[:_SAID_CHARS] for line in reversed(self.tail) if (said := line.strip())), "")

    def start(self) -> None:
        """Starts to read."""
        watch(self._loop, self._fd, self._readable)

    def close(self) -> None:
        """Reads the rest of the pipe, without waiting for anything a grandchild may still write."""
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
            self._take(data)
        self._fd = -1
        os.close(fd)
        if self._partial or self._overwritten:
            self._end_line(self._partial)
        self._partial = b""

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return
        if data:
            self._take(data)
        else:
            self.close()

    def _take(self, data: bytes) -> None:
        if not data.isspace():
            self.said_at = time.monotonic()
        if self._after_cr is not None:
            data = self._join_newline(data)
        *ended, self._partial = _LINE_END.split(self._partial + data)
        for line, end in zip(ended[::2], ended[1::2], strict=True):
            if end != b"\r":
                self._end_line(line)
            elif line.strip():
                self._overwritten = line
        if ended and ended[-1] == b"\r" and not self._partial:
            self._after_cr = ended[-2]
        if self._overwritten is not None:
            self._pass_overwritten()
        if len(self._partial) > _MAX_LINE_BYTES:
            end_index = _end_of_characters(self._partial)
            self._line(self._partial[:end_index])
            self._partial = self._partial[end_index:]

    def _join_newline(self, data: bytes) -> bytes:
        """Takes the second half of a newline that was cut in two: the first half then ended an ordinary line."""
        line, self._after_cr = self._after_cr, None
        if not data.startswith(b"\n"):
            return data
        if not line or self._overwritten == line:  # else it has been passed on already
            self._end_line(line or b"")
        return data[1:]

    def _end_line(self, line: bytes) -> None:
        """Passes on a line that stays: the one that it overwrote is dropped, unless this one is empty."""
        overwritten, self._overwritten = self._overwritten, None
        self._line(line or overwritten or b"")

    def _pass_overwritten(self) -> None:
        now = time.monotonic()
        if now - self._overwritten_at >= _OVERWRITTEN_EVERY_SECS and self._overwritten is not None:
            line, self._overwritten, self._overwritten_at = self._overwritten, None, now
            self._line(line)

    def _line(self, raw: bytes) -> None:
        line = _text(raw)
        self.tail.append(line)
        self._tell(line)


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")


def _end_of_characters(raw: bytes) -> int:
    """Where to cut ``raw`` so that no UTF-8 character is torn."""
    for back, byte in enumerate(reversed(raw[-3:]), 1):
        if byte >= 0xC0:  # the first byte of a character of 2, 3 or 4
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(raw) - back if length > back else len(raw)
        if byte < 0x80:
            break
    return len(raw)
