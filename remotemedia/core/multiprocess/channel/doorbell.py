"""Doorbell: asyncio's wait on a segment. One per segment, shared by everything in the process that waits on it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from remotemedia._event_loop import running_loop
from remotemedia._ring import Segment
from remotemedia.core.multiprocess.kernel.watch import watch

__all__ = ["Doorbell"]


class Doorbell:
    """Wakes asyncio waiters when the segment's eventfd is rung. A wake means only "look again"."""

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiters: set[asyncio.Future[None]] = set()
        self._pid = os.getpid()

    async def wait(self, ready: Callable[[], bool]) -> None:
        """Returns when ``ready()`` is true, or after a ring that may have been for someone else.

        Cancelling loses nothing: no message is taken here.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = running_loop("waiting for a message, or for room,", RuntimeError)  # its message says what to do
        if loop is not self._loop:
            self._bind(loop)
        self._segment.arm()
        if ready():
            if not self._waiters:
                self._segment.disarm()
            return
        waiter = loop.create_future()
        self._waiters.add(waiter)
        try:
            if self._segment.owner:
                self._segment.begin_rest()
            await waiter
        finally:
            self._waiters.discard(waiter)
            if not self._waiters:
                self._segment.end_rest()

    def wake(self) -> None:
        """Wakes every waiter of this process, without the shared memory."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def close(self) -> None:
        """Unhooks from the event loop; waiters are woken, and should look at why."""
        self.wake()
        self._unbind()

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        # A segment outlives an event loop when asyncio.run() is called twice.
        self._unbind()
        watch(loop, self._segment.fileno(), self._rung)
        self._loop = loop

    def _unbind(self) -> None:
        # A forked child shares its parent's epoll: what it removes there is also gone for the parent.
        if self._loop is not None and not self._loop.is_closed() and self._pid == os.getpid():
            self._loop.remove_reader(self._segment.fileno())
        self._loop = None
        self._waiters = set()

    def _rung(self) -> None:
        self._segment.drain()
        self.wake()
