"""Three endpoints in one process: A publishes to B, B forwards to C. Everything they share can be scribbled on."""

from __future__ import annotations

import math
import mmap
import os
from typing import Any

import numpy as np

from proof.fuzz_memory import BLOCK_BYTES, HEAD, SLOT_BYTES, SLOTS, TABLE, TAIL, Memory
from remotemedia import _ring
from remotemedia.core.data import AudioMetadata, DataType, RuntimeData, VideoMetadata
from remotemedia.core.multiprocess.channel.doorbell import Doorbell
from remotemedia.core.multiprocess.channel.form import FORM
from remotemedia.core.multiprocessing import Publisher, Subscriber
from remotemedia.errors import ChannelError

POOL_BYTES = 1 << 20
STRUCTURED = np.dtype([("a", "<i4"), ("b", "<f8", (2,))])
PAYLOADS: list[Any] = [
    *(np.arange(24, dtype="<f4"), np.arange(60, dtype=">i2").reshape(3, 4, 5), np.ones(3, STRUCTURED)),
    *(np.array(["ab", "cde"]), np.zeros((0, 3)), np.array(7.5), np.zeros(4, "V0"), np.arange(3000, dtype="u1")),
    *(b"", b"bytes" * 20, bytearray(9000), "", "words \u20ac", "x" * 300),
]
METADATA: list[Any] = [None, AudioMetadata(16000, 1, "f32"), VideoMetadata(4, 3, "rgb", 25.0), {"k": [1, None]}]


def _mapped(fd: int, tables: list[tuple[str, int]]) -> Memory:
    return Memory(mmap.mmap(fd, os.fstat(fd).st_size), tables)


def _segment_memory(fd: int) -> Memory:
    blocks = [("block", TABLE + BLOCK_BYTES * index) for index in range(6)]
    return _mapped(fd, [("segment header", 0), ("segment", 0), *blocks, *blocks])


