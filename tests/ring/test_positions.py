"""One step at a time, from positions set by hand: what moved, and which outcome came out."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from remotemedia import _ring
from remotemedia.errors import ChannelCorruptedError, PayloadError

Pairs = Callable[..., Any]
POSITIONS = [0, 1, 3, 4, 5, 2**32 - 2, 2**63 - 1, 2**64 - 2]


@pytest.mark.parametrize("position", POSITIONS)
def test_publish_moves_the_tail_by_one(pair: Pairs, position: int) -> None:
    p = pair(4, position=position)
    assert p.put(np.arange(5, dtype="<u2"), timestamp=1.5) == _ring.OK
    assert p.peek_ring("Q", p.TAIL) == (position + 1) % 2**64
    assert p.peek_ring("Q", p.HEAD) == position
    slot = p.SLOTS + (position % 4) * p.SLOT_BYTES
    sequence, timestamp = struct.unpack_from("Qd", p.ring_map, slot)
    assert (sequence, timestamp) == (position, 1.5)
    assert struct.unpack_from("BBBB", p.ring_map, slot + 28) == (0, 1, 0, 1)
    assert struct.unpack_from("QQ", p.ring_map, slot + 40) == (0, 10)


@pytest.mark.parametrize("position", POSITIONS)
def test_receive_moves_the_head_by_one(pair: Pairs, position: int) -> None:
    p = pair(4, position=position)
    p.put(np.arange(5, dtype="<u2"))
    message = p.take()
    assert message.payload.tolist() == [0, 1, 2, 3, 4]
    assert message.sequence == position
    assert p.peek_ring("Q", p.HEAD) == p.peek_ring("Q", p.TAIL) == (position + 1) % 2**64


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("capacity", [1, 2, 3, 4, 5, 8])
def test_full_is_capacity_messages_exactly(pair: Pairs, capacity: int, position: int) -> None:
    """Also where the capacity is no power of two and the position wraps."""
    p = pair(capacity, position=position)
    for value in range(capacity):
        assert p.put(np.full(3, value)) == _ring.OK
    assert p.put(np.zeros(3)) == _ring.FULL
    assert p.peek_ring("Q", p.TAIL) == (position + capacity) % 2**64
    for value in range(capacity):
        assert p.take_payload().tolist() == [value] * 3
        assert p.put(np.full(3, capacity + value)) == _ring.OK
        assert p.put(np.zeros(3)) == _ring.FULL
    assert [p.take_payload()[0] for _ in range(capacity)] == list(range(capacity, 2 * capacity))
    assert p.take() is None


def test_empty_is_none_and_moves_nothing(pair: Pairs) -> None:
    p = pair(4, position=9)
    assert p.take() is None
    assert not p.consumer.pending
    assert not p.consumer.ended
    assert p.peek_ring("Q", p.HEAD) == 9


def test_no_memory_is_not_full(pair: Pairs) -> None:
    p = pair(4, 4096)
    assert p.put(bytes(4096)) == _ring.OK
    assert p.put(b"x") == _ring.NO_MEMORY
    assert p.put(b"") == _ring.OK
    assert p.peek_ring("Q", p.TAIL) == 2


def test_too_big_is_an_error_at_once_even_when_full(pair: Pairs) -> None:
    p = pair(1, 4096)
    assert p.put(b"") == _ring.OK
    assert p.put(b"x") == _ring.FULL
    with pytest.raises(PayloadError, match="4097 bytes can never fit the pool of 4096"):
        p.put(bytes(4097))
    assert p.take_payload() == b""
    with pytest.raises(PayloadError, match="can never fit"):
        p.put(np.zeros(513))
    assert p.put(np.zeros(512)) == _ring.OK


def test_payload_and_text_that_fit_only_apart_are_refused(pair: Pairs) -> None:
    """Waiting would be for ever: each has room in the empty pool, both together never."""
    p = pair(4, 4096)
    with pytest.raises(PayloadError, match="can never fit"):
        p.put(bytes(4096), session="s" * 200)
    assert p.put(bytes(4096 - 256), session="s" * 200) == _ring.OK
    assert p.take().session_id == "s" * 200
    assert p.own.used_bytes == 0


def test_closed_by_consumer(pair: Pairs) -> None:
    p = pair(4)
    p.put(b"unread")
    p.consumer.close()
    assert p.put(b"x") == _ring.CLOSED
    assert p.producer.closed
    assert p.own.used_bytes == 0


def test_closed_by_producer_ends_after_what_was_published(pair: Pairs) -> None:
    p = pair(4)
    p.put(b"last")
    p.producer.close()
    assert not p.consumer.ended
    assert p.take_payload() == b"last"
    assert p.consumer.ended
    assert p.take() is None


def test_peer_gone_closes_the_producer(pair: Pairs) -> None:
    p = pair(1)
    p.put(b"x")
    p.producer.mark_peer_gone()
    assert p.put(b"x") == _ring.CLOSED
    assert p.producer.wait_room(0, 0) == _ring.OK


def test_what_the_consumer_left_is_taken_back_once(pair: Pairs) -> None:
    """The producer published between the consumer's last look and its closing; then publishes again and again."""
    p = pair(4)
    for _ in range(3):
        p.put(b"unread")
    p.poke_ring("I", p.CONSUMER_CLOSED, 1)  # as if it had closed just before
    assert p.own.used_bytes == 3 * 64
    assert p.put(b"x") == _ring.CLOSED
    assert p.own.used_bytes == 0
    loans = [p.own.loan(6) for _ in range(4)]
    assert p.put(b"x") == _ring.CLOSED
    # Nobody gave the loans back: taken back twice, the old messages' blocks would have been theirs.
    assert p.own.used_bytes == 4 * 64
    assert [loan.references for loan in loans] == [1] * 4


