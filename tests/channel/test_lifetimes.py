"""Views and blocks: what is held stays as it is, what is dropped comes back, and holding is backpressure."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from remotemedia import _ring
from remotemedia.core.data import DataType, RuntimeData, decode_metadata, encode_metadata
from remotemedia.core.dtypes import decode_dtype, encode_dtype
from remotemedia.core.multiprocess.channel import subscriber as subscriber_module
from remotemedia.core.multiprocessing import Publisher, Subscriber
from remotemedia.errors import ChannelClosedError, ChannelError, ChannelFullError

Channels = Callable[..., tuple[Publisher, Subscriber]]

PATIENCE_SECS = 20
"""Nothing is expected to take this long: it makes one test fail where the watchdog would end the whole run."""

POOL_BYTES = 8192


def block(value: int, size: int = 4096) -> RuntimeData:
    return RuntimeData.tensor(np.full(size, value, np.uint8))


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]])
@pytest.mark.parametrize("other_thread", [False, True])
def test_dropping_any_view_wakes_the_blocked_publisher(
    channel: Channels, in_thread: Any, thread_blocked: Any, order: list[int], other_thread: bool
) -> None:
    publisher, subscriber = channel(10, pool_bytes=4 * 4096)
    held: dict[int, Any] = {}
    for value in range(4):
        publisher.publish(block(value))
        held[value] = subscriber.receive()
    for value in order:
        task = in_thread(lambda value=value: publisher.publish(block(10 + value)))
        thread_blocked(task.thread)
        assert all((data.payload == kept).all() for kept, data in held.items())
        if other_thread:
            in_thread(lambda value=value: held.pop(value)).result()
        else:
            del held[value]
        task.result()
        held[10 + value] = subscriber.receive()
    assert all((data.payload == kept).all() for kept, data in held.items())
    assert publisher.statistics()["blocked_count"] >= 4


def test_full_pool_is_backpressure_not_garbage(channel: Channels) -> None:
    publisher, subscriber = channel(10, pool_bytes=2 * 4096)
    publisher.publish(block(1))
    publisher.publish(block(2))
    held = [subscriber.receive(), subscriber.receive()]
    assert not publisher.try_publish(block(3))
    assert publisher.try_loan(4096, np.uint8) is None
    with pytest.raises(
        ChannelFullError,
        match=r"had no room for 0 s \(8,192 of 8,192 bytes in use\): 2 payloads are not given back by its subscriber "
        rf"\(pid {os.getpid()}\), the oldest, of 4,096 bytes, for \d+\.\d s",
    ):
        publisher.publish(block(3), timeout=0)
    assert [int(data.payload[0]) for data in held] == [1, 2]  # type: ignore[union-attr, arg-type]


def test_a_pool_full_of_loans_is_not_blamed_on_the_subscriber(channel: Channels) -> None:
    publisher, _ = channel(10, pool_bytes=2 * 4096)
    loans = [publisher.loan(4096, np.uint8) for _ in range(2)]
    with pytest.raises(ChannelFullError, match=r"in use\): nothing of it was published, all is on loan here$"):
        publisher.publish(block(3), timeout=0)
    assert len(loans) == 2


def test_full_ring_names_who_does_not_take(channel: Channels, channel_name: Callable[[], str]) -> None:
    publisher, _ = channel(1)
    publisher.publish(block(1))
    with pytest.raises(
        ChannelFullError,
        match=r"full for .* \(1 messages\): its subscriber \(pid \d+\) has not taken message 0 for .*; it is busy",
    ):
        publisher.publish(block(1), timeout=0.001)
    with Publisher(channel_name(), 1) as alone:
        alone.publish(block(1))
        with pytest.raises(ChannelFullError, match=r"a subscriber that never came"):
            alone.publish(block(1), timeout=0)


def test_loan_is_published_without_a_copy_and_becomes_read_only(channel: Channels) -> None:
    publisher, subscriber = channel()
    loaned = publisher.loan((100, 100), "f4")
    loaned[:] = 7
    publisher.publish(RuntimeData.tensor(loaned))
    assert not loaned.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        loaned[0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        loaned.flags.writeable = True
    got = subscriber.receive()
    assert got is not None
    assert (got.payload == 7).all()
    assert publisher.statistics()["bytes"] == 40_000
    assert publisher.statistics()["bytes_copied"] == 0


def test_loan_not_published_is_free_again(channel: Channels) -> None:
    publisher, _ = channel(10, pool_bytes=4096)
    for _ in range(10):
        loaned = publisher.loan(4096, np.uint8)
        loaned[:] = 1
        del loaned


def test_received_views_are_read_only(channel: Channels) -> None:
    publisher, subscriber = channel()
    publisher.publish(block(1))
    publisher.publish(RuntimeData(DataType.TENSOR, b"abc"))
    array, raw = subscriber.receive(), subscriber.receive()
    assert array is not None
    assert raw is not None
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.payload.flags.writeable = True  # type: ignore[union-attr]
    with pytest.raises(TypeError, match="read-only"):
        raw.payload[0] = 1  # type: ignore[index]
    with pytest.raises(ValueError, match="WRITEABLE"):
        raw.as_numpy().flags.writeable = True


def test_writable_in_place_or_as_a_copy(channel: Channels) -> None:
    publisher, subscriber = channel()
    publisher.publish(block(1))
    got = subscriber.receive()
    assert got is not None
    mine = got.as_numpy(writable=True)
    mine[:] = 2
    assert (got.as_numpy() == 2).all()
    loaned = publisher.loan(10, np.uint8)
    loaned[:] = 3
    publisher.publish(RuntimeData.tensor(loaned))
    got = subscriber.receive()
    assert got is not None
    copy = got.as_numpy(writable=True)  # the publisher still holds it
    copy[:] = 4
    assert not np.shares_memory(copy, loaned)
    assert (loaned == 3).all()
    assert (got.as_numpy() == 3).all()
    del loaned
    mine = got.as_numpy(writable=True)
    mine[:] = 5
    assert (got.as_numpy() == 5).all()


def test_views_outlive_both_closes(channel: Channels) -> None:
    publisher, subscriber = channel()
    publisher.publish(block(5))
    got = subscriber.receive()
    publisher.close()
    subscriber.close()
    assert got is not None
    part = got.as_numpy()[10:20]
    del got
    assert part.tolist() == [5] * 10


def test_unread_messages_come_back_when_the_subscriber_closes(channel: Channels) -> None:
    publisher, subscriber = channel(10, pool_bytes=4 * 4096)
    for value in range(4):
        publisher.publish(block(value))
    subscriber.close()
    assert publisher.statistics()["pool_used_bytes"] == 0


def test_many_views_of_one_payload(channel: Channels) -> None:
    publisher, subscriber = channel(10, pool_bytes=4096)
    publisher.publish(block(9))
    got = subscriber.receive()
    assert got is not None
    views = [got.as_numpy()[i:] for i in range(100)]
    del got
    for i in range(0, 100, 2):
        assert (views[i] == 9).all()
    while len(views) > 1:
        views.pop(len(views) // 2)
        assert not publisher.try_publish(block(1))
    views.clear()
    assert publisher.try_publish(block(1))


def test_payload_that_is_almost_the_pool(channel: Channels) -> None:
    """Again and again, with and without smaller ones between."""
    publisher, subscriber = channel(10, pool_bytes=1 << 20)
    for size in (1 << 20, (1 << 20) - 1, (1 << 20) - 100, 10, 1 << 20):
        publisher.publish(block(size % 256, size))
        got = subscriber.receive()
        assert got is not None
        assert got.size == size
        assert (got.payload == size % 256).all()
        del got


def test_two_threads_on_one_side_get_a_clear_error(channel: Channels, in_thread: Any, thread_blocked: Any) -> None:
    publisher, subscriber = channel(1)
    task = in_thread(subscriber.receive)
    thread_blocked(task.thread)
    with pytest.raises(ChannelError, match="in use by another thread"):
        subscriber.receive()
    publisher.publish(block(1))
    assert task.result() is not None
    publisher.publish(block(2))
    task = in_thread(lambda: publisher.publish(block(3)))
    thread_blocked(task.thread)
    with pytest.raises(ChannelError, match="in use by another thread"):
        publisher.publish(block(4))
    assert subscriber.receive().as_numpy()[0] == 2  # type: ignore[union-attr]
    task.result()
    assert subscriber.receive().as_numpy()[0] == 3  # type: ignore[union-attr]


@pytest.mark.parametrize("which", ["receive", "receive before the publisher came", "publish", "memory", "loan"])
def test_close_from_another_thread_wakes(
    channel: Channels, channel_name: Callable[[], str], in_thread: Any, thread_blocked: Any, which: str
) -> None:
    if which == "receive before the publisher came":
        subscriber = Subscriber(channel_name())
        task = in_thread(subscriber.receive)
        subscriber.close()
    elif which == "receive":
        _, subscriber = channel()
        task = in_thread(subscriber.receive)
        thread_blocked(task.thread)
        subscriber.close()
    else:
        publisher, _ = channel(1 if which == "publish" else 10, pool_bytes=4096)
        publisher.publish(block(1))
        task = in_thread(
            (lambda: publisher.loan(10, "f4")) if which == "loan" else (lambda: publisher.publish(block(2)))
        )
        thread_blocked(task.thread)
        publisher.close()
    with pytest.raises(ChannelClosedError, match=r"this (publisher|subscriber) of channel .* is closed"):
        task.result()


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
                task = asyncio.create_task(publisher.publish_async(block(value, POOL_BYTES)))
                while not publisher.statistics()["waiting"]:
                    await asyncio.sleep(0)
                held.clear()
                await task
                got = subscriber.try_receive()
                assert got is not None and (got.payload == value).all()
                del got
                held.append(own_view(publisher, subscriber, how))
        held.clear()

    asyncio.run(main())
    assert publisher.statistics()["pool_used_bytes"] == 0


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
            publisher.publish(block(2, POOL_BYTES), timeout=PATIENCE_SECS)

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
        assert publisher.statistics()["pool_used_bytes"] == 0


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
    assert publisher.statistics()["pool_used_bytes"] > 0
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
    assert publisher.statistics()["pool_used_bytes"] == 0