class World:
    def __init__(self, capacity: int) -> None:
        self.segments: list[_ring.Segment] = []
        a_fd, b_fd, c_fd = fds = [_ring.create_segment(POOL_BYTES, pool) for pool in (1, 2, 3)]
        first_fd, second_fd = _ring.create_ring(capacity), _ring.create_ring(2)
        self.memories = [_segment_memory(fd) for fd in fds]
        for fd, slots in ((first_fd, capacity), (second_fd, 2)):
            places = [("slot", SLOTS + SLOT_BYTES * index) for index in range(slots)]
            self.memories.append(_mapped(fd, [("header", 0), ("ring", 0), *places, *places]))
        self.first = self.memories[3]
        self.capacity = capacity
        self.first_fd = first_fd
        self.a, self.b, self.c = (self._segment(fd, owner=True) for fd in fds)
        self.far_a, self.far_b, self.far_c = (self._segment(fd, owner=False) for fd in fds)
        self.view = _ring.RingView(os.dup(first_fd))
        self.open_publisher()
        self.open_subscriber()
        forwarder = _ring.Producer(os.dup(second_fd), FORM, self.b, self.far_c, [self.far_a])
        self.forwarder = Publisher._over("second", forwarder, self.b, Doorbell(self.b))
        # C knows both pools: what B passes on may lie in A's.
        last = _ring.Consumer(second_fd, FORM, self.c, self.far_b, {1: self.far_a, 2: self.far_b})
        self.last = Subscriber._over("second", last, self.c, Doorbell(self.c))
        self.held: list[RuntimeData] = []
        self.writable: list[Any] = []
        for fd in (a_fd, b_fd, c_fd):
            os.close(fd)

    def _segment(self, fd: int, *, owner: bool) -> _ring.Segment:
        self.segments.append(_ring.Segment(os.dup(fd), os.eventfd(0, os.EFD_NONBLOCK), owner))
        return self.segments[-1]

    def open_publisher(self) -> None:
        producer = _ring.Producer(os.dup(self.first_fd), FORM, self.a, self.far_b)
        self.publisher = Publisher._over("first", producer, self.a, Doorbell(self.a), spin_us=0)

    def open_subscriber(self) -> None:
        consumer = _ring.Consumer(os.dup(self.first_fd), FORM, self.b, self.far_a, {1: self.far_a}, self.far_a)
        self.subscriber = Subscriber._over("first", consumer, self.b, Doorbell(self.b), spin_us=0)

    def next_slot(self) -> tuple[str, int]:
        """Where the message lies that B takes next."""
        slots = 1 << (self.capacity - 1).bit_length()
        return "slot", SLOTS + SLOT_BYTES * (self.first.peek("Q", HEAD) % slots)

    def start_afresh(self) -> None:
        """Gives up the messages in the ring, and opens both its ends again."""
        self.first.poke("Q", HEAD, self.first.peek("Q", TAIL))
        self.open_publisher()
        self.open_subscriber()

    def publish(self, payload: Any, metadata: Any, session: str) -> bool:
        kind = DataType.TEXT if isinstance(payload, str) else DataType.TENSOR
        return self.publisher.try_publish(RuntimeData(kind, payload, session, 1.0, metadata, port="p"))

    def receive(self, subscriber: Subscriber) -> None:
        data = subscriber.try_receive()
        if data is not None:
            read(data)
            self.held.append(data)

    def forward(self, data: RuntimeData) -> None:
        self.forwarder.try_publish(data)

    def stage(self, data: RuntimeData) -> None:
        """As a node does that passes a message on; whatever comes next on this channel commits it."""
        self.forwarder._offer(data, epoch=0, port="", staged=[])

    def make_writable(self, data: RuntimeData) -> None:
        if not isinstance(data.payload, str) and is_readable(data.payload):
            array = data.as_numpy(writable=True)
            if array.dtype.names is None:
                array.view(np.uint8 if array.flags.c_contiguous and array.ndim else array.dtype)[...] = 0
            self.writable.append(array)

    def look(self) -> None:
        """What an owner and an onlooker do."""
        for ring in (self.publisher, self.subscriber, self.forwarder, self.last, self.view):
            ring.statistics()
        for subscriber in (self.subscriber, self.last):
            assert subscriber.pending in (True, False)
            assert subscriber.ended in (True, False)
        self.a.counters()
        self.a.count_processed(1, 2, True)
        self.a.wake()
        for segment in (self.a, self.b):
            assert 0 <= segment.used_bytes <= POOL_BYTES

    def loan(self, size: int) -> None:
        block = self.a.loan(size)
        if block is not None:
            memoryview(block)[:] = bytes([1]) * size
            self.writable.append(block)

    def close(self) -> None:
        self.held.clear()
        self.writable.clear()
        for side in (self.subscriber, self.publisher, self.last, self.forwarder):
            side.close()
        for _ in range(2):  # the second time it takes back what a closed consumer left
            try:
                self.publisher._producer.put(RuntimeData.text("x"))
                assert 0 <= self.a.used_bytes <= POOL_BYTES
            except ChannelError:
                pass
        for segment in self.segments:
            segment.close()
        for memory in self.memories:
            memory.view.close()
        os.close(self.first_fd)


def is_readable(payload: Any) -> bool:
    """Elements without bytes may be more than anybody can count."""
    return not isinstance(payload, np.ndarray) or payload.itemsize > 0


def read(data: RuntimeData) -> None:
    """Reads every byte, and holds what the payload says of itself against what it is."""
    payload = data.payload
    assert data.size >= 0
    if isinstance(payload, str):
        payload.encode("utf-8", "surrogatepass")
        return
    if isinstance(payload, memoryview):
        assert payload.readonly
        assert len(bytes(payload)) == payload.nbytes <= POOL_BYTES
        return
    assert isinstance(payload, np.ndarray)
    assert not payload.flags.writeable
    assert not payload.dtype.hasobject
    assert payload.base is None or payload.nbytes == len(payload.base), "the array is not as large as its message"
    assert payload.size == math.prod(payload.shape), "more elements than can be counted"
    # Compiled loops believe this flag.
    aligned = payload.ctypes.data % payload.dtype.alignment == 0
    assert not payload.flags.aligned or aligned or not payload.nbytes, "the array lies about its alignment"
    if is_readable(payload):
        assert len(payload.tobytes()) == payload.nbytes
        payload.copy()