def test_what_the_consumer_left_it_does_not_take(pair: Pairs) -> None:
    """Another thread closed it in the middle of a wait: the wait ends, but the last message is the producer's again."""
    p = pair(4)
    p.consumer.close()
    p.poke_ring("I", p.CONSUMER_CLOSED, 0)
    assert p.put(b"just before the closing") == _ring.OK
    p.poke_ring("I", p.CONSUMER_CLOSED, 1)
    assert p.take() is None
    assert p.consumer.receive(0, 0) is None
    assert p.put(b"x") == _ring.CLOSED
    assert p.own.used_bytes == 0


def test_message_under_way_while_its_producer_closes_is_not_sent(pair: Pairs) -> None:
    """A signal handler closes: whoever receives has seen the end by then."""
    p = pair(4, pool_bytes=65536)

    class Closing:
        def __float__(self) -> float:
            p.producer.close()
            assert p.take() is None
            assert p.consumer.ended
            return 1.0

    loan = p.own.loan(100)
    for payload in (memoryview(loan), b"x"):
        assert p.put(payload, timestamp=Closing(), session="s" * 200) == _ring.CLOSED
    assert p.consumer.ended
    assert p.own.used_bytes == 128
    assert loan.references == 1


def test_consumer_position_out_of_range_is_corruption(pair: Pairs) -> None:
    p = pair(2, position=5)
    p.put(b"")
    p.put(b"")
    p.poke_ring("Q", p.HEAD, 100)
    with pytest.raises(ChannelCorruptedError, match="consumer's position"):
        p.put(b"")
    with pytest.raises(ChannelCorruptedError):
        p.put(b"")


@pytest.mark.parametrize("tail", [4, 8, 100, 2**64 - 1])
def test_producer_position_out_of_range_is_corruption(pair: Pairs, tail: int) -> None:
    p = pair(2, position=5)
    p.poke_ring("Q", p.TAIL, tail)
    with pytest.raises(ChannelCorruptedError, match="producer's position"):
        p.take()
    assert p.consumer.ready()
    with pytest.raises(ChannelCorruptedError):
        p.consumer.receive(0, 0)


def test_slot_with_another_sequence_is_corruption(pair: Pairs) -> None:
    p = pair(2)
    p.put(b"x")
    p.poke_ring("Q", p.SLOTS, 1)
    with pytest.raises(ChannelCorruptedError, match="sequence"):
        p.take()


def test_awake_peer_costs_no_system_call(pair: Pairs) -> None:
    """Nobody announced: the bell's words and descriptors stay as they are."""
    p = pair(4)
    for _ in range(10):
        p.put(b"x" * 100)
        p.take()
    p.own.collect()
    for mapped in (p.segment_map, p.bell_map):
        assert struct.unpack_from("III", mapped, p.BELL_SEQUENCE) == (0, 0, 0)
    for segment in (p.own, p.consumer_own):
        with pytest.raises(BlockingIOError):
            _read(segment.fileno())


def test_announced_peer_is_rung_once(pair: Pairs) -> None:
    p = pair(4)
    p.consumer_own.arm()
    assert not p.consumer.ready()
    p.put(b"x")
    p.put(b"y")
    assert _read(p.consumer_own.fileno()) == 1
    assert struct.unpack_from("I", p.bell_map, p.BELL_ARMED) == (0,)


