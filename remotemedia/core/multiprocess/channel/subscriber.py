"""Subscriber: the receiving end of a channel, and waiting for several of them without sleeping."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Collection, Iterator
from typing import TYPE_CHECKING, Self

from remotemedia import _ring
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocess.channel.doorbell import Doorbell
from remotemedia.core.multiprocess.channel.form import FORM
from remotemedia.core.multiprocess.channel.side import (
    DEFAULT_SPIN_US,
    Side,
    check_count,
    check_name,
    deadline_ns_after,
    new_meeting,
    new_segment,
    peer_segment,
)
from remotemedia.errors import ChannelClosedError

if TYPE_CHECKING:
    from remotemedia.core.multiprocess.channel.side import SideCounters

__all__ = ["Subscriber", "any_ready_soon"]

# What a named subscriber allocates itself: nothing. Its segment is a doorbell.
_DOORBELL_POOL_BYTES = 4096


class Subscriber(Side):
    """The receiving end of a channel.

    Args:
        channel_name: the name the publisher uses; it may exist already or come later.
        spin_us: how long a wait may spin before it sleeps, also under asyncio; it spins less where that does not pay.

    Raises ChannelInUseError when the name has a subscriber already. A subscriber belongs to one thread at a time.
    Payloads it delivered stay valid after ``close()``, until the last view of each is gone.
    """

    def __init__(self, channel_name: str, *, spin_us: int = DEFAULT_SPIN_US) -> None:
        check_name(channel_name)
        check_count("spin_us", spin_us, 0, 1_000_000)
        segment, segment_fd = new_segment(_DOORBELL_POOL_BYTES)
        try:
            self._setup(channel_name, None, segment, Doorbell(segment), spin_us)
            self._owns_segment = True
            self._meeting = new_meeting(
                channel_name, "subscriber", [segment_fd, segment.fileno()], self._met, self._lost
            )
        except BaseException:
            self._closed = True
            segment.close()
            raise
        finally:
            os.close(segment_fd)

    @classmethod
    def _over(
        cls,
        name: str,
        consumer: _ring.Consumer,
        segment: _ring.Segment,
        doorbell: Doorbell,
        *,
        port: str = "",
        spin_us: int = DEFAULT_SPIN_US,
        fed_by: Collection[str] = (),
    ) -> Self:
        """A subscriber over a ring that the framework handed over; the segment and doorbell stay the caller's."""
        self = cls.__new__(cls)
        self._setup(name, consumer, segment, doorbell, spin_us)
        self._port = port
        self._fed_by = frozenset(fed_by)
        return self

    def _setup(
        self, name: str, consumer: _ring.Consumer | None, segment: _ring.Segment, doorbell: Doorbell, spin_us: int
    ) -> None:
        self._set_up_side(name, segment, doorbell, spin_us)
        self._consumer = consumer
        self._port = ""
        self._fed_by: frozenset[str] = frozenset()
        self._polled = False
        self._attached = threading.Event()
        if consumer is not None:
            self._attached.set()

    # --- receiving ---

    def receive(self, timeout: float | None = None) -> RuntimeData | None:
        """The next message; None at the end of the stream, or after ``timeout`` seconds (``ended`` tells which).

        Arrays are read-only views into shared memory, bytes a read-only memoryview; nothing is copied. Blocks with the
        GIL released; Ctrl-C works. Raises ChannelClosedError when the publisher died without closing, once all it
        published was received.
        """
        deadline_ns = 0 if timeout is None else deadline_ns_after(timeout)
        consumer = self._consumer
        if consumer is None:
            consumer = self._wait_publisher(timeout)
            if consumer is None:
                self._check_open()
                return None
        data: RuntimeData | None = consumer.receive(self._spin_ns, deadline_ns)
        # None may mean many things; the rare path finds out which.
        return data if data is not None else self.try_receive()

    async def receive_async(self) -> RuntimeData | None:
        """``receive`` for asyncio: at once when a message is there. Cancelled while it waits, it has taken nothing.

        The event loop gets no turn while messages keep coming; ``await asyncio.sleep(0)`` gives it one.
        """
        while True:
            data = self.try_receive()
            if data is not None or self.ended:
                return data
            if not any_ready_soon((self,)):
                await self._sleep(self.ready)

    def try_receive(self) -> RuntimeData | None:
        """The next message if there is one now, else None; never blocks. Raises like ``receive``."""
        self._check_open()
        consumer = self._consumer
        if consumer is None:
            if self._polled:
                self._segment.arm()
            return None
        message: RuntimeData | None = consumer.take()
        if message is None and self._polled:
            self._segment.drain()
            self._segment.arm()
            # Taking looks less strictly: between arming and that look a message could slip through.
            if consumer.ready():
                message = consumer.take()
        # The stream is looked at again after the death is: what it published before is still received.
        if message is None and consumer.peer_gone and not consumer.pending and not consumer.ended:
            raise ChannelClosedError(f"the publisher of channel {self.channel_name!r} died without closing the channel")
        return message

    def _skip_stale(self, before: int | None = None) -> None:
        """For the framework: drops the messages that wait here and were cut off, or all that were sent before that
        epoch; their memory is free then."""
        if self._consumer is not None:
            self._consumer.skip_stale(before)

    def _note_deliveries(self, deliveries: _ring.Deliveries | None) -> None:
        """For the framework: what is received from now on is noted there."""
        if self._consumer is not None:
            self._consumer.deliveries = deliveries

    def __iter__(self) -> Iterator[RuntimeData]:
        """Messages until the end of the stream."""
        while True:
            data = self.receive()
            if data is None:
                return
            yield data

    async def __aiter__(self) -> AsyncIterator[RuntimeData]:
        while True:
            data = await self.receive_async()
            if data is None:
                return
            yield data

    # --- the rest ---

    @property
    def port(self) -> str:
        """The input port this channel feeds; empty for a named channel."""
        return self._port

    @property
    def capacity(self) -> int:
        """Messages that the channel holds; 0 before the publisher came."""
        return self._consumer.capacity if self._consumer is not None else 0

    @property
    def pending(self) -> bool:
        """Whether a message waits to be received."""
        return self._consumer is not None and self._consumer.pending

    @property
    def ended(self) -> bool:
        """Whether the publisher closed and everything it published was received."""
        return self._consumer is not None and self._consumer.ended

    @property
    def _last_epoch(self) -> int:
        """The turn in which the last received message was taken."""
        return self._consumer.epoch if self._consumer is not None else 0

    @property
    def _last_stamp(self) -> int:
        """The turn in which the last received message was sent."""
        return self._consumer.stamp if self._consumer is not None else 0

    @property
    def _last_lineage(self) -> int:
        """The nodes that the last received message came through, a bit each."""
        return self._consumer.lineage if self._consumer is not None else 0

    @property
    def _last_published_ns(self) -> int:
        """When the last received message was published, on the clock of ``time.monotonic_ns()``."""
        return self._consumer.published_ns if self._consumer is not None else 0

    def ready(self) -> bool:
        """Whether ``receive`` would return or raise at once."""
        return self._closed or (self._consumer is not None and self._consumer.ready())

    def fileno(self) -> int:
        """A descriptor that ``select`` and ``epoll`` may wait on for reading.

        From the first call on, it becomes readable when a message arrives after ``try_receive`` returned None: wait,
        then call ``try_receive`` until it returns None.
        """
        if not self._polled:
            self._polled = True
            self._segment.arm()
            if self.ready():
                self._segment.wake()
        return self._segment.fileno()

    def statistics(self) -> SideCounters | None:
        """As ``Publisher.statistics``; None before the publisher came.

        ``waiting`` is how many tasks sleep in ``receive_async`` of this side. ``pool_used_bytes`` is of the publisher's
        pool, as the publisher last counted it: what has been given back since then is still in it.
        """
        consumer = self._consumer
        if consumer is None:
            return None
        pool = consumer.peer
        return self._counters(consumer, pool.counters()["pool_used_bytes"] if pool is not None else 0)

    def close(self) -> None:
        """Stops receiving; the publisher's next ``publish`` raises ChannelClosedError. May be repeated."""
        if self._closed:
            return
        self._closed = True
        if self._consumer is not None:
            self._consumer.close()
            self._consumer.mark_peer_gone()  # wakes a receive() blocked in another thread, to find this side closed
        self._attached.set()
        self._leave(self._consumer.peer if self._consumer is not None else None)

    def _check_open(self) -> None:
        if self._closed:
            raise ChannelClosedError(f"this subscriber of channel {self.channel_name!r} is closed")

    def _wait_publisher(self, timeout: float | None) -> _ring.Consumer | None:
        self._attached.wait(timeout)
        return self._consumer

    def _end_of_interpreter(self) -> None:
        pass  # the publisher's rendezvous notices

    def __repr__(self) -> str:
        return f"<Subscriber {self.channel_name!r}{' closed' if self._closed else ''}>"

    def _met(self, fds: list[int], pid: int) -> None:
        ring_fd, segment_fd, event_fd = fds
        try:
            peer = peer_segment(segment_fd, event_fd)
        except BaseException:
            os.close(ring_fd)
            raise
        self._consumer = _ring.Consumer(ring_fd, FORM, self._segment, peer, {peer.pool_id: peer})
        self._attached.set()
        self._segment.wake()

    def _lost(self) -> None:
        if self._consumer is not None:
            self._consumer.mark_peer_gone()


def any_ready_soon(subscribers: Collection[Subscriber]) -> bool:
    """Waits without sleeping, for as long as that pays and ``spin_us`` at most; whether one is ``ready``.

    All of ``subscribers`` must be of one process-side: share one segment.
    """
    first = next(iter(subscribers))
    consumers = tuple(s._consumer for s in subscribers if s._consumer is not None)
    return _ring.spin_any(first._segment, consumers, first._spin_ns)
