"""Publisher: the sending end of a channel.

A channel has one publisher and one subscriber, keeps order, and loses nothing. By name, the two meet wherever they
are on this machine; in a session, the framework hands each its end.
"""

from __future__ import annotations

import logging
import os
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from remotemedia import _ring
from remotemedia._ring import OK
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
from remotemedia.errors import ChannelClosedError, ChannelFullError

if TYPE_CHECKING:
    import numpy.typing as npt

    from remotemedia.core.multiprocess.channel.side import SideCounters

__all__ = ["Publisher"]

DEFAULT_POOL_BYTES = 256 * 1024 * 1024

_logger = logging.getLogger("remotemedia.channel")


class Publisher(Side):
    """The sending end of a channel.

    Args:
        channel_name: any non-empty str. The subscriber may exist already or come later.
        capacity: messages the channel holds before ``publish`` waits.
        pool_bytes: shared memory for payloads; virtual, pages are used when touched.
        spin_us: how long a wait may spin before it sleeps, also under asyncio; it spins less where that does not pay.

    Raises ChannelInUseError when the name has a publisher already, TypeError or ValueError for wrong arguments.
    A publisher belongs to one thread at a time. Close it, or use it in a ``with`` block.
    """

    def __init__(
        self,
        channel_name: str,
        capacity: int = 10,
        *,
        pool_bytes: int = DEFAULT_POOL_BYTES,
        spin_us: int = DEFAULT_SPIN_US,
    ) -> None:
        check_name(channel_name)
        check_count("capacity", capacity, 1, 1 << 20)
        check_count("pool_bytes", pool_bytes, 1, 1 << 46)
        check_count("spin_us", spin_us, 0, 1_000_000)
        ring_fd = _ring.create_ring(capacity)
        try:
            segment, segment_fd = new_segment(pool_bytes)
        except BaseException:
            os.close(ring_fd)
            raise
        try:
            producer = _ring.Producer(os.dup(ring_fd), FORM, segment)
            self._setup(channel_name, producer, segment, Doorbell(segment), spin_us)
            self._owns_segment = True
            self._meeting = new_meeting(
                channel_name, "publisher", [ring_fd, segment_fd, segment.fileno()], self._met, self._lost
            )
        except BaseException:
            segment.close()
            raise
        finally:
            # The meeting has copies, for subscribers that come later.
            os.close(ring_fd)
            os.close(segment_fd)

    @classmethod
    def _over(
        cls,
        name: str,
        producer: _ring.Producer,
        segment: _ring.Segment,
        doorbell: Doorbell,
        *,
        spin_us: int = DEFAULT_SPIN_US,
    ) -> Self:
        """A publisher over a ring that the framework handed over; the segment and doorbell stay the caller's."""
        self = cls.__new__(cls)
        self._setup(name, producer, segment, doorbell, spin_us)
        return self

    def _setup(
        self, name: str, producer: _ring.Producer, segment: _ring.Segment, doorbell: Doorbell, spin_us: int
    ) -> None:
        self._set_up_side(name, segment, doorbell, spin_us)
        self.capacity = producer.capacity
        self._producer = producer
        self._met_subscriber = threading.Event()
        if producer.peer is not None:
            self._met_subscriber.set()

    # --- publishing ---

    def publish(self, data: RuntimeData, timeout: float | None = None) -> None:
        """Sends ``data``, waiting while the channel or its payload pool is full.

        Copies an ordinary array once, into shared memory; a loaned array or a received payload not at all, and it
        becomes read-only. Blocks with the GIL released; Ctrl-C works. Raises ChannelFullError after ``timeout``
        seconds, ChannelClosedError when the subscriber closed or died, PayloadError or TypeError for data that can
        never travel.
        """
        deadline_ns = 0 if timeout is None else deadline_ns_after(timeout)
        if (status := self._producer.put(data)) == OK:
            return
        epoch = self._producer.epoch  # the message keeps it, however long it waits
        while True:
            freed = self._segment.freed
            if self._check_status(status := self._producer.put(data, None, epoch)):
                return
            for_memory = status != _ring.FULL
            since_ns = self._producer.begin_blocked(for_memory)
            try:
                if for_memory:
                    outcome = self._producer.wait_memory(self._spin_ns, deadline_ns, freed)
                else:
                    outcome = self._producer.wait_room(self._spin_ns, deadline_ns)
            finally:
                self._producer.count_blocked(since_ns, for_memory)
            if outcome == _ring.TIMEOUT:
                raise ChannelFullError(self._why_full(status, f"for {timeout:g} s"))

    def try_publish(self, data: RuntimeData) -> bool:
        """Sends ``data`` if there is room now; False when there is none. Otherwise like ``publish``; never blocks."""
        return self._check_status(self._producer.put(data))

    def _offer(
        self,
        data: RuntimeData,
        *,
        epoch: int,
        port: str,
        origin: int | _ring.Descent | None = None,
        staged: list[_ring.Producer] | None = None,
    ) -> bool:
        """``try_publish`` for the framework: ``epoch`` is the one the message belongs to, ``port`` goes with it, and
        ``origin`` instead of its own, or what it is made of.

        If this process still holds the payload of the message, the message waits until the caller has dropped it: then
        the producer is appended to ``staged``, and its ``commit()`` sends the message.
        """
        return self._check_status(self._producer.put(data, port, epoch, origin, staged is not None), staged)

    async def publish_async(
        self,
        data: RuntimeData,
        *,
        epoch: int | None = None,
        port: str | None = None,
        origin: int | _ring.Descent | None = None,
        staged: list[_ring.Producer] | None = None,
    ) -> None:
        """``publish`` for asyncio; without waiting when there is room. Cancelled while it waits, it has sent nothing.

        ``epoch`` is the one the message belongs to, ``port`` and ``origin`` replace the data's own, and ``staged`` is
        as in ``_offer``; the framework sets them.
        """
        if epoch is None:
            epoch = self._producer.epoch
        while True:
            freed = self._segment.freed
            status = self._producer.put(data, port, epoch, origin, staged is not None)
            if self._check_status(status, staged):
                return
            for_memory = status != _ring.FULL
            producer, segment, ready = self._producer, self._segment, self._producer.has_room
            begin_wait, end_wait = producer.begin_room_wait, producer.end_room_wait
            if for_memory:
                begin_wait, end_wait = segment.begin_memory_wait, segment.end_memory_wait
                ready = partial(self._has_memory, freed)
            since_ns = producer.begin_blocked(for_memory)
            begin_wait()
            try:
                await self._sleep(ready)
            finally:
                end_wait()
                producer.count_blocked(since_ns, for_memory)

    def loan(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """A writable array of ``shape`` and ``dtype`` in shared memory; publishing it moves a header, not bytes.

        Its contents are undefined. Once published, it is read-only (do not write through other views of it that you
        made before); dropped unpublished, its memory is free again.
        Blocks (GIL released) while the pool has no room; ChannelClosedError when the subscriber closed or died
        meanwhile, PayloadError when there never could be room.
        """
        array = None if self._closed else self._segment.try_loan(shape, dtype, FORM)
        while array is None:
            self._check_open()
            gone, freed = self._producer.closed, self._segment.freed
            array = self._segment.try_loan(shape, dtype, FORM)
            if array is None:
                if gone:  # nobody is left to give memory back
                    raise self._gone()
                self._producer.wait_memory(self._spin_ns, 0, freed)
        return array

    def try_loan(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any] | None:
        """``loan`` without waiting: None while the pool has no room."""
        self._check_open()
        return self._segment.try_loan(shape, dtype, FORM)

    def _drop(self) -> None:
        """Counts a message that was given up because the channel was full (``enable_backpressure=False``)."""
        self._producer.count_drop()

    # --- the rest ---

    def wait_subscriber(self, timeout: float | None = None) -> bool:
        """Blocks until the subscriber has come, at most ``timeout`` seconds; whether it has.

        From then on it holds the shared memory itself: this side may close, and nothing published is lost.
        """
        return self._met_subscriber.wait(timeout)

    @property
    def closed(self) -> bool:
        """Whether this side closed, or the subscriber closed or died."""
        return self._closed or self._producer.closed

    def statistics(self) -> SideCounters:
        """A snapshot of the channel's counters, which ``ChannelStats`` explains, and of two more.

        ``waiting`` is how many tasks sleep in ``publish_async`` of this side. ``pool_used_bytes`` is how much of the
        payload pool is in use: on loan, published, or still held by a receiver. The channels of one node share a pool.
        """
        return self._counters(self._producer, self._segment.used_bytes)

    def close(self) -> None:
        """Ends the stream: the subscriber receives everything published, then the end. May be repeated.

        Does not wait. Messages published before any subscriber came are dropped, with a warning in the log:
        ``wait_subscriber`` first keeps them.
        """
        if self._closed:
            return
        self._closed = True
        self._producer.close()
        if not self._met_subscriber.is_set() and (unseen := self._producer.statistics()["occupancy"]):
            _logger.warning(
                "channel %r was closed before a subscriber came: %d messages are lost", self.channel_name, unseen
            )
        self._producer.mark_peer_gone()  # wakes a publish() blocked in another thread, to find this side closed
        self._leave(self._producer.peer)

    def __repr__(self) -> str:
        return f"<Publisher {self.channel_name!r} capacity={self.capacity}{' closed' if self._closed else ''}>"

    def _check_status(self, status: int, staged: list[_ring.Producer] | None = None) -> bool:
        """Whether ``put`` has sent, or ``staged``; raises when nothing can be sent any more."""
        if status == OK:
            return True
        if status == _ring.STAGED and staged is not None:
            staged.append(self._producer)
            return True
        if status == _ring.CLOSED:
            self._check_open()
            raise self._gone()
        return False

    def _check_open(self) -> None:
        if self._closed:
            raise ChannelClosedError(f"this publisher of channel {self.channel_name!r} is closed")

    def _has_memory(self, freed: int) -> bool:
        return self._segment.has_memory(freed) or self._producer.closed

    def _gone(self) -> ChannelClosedError:
        why = "has closed" if self._producer.statistics()["consumer_closed"] else "has died"
        return ChannelClosedError(f"the subscriber of channel {self.channel_name!r} {why}")

    def _why_full(self, status: int, how_long: str) -> str:
        """The side to blame, its fault, and since when."""
        stall = self._producer.stall()
        who = f"its subscriber (pid {stall['pid']})" if stall["pid"] else "a subscriber that never came"
        if status == _ring.FULL:
            does = "waits, but not for this channel" if stall["asleep"] else "is busy elsewhere"
            return (
                f"channel {self.channel_name!r} was full {how_long} ({self.capacity} messages): {who} has not taken "
                f"message {stall['sequence']} for {_secs_since(stall['since_ns']):.1f} s"
            ) + (f"; it {does}" if stall["pid"] else "")
        held = self._segment.held()
        return (
            f"the payload pool of channel {self.channel_name!r} had no room {how_long} "
            f"({self._segment.used_bytes:,} of {self._segment.pool_bytes:,} bytes in use): "
        ) + (
            f"{held['blocks']} payloads are not given back by {who}, the oldest, of {held['oldest_bytes']:,} bytes, "
            f"for {_secs_since(held['oldest_ns']):.1f} s"
            if held["blocks"]
            else "nothing of it was published, all is on loan here"
        )

    def _end_of_interpreter(self) -> None:
        self._producer.close()

    def _met(self, fds: list[int], pid: int) -> None:
        self._producer.attach_peer(peer_segment(*fds))
        self._met_subscriber.set()

    def _lost(self) -> None:
        self._producer.mark_peer_gone()


def _secs_since(then_ns: int) -> float:
    # The peer could write to the slot it comes from: nonsense must not become an error about something else.
    return max(0, _ring.now_ns() - then_ns) / 1e9