def test_waiting_producer_is_rung_when_there_is_room(pair: Pairs) -> None:
    p = pair(1)
    p.put(b"x")
    p.producer.begin_room_wait()
    p.own.arm()
    assert not p.producer.has_room()
    p.take()
    assert p.producer.has_room()
    assert _read(p.own.fileno()) == 1
    p.producer.end_room_wait()
    assert p.peek_ring("I", p.PRODUCER_WAITING) == 0


def test_waiting_for_memory_is_rung_when_a_block_comes_back(pair: Pairs) -> None:
    p = pair(4)
    p.put(b"x" * 100)
    held = p.take_payload()
    p.own.begin_memory_wait()
    p.own.arm()
    freed = p.own.freed
    assert not p.own.has_memory(freed)
    del held
    assert p.own.has_memory(freed)
    assert _read(p.own.fileno()) == 1
    p.own.end_memory_wait()


@pytest.mark.parametrize("which", ["drop", "collect"])
def test_memory_that_came_back_before_the_wait_is_seen(pair: Pairs, which: str) -> None:
    """Another thread, or the garbage collector, comes between the attempt that finds no room and the wait."""
    p = pair(4)
    freed = p.own.freed
    if which == "drop":
        held = p.own.loan(100)
        del held
    else:
        p.put(b"x" * 100)
        p.take()
        assert p.own.used_bytes == 0
    assert p.own.wait_memory(0, _ring.now_ns() + 1000, freed) == _ring.OK


def test_a_message_that_finds_room_for_half_of_it_wakes_nobody(pair: Pairs) -> None:
    """Or its own waiter would try again for ever."""
    p = pair(4, 4096)
    held = p.own.loan(4096 - 64)
    freed = p.own.freed
    assert p.put(b"x" * 64, session="s" * 113) == _ring.NO_MEMORY
    assert p.own.freed == freed
    assert p.put(b"x" * 64) == _ring.OK
    del held


def test_a_death_is_told_although_the_dead_took_the_arming(pair: Pairs) -> None:
    """It was killed between taking ``bell_armed`` to 0 and writing to the eventfd."""
    p = pair(4)
    p.consumer_own.arm()
    p.consumer_own.disarm()
    p.consumer.mark_peer_gone()
    assert _read(p.consumer_own.fileno()) == 1


@pytest.mark.parametrize("which", ["room", "memory"])
def test_one_waiter_leaving_does_not_silence_the_others(pair: Pairs, which: str) -> None:
    p = pair(1)
    p.put(b"x" * 100)
    begin, end = p.producer.begin_room_wait, p.producer.end_room_wait
    if which == "memory":
        begin, end = p.own.begin_memory_wait, p.own.end_memory_wait
    begin()
    begin()
    end()
    p.own.arm()
    p.take()
    assert _read(p.own.fileno()) == 1
    end()


def test_attaching_the_consumer_wakes_it(pair: Pairs) -> None:
    """What was published before its doorbell was known rang nothing."""
    p = pair(4, attached=False)
    p.consumer_own.arm()
    p.put(b"x")
    with pytest.raises(BlockingIOError):
        _read(p.consumer_own.fileno())
    p.producer.attach_peer(p.far_bell)
    assert _read(p.consumer_own.fileno()) == 1


def test_spinning_ends_at_the_deadline(pair: Pairs) -> None:
    """A spin of an hour: only the deadline ends it."""
    hour_ns = 3600 * 10**9
    p = pair(1)
    assert p.consumer.receive(hour_ns, _ring.now_ns() + 1000) is None
    p.put(bytes(65536))
    assert p.producer.wait_room(hour_ns, _ring.now_ns() + 1000) == _ring.TIMEOUT
    assert p.own.wait_memory(hour_ns, _ring.now_ns() + 1000, p.own.freed) == _ring.TIMEOUT


def test_high_water_is_exact(pair: Pairs) -> None:
    p = pair(4)
    for _ in range(20):
        p.put(b"")
        p.take()
    assert p.producer.statistics()["high_water"] == 1
    for _ in range(3):
        p.put(b"")
    assert p.producer.statistics()["high_water"] == 3
    assert p.consumer.statistics() == p.producer.statistics()


def test_earlier_epochs_are_skipped(pair: Pairs) -> None:
    p = pair(4, cuts=True)
    p.put(b"old", session="s" * 300)
    p.put(b"new", epoch=1)
    assert p.own.cut() == 1
    assert p.take_payload() == b"new"
    assert p.take() is None
    assert p.consumer.epoch == 1
    assert p.own.used_bytes == 0


def _read(fd: int) -> int:
    return int.from_bytes(os.read(fd, 8), "little")
