"""What once went wrong with channels, each by the smallest way to it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import mmap
import os
import random
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from remotemedia import _ring
from remotemedia.core.data import DataType, RuntimeData, decode_metadata, encode_metadata
from remotemedia.core.dtypes import decode_dtype, encode_dtype
from remotemedia.core.multiprocess.channel import subscriber as subscriber_module
from remotemedia.core.multiprocess.channel.form import FORM
from remotemedia.core.multiprocess.channel.rendezvous import _address
from remotemedia.core.multiprocessing import Publisher, Subscriber
from remotemedia.errors import ChannelClosedError, ChannelCorruptedError, PayloadError

Channels = Callable[..., tuple[Publisher, Subscriber]]

PATIENCE_SECS = 20
"""Nothing is expected to take this long: it makes one test fail where the watchdog would end the whole run."""

POOL_BYTES = 8192


def block(value: int, size: int = POOL_BYTES) -> RuntimeData:
    return RuntimeData.tensor(np.full(size, value, np.uint8))


# --- a publisher's own views ---


def own_view(publisher: Publisher, subscriber: Subscriber, how: str) -> Any:
    """A view that fills the pool, and that nobody but the publisher's process holds."""
    loaned = publisher.loan(POOL_BYTES, np.uint8)
    if how == "published":
        loaned[:] = 1
        publisher.publish(RuntimeData.tensor(loaned))
        got = subscriber.receive()
        assert got is not None and (got.payload == 1).all()
    return loaned


@pytest.mark.parametrize("how", ["loaned", "published"])
def test_dropping_an_own_view_wakes_a_task_that_waits_for_memory(channel: Channels, how: str) -> None:
    publisher, subscriber = channel(10, pool_bytes=POOL_BYTES)

    async def main() -> None:
        held = [own_view(publisher, subscriber, how)]
        async with asyncio.timeout(PATIENCE_SECS):
            for value in range(3):
                task = asyncio.create_task(publisher.publish_async(block(value)))
                while not publisher._doorbell._waiters:
                    await asyncio.sleep(0)
                held.clear()
                await task
                got = subscriber.try_receive()
                assert got is not None and (got.payload == value).all()
                del got
                held.append(own_view(publisher, subscriber, how))
        held.clear()

    asyncio.run(main())
    assert publisher._segment.used_bytes == 0


@pytest.mark.parametrize(("call", "how"), [("publish", "loaned"), ("publish", "published"), ("loan", "loaned")])
def test_dropping_an_own_view_wakes_a_thread_that_waits_for_memory(
    channel: Channels, in_thread: Any, thread_blocked: Any, call: str, how: str
) -> None:
    publisher, subscriber = channel(10, pool_bytes=POOL_BYTES)
    held = [own_view(publisher, subscriber, how)]

    def wait() -> None:
        if call == "loan":
            publisher.loan(POOL_BYTES, np.uint8)
        else:
            publisher.publish(block(2), timeout=PATIENCE_SECS)

    task = in_thread(wait)
    thread_blocked(task.thread)
    held.clear()
    task.thread.join(PATIENCE_SECS)
    woken = not task.thread.is_alive()
    publisher.close()  # a loan knows no timeout
    task.result()
    assert woken


@pytest.mark.parametrize("what", ["payload", "message"])
def test_bytes_in_a_garbage_cycle_give_their_block_back(channel: Channels, what: str) -> None:
    publisher, subscriber = channel(10, pool_bytes=POOL_BYTES)
    for value in range(3):
        publisher.publish(RuntimeData(DataType.TENSOR, bytes([value]) * POOL_BYTES), timeout=0)
        got = subscriber.receive()
        assert got is not None and bytes(got.payload) == bytes([value]) * POOL_BYTES  # type: ignore[arg-type]
        circle: dict[str, Any] = {"kept": got if what == "message" else got.payload}
        circle["self"] = circle
        del got, circle
        gc.collect()
        assert publisher._segment.used_bytes == 0


# --- closed in the middle of take() ---


