"""Publisher and Subscriber: where messages meet the ring.

A channel has one publisher and one subscriber, keeps order, and loses nothing. By name, the two meet wherever they
are on this machine; in a session, the framework hands each its end.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import AsyncIterator, Collection, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from remotemedia import _ring
from remotemedia._ring import OK
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocess.channel.doorbell import Doorbell
from remotemedia.core.multiprocess.channel.form import FORM
from remotemedia.core.multiprocess.channel.side import Side, check_count, check_name, deadline_ns_after, new_segment
from remotemedia.errors import ChannelClosedError, ChannelCorruptedError, ChannelFullError

if TYPE_CHECKING:
    import numpy.typing as npt

    from remotemedia.core.multiprocess.channel.rendezvous import Meeting

__all__ = ["Publisher", "Subscriber", "any_ready_soon"]

DEFAULT_POOL_BYTES = 256 * 1024 * 1024
DEFAULT_SPIN_US = 20
# What a named subscriber allocates itself: nothing. Its segment is a doorbell.
_DOORBELL_POOL_BYTES = 4096

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
            self._meeting = _meeting(
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
    def over(
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
        turn = self._producer.turn  # the message keeps it, however long it waits
        while True:
            freed = self._segment.freed
            if self._check_status(status := self._producer.put(data, None, turn)):
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

    def offer(
        self,
        data: RuntimeData,
        *,
        epoch: int,
        port: str,
        origin: int | None = None,
        staged: list[_ring.Producer] | None = None,
    ) -> bool:
        """``try_publish`` for the framework: ``epoch`` is the turn the message belongs to, ``port`` goes with it, and
        ``origin`` instead of its own.

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
        origin: int | None = None,
        staged: list[_ring.Producer] | None = None,
    ) -> None:
        """``publish`` for asyncio; without waiting when there is room. Cancelled while it waits, it has sent nothing.

        ``epoch`` is the turn the message belongs to, ``port`` and ``origin`` replace the data's own, and ``staged`` is
        as in ``offer``; the framework sets them.
        """
        if epoch is None:
            epoch = self._producer.turn
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
                await self._doorbell.wait(ready)
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

    def drop(self) -> None:
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

    def statistics(self) -> _ring.ChannelCounters:
        """A snapshot of the channel's counters; see ``ChannelStats``."""
        return self._producer.statistics()

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
        self._producer.attach_peer(_peer_segment(*fds))
        self._met_subscriber.set()

    def _lost(self) -> None:
        self._producer.mark_peer_gone()


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
            self._meeting = _meeting(channel_name, "subscriber", [segment_fd, segment.fileno()], self._met, self._lost)
        except BaseException:
            self._closed = True
            segment.close()
            raise
        finally:
            os.close(segment_fd)

    @classmethod
    def over(
        cls,
        name: str,
        consumer: _ring.Consumer,
        segment: _ring.Segment,
        doorbell: Doorbell,
        *,
        port: str = "",
        spin_us: int = DEFAULT_SPIN_US,
    ) -> Self:
        """A subscriber over a ring that the framework handed over; the segment and doorbell stay the caller's."""
        self = cls.__new__(cls)
        self._setup(name, consumer, segment, doorbell, spin_us)
        self._port = port
        return self

    def _setup(
        self, name: str, consumer: _ring.Consumer | None, segment: _ring.Segment, doorbell: Doorbell, spin_us: int
    ) -> None:
        self._set_up_side(name, segment, doorbell, spin_us)
        self._consumer = consumer
        self._port = ""
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
                await self._doorbell.wait(self.ready)

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

    def skip_stale(self) -> None:
        """For the framework: drops the messages of interrupted turns that wait here; their memory is free then."""
        if self._consumer is not None:
            self._consumer.skip_stale()

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
    def pending(self) -> bool:
        """Whether a message waits to be received."""
        return self._consumer is not None and self._consumer.pending

    @property
    def ended(self) -> bool:
        """Whether the publisher closed and everything it published was received."""
        return self._consumer is not None and self._consumer.ended

    @property
    def last_epoch(self) -> int:
        """The turn the last received message belongs to."""
        return self._consumer.epoch if self._consumer is not None else 0

    @property
    def last_published_ns(self) -> int:
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

    def statistics(self) -> _ring.ChannelCounters | None:
        """A snapshot of the channel's counters; None before the publisher came."""
        return self._consumer.statistics() if self._consumer is not None else None

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
            peer = _peer_segment(segment_fd, event_fd)
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


def _peer_segment(segment_fd: int, event_fd: int) -> _ring.Segment:
    """Takes both descriptors over, whatever happens."""
    try:
        os.set_blocking(event_fd, False)
    except OSError as error:
        os.close(segment_fd)
        os.close(event_fd)
        raise ChannelCorruptedError(f"the other side sent something that is not a doorbell: {error}") from None
    return _ring.Segment(segment_fd, event_fd, False)


def _secs_since(then_ns: int) -> float:
    # The peer could write to the slot it comes from: nonsense must not become an error about something else.
    return max(0, _ring.now_ns() - then_ns) / 1e9


def _meeting(*arguments: Any) -> Meeting:
    # Here: a node's channels have no names, and its start-up time is a budget.
    from remotemedia.core.multiprocess.channel.rendezvous import Meeting

    return Meeting(*arguments)
