"""Views and blocks: what is held stays as it is, what is dropped comes back, and holding is backpressure."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.multiprocessing import Publisher, Subscriber
from remotemedia.errors import ChannelClosedError, ChannelError, ChannelFullError

Channels = Callable[..., tuple[Publisher, Subscriber]]


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
    assert publisher._segment.used_bytes == 0


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