def test_a_signal_handler_that_closes_the_subscriber_leaves_the_view_it_was_about_to_get(
    channel: Channels, monkeypatch: pytest.MonkeyPatch
) -> None:
    dtype = np.dtype([("left", "<i4"), ("right", "<f8")])
    wanted = np.array([(number, number / 2) for number in range(100)], dtype)
    decoded = []

    def decode(raw: bytes) -> np.dtype[Any]:
        signal.raise_signal(signal.SIGUSR1)  # it comes while Python code of receive() runs
        decoded.append(raw)
        return decode_dtype(raw)

    form = _ring.MessageForm(
        RuntimeData,
        tuple(DataType),
        encode_metadata=encode_metadata,
        decode_metadata=decode_metadata,
        encode_dtype=encode_dtype,
        decode_dtype=decode,
        timestamp=float,
        refuse=print,
    )
    monkeypatch.setattr(subscriber_module, "FORM", form)
    publisher, subscriber = channel(10, pool_bytes=64 * 1024)
    before = signal.signal(signal.SIGUSR1, lambda *_: subscriber.close())
    try:
        publisher.publish(RuntimeData.tensor(wanted))
        publisher.publish(block(0, 100))
        got = subscriber.receive()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(decoded) == 1
    assert got is not None
    # Whatever is free now is written over: it must not be what is held.
    assert publisher._segment.used_bytes > 0
    others = []
    while (other := publisher.try_loan(1024, np.uint8)) is not None:
        other[:] = 77
        others.append(other)
    assert others
    assert (got.payload == wanted).all()
    others.clear()
    with pytest.raises(ChannelClosedError, match="this subscriber"):
        subscriber.receive()
    del got
    assert publisher._segment.used_bytes == 0


# --- strangers at the address of a named channel ---


def garbage() -> Iterator[bytes]:
    yield b"[" * 4096
    yield b'{"a":' * 819
    yield b""
    yield b"\xff\xfe"
    yield b'{"version": 1, "role": ["publisher"]}'
    yield b'{"version": {}, "role": null}'
    yield b"1" * 4096
    rng = random.Random(7)
    for size in (1, 10, 100, 1000, 4096, 5000):
        yield rng.randbytes(size)


