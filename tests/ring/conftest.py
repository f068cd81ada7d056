"""A ring with both its ends in this process, and its shared memory open to be looked at and scribbled on."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from remotemedia import _ring
from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.multiprocess.channel.form import FORM


@pytest.fixture(autouse=True)
def _nothing_left(leak_check: None) -> None:
    """Every test here gives back what it took."""


class Pair:
    """Producer and consumer of one ring, each with a segment of its own, as two processes would have them."""

    # Offsets that docs and headers fix; test_layout holds them against the header.
    TAIL, HEAD, PRODUCER_CLOSED, CONSUMER_CLOSED, PRODUCER_WAITING = 128, 256, 136, 388, 384
    BELL_SEQUENCE, BELL_SLEEPERS, BELL_ARMED, RETURNED, MEMORY_WANTED = 128, 132, 136, 256, 384
    SLOTS, SLOT_BYTES, TABLE, BLOCK_BYTES = 4096, 256, 40960, 64

    def __init__(
        self,
        capacity: int = 4,
        pool_bytes: int = 65536,
        *,
        position: int = 0,
        attached: bool = True,
        cuts: bool = False,
        form: _ring.MessageForm = FORM,
    ) -> None:
        ring = _ring.create_ring(capacity)
        memory = _ring.create_segment(pool_bytes, 7)
        bell = _ring.create_segment(4096, 8)
        self.ring_map, self.segment_map, self.bell_map = (
            mmap.mmap(fd, os.fstat(fd).st_size) for fd in (ring, memory, bell)
        )
        self.poke_ring("Q", self.TAIL, position)
        self.poke_ring("Q", self.HEAD, position)
        self.own = _ring.Segment(os.dup(memory), os.eventfd(0, os.EFD_NONBLOCK), True)
        self.consumer_own = _ring.Segment(os.dup(bell), os.eventfd(0, os.EFD_NONBLOCK), True)
        # Each side's mapping of the other's segment.
        self.far_memory = _ring.Segment(memory, os.dup(self.own.fileno()), False)
        self.far_bell = _ring.Segment(bell, os.dup(self.consumer_own.fileno()), False)
        self.producer = _ring.Producer(os.dup(ring), form, self.own, self.far_bell if attached else None)
        self.consumer = _ring.Consumer(
            ring, form, self.consumer_own, self.far_memory, {7: self.far_memory}, self.far_memory if cuts else None
        )

    def put(
        self, payload: Any, *, timestamp: float = 0.0, session: str = "", metadata: Any = None, epoch: int = 0
    ) -> int:
        return self.producer.put(RuntimeData(DataType.AUDIO, payload, session, timestamp, metadata), None, epoch)

    def take(self) -> Any:
        return self.consumer.take()

    def take_payload(self) -> Any:
        message = self.take()
        return None if message is None else message.payload

    def poke_ring(self, kind: str, offset: int, value: int) -> None:
        struct.pack_into(kind, self.ring_map, offset, value)

    def peek_ring(self, kind: str, offset: int) -> int:
        return int(struct.unpack_from(kind, self.ring_map, offset)[0])

    def poke_segment(self, kind: str, offset: int, value: int) -> None:
        struct.pack_into(kind, self.segment_map, offset, value)

    def peek_segment(self, kind: str, offset: int) -> int:
        return int(struct.unpack_from(kind, self.segment_map, offset)[0])

    def close(self) -> None:
        for segment in (self.own, self.consumer_own, self.far_memory, self.far_bell):
            segment.close()
        for mapped in (self.ring_map, self.segment_map, self.bell_map):
            mapped.close()
        del self.producer, self.consumer, self.own, self.consumer_own, self.far_memory, self.far_bell


@pytest.fixture
def pair(_nothing_left: None) -> Iterator[Callable[..., Pair]]:
    """``pair(capacity, pool_bytes, position=..., attached=..., cuts=...)`` makes a Pair, closed after the test."""
    made: list[Pair] = []

    def make(*args: Any, **options: Any) -> Pair:
        made.append(Pair(*args, **options))
        return made[-1]

    yield make
    while made:
        made.pop().close()