def say_to(name: str, datagram: bytes) -> None:
    """Returns once whoever listens has hung up."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
        stranger.settimeout(PATIENCE_SECS)
        stranger.connect(_address(name))
        if datagram:
            stranger.send(datagram)
        else:
            stranger.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while stranger.recv(4096):
                pass


@pytest.mark.parametrize("first", [Publisher, Subscriber])
def test_garbage_at_a_channels_address_does_not_end_the_rendezvous(
    channel_name: Callable[[], str], first: type[Publisher | Subscriber]
) -> None:
    name, other_name = channel_name(), channel_name()
    with first(name) as waiting:
        for datagram in garbage():
            say_to(name, datagram)
        # The peer it has waited for, and another channel of the same process.
        for known, second in ((waiting, Subscriber if first is Publisher else Publisher), (None, None)):
            with contextlib.ExitStack() as stack:
                if known is None or second is None:
                    sides: list[Any] = [stack.enter_context(Publisher(other_name))]
                    sides.append(stack.enter_context(Subscriber(other_name)))
                else:
                    sides = [known, stack.enter_context(second(name))]
                publisher = next(side for side in sides if isinstance(side, Publisher))
                subscriber = next(side for side in sides if isinstance(side, Subscriber))
                publisher.publish(RuntimeData.text("hello"), timeout=PATIENCE_SECS)
                got = subscriber.receive(PATIENCE_SECS)
                assert got is not None and got.payload == "hello"


# --- answers to what can never travel ---


@pytest.mark.parametrize("call", ["publish", "try_publish", "publish_async"])
def test_an_oversized_payload_to_a_closed_subscriber(channel: Channels, call: str) -> None:
    publisher, subscriber = channel(10, pool_bytes=4096)
    publisher.publish(block(1, 10))
    with pytest.raises(PayloadError, match="can never fit"):
        publisher.publish(block(1, 9000))
    subscriber.close()
    for _ in range(3):  # the first one to notice is no exception
        with pytest.raises(ChannelClosedError, match="the subscriber of channel"):
            if call == "publish_async":
                asyncio.run(publisher.publish_async(block(1, 9000)))
            else:
                getattr(publisher, call)(block(1, 9000))


def test_a_loan_of_the_whole_pool_whose_metadata_needs_room_too(channel: Channels) -> None:
    publisher, subscriber = channel(10, pool_bytes=POOL_BYTES)
    loaned = publisher.loan(POOL_BYTES, np.uint8)
    loaned[:] = 3
    data = RuntimeData.tensor(loaned, metadata={"words": "x" * 200})
    with pytest.raises(PayloadError, match="can never fit"):
        publisher.try_publish(data)
    with pytest.raises(PayloadError, match="can never fit"):
        publisher.publish(data, timeout=PATIENCE_SECS)
    # Metadata that fits the slot needs no room.
    publisher.publish(RuntimeData.tensor(loaned, metadata={"words": "x"}), timeout=0)
    del loaned, data
    got = subscriber.receive()
    assert got is not None and (got.payload == 3).all() and got.metadata == {"words": "x"}


# --- dtypes and shapes that no array has ---


def sizeless(kind: str) -> Any:
    return np.zeros(3, dtype=[("empty", f"{kind}0"), ("number", "<i4")])["empty"]


@pytest.mark.parametrize("kind", ["S", "U"])
def test_a_dtype_without_bytes_is_refused(channel: Channels, kind: str) -> None:
    array = sizeless(kind)
    assert array.dtype.itemsize == 0
    with pytest.raises(PayloadError):
        encode_dtype(array.dtype)
    publisher, subscriber = channel()
    with pytest.raises(PayloadError):
        publisher.publish(RuntimeData.tensor(array), timeout=0)
    for loan in (publisher.loan, publisher.try_loan):
        for dtype in (array.dtype, {"S": bytes, "U": str}[kind]):
            with pytest.raises(PayloadError):
                loan(1000, dtype)
    assert publisher._segment.used_bytes == 0
    assert subscriber.try_receive() is None


@pytest.mark.parametrize("text", [b"|S0", b"<U0", b">U0"])
def test_a_scribbled_dtype_without_bytes(text: bytes) -> None:
    with pytest.raises(ChannelCorruptedError):
        decode_dtype(text)


SLOTS_AT, SHAPE_AT = 4096, 64


@pytest.mark.parametrize("shape", [(0, 2**61, 2**61), (2**61, 0, 2**61)])
def test_a_scribbled_shape_that_is_empty_and_impossible(shape: tuple[int, ...]) -> None:
    ring_fd, memory_fd, bell_fd = _ring.create_ring(4), _ring.create_segment(65536, 1), _ring.create_segment(4096, 2)
    with mmap.mmap(ring_fd, os.fstat(ring_fd).st_size) as ring:
        own = _ring.Segment(os.dup(memory_fd), os.eventfd(0, os.EFD_NONBLOCK), True)
        mine = _ring.Segment(os.dup(bell_fd), os.eventfd(0, os.EFD_NONBLOCK), True)
        far = _ring.Segment(memory_fd, -1, False)
        producer = _ring.Producer(os.dup(ring_fd), FORM, own, _ring.Segment(bell_fd, -1, False))
        consumer = _ring.Consumer(ring_fd, FORM, mine, far, {1: far}, far)
        try:
            producer.put(RuntimeData.tensor(np.zeros((0, 3, 3), np.uint8)))
            at = SLOTS_AT + SHAPE_AT
            assert ring[at : at + 24] == struct.pack("<3Q", 0, 3, 3)
            ring[at : at + 24] = struct.pack("<3Q", *shape)
            for _ in range(2):
                with pytest.raises(ChannelCorruptedError):
                    consumer.take()
        finally:
            consumer.close()
            producer.close()
            own.close()
            mine.close()
