"""Counters that everybody may read at any time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import Publisher, Subscriber

Channels = Callable[..., tuple[Publisher, Subscriber]]


def test_counters(channel: Channels, in_thread: Any, thread_blocked: Any) -> None:
    publisher, subscriber = channel(3)
    publisher.publish(RuntimeData.text("ä"))
    loaned = publisher.loan(1000, np.uint8)
    publisher.publish(RuntimeData.tensor(loaned))
    publisher.publish(RuntimeData.tensor(np.zeros(10)))
    assert not publisher.try_publish(RuntimeData.text("x"))
    publisher._drop()
    task = in_thread(lambda: publisher.publish(RuntimeData.text("")))
    thread_blocked(task.thread)
    since_ns = publisher.statistics()["blocked_since_ns"]
    assert 0 < since_ns <= time.monotonic_ns()
    assert publisher.statistics()["blocked_ns"] == 0
    assert subscriber.receive() is not None
    task.result()
    now = publisher.statistics()
    assert now == subscriber.statistics()
    assert now.pop("blocked_ns") > 0
    assert now == {
        "published": 4,
        "received": 1,
        "bytes": 2 + 1000 + 80,
        "bytes_copied": 2 + 80,
        "occupancy": 3,
        "capacity": 3,
        "high_water": 3,
        "drops": 1,
        "blocked_count": 1,
        "blocked_memory_ns": 0,
        "blocked_since_ns": 0,
        "blocked_for_memory": False,
        "producer_closed": False,
        "consumer_closed": False,
        "waiting": 0,
        "pool_used_bytes": 1024 + 128,
    }
    publisher.close()
    assert subscriber.statistics()["producer_closed"]  # type: ignore[index]


def test_a_wait_for_memory_is_told_from_one_for_room(channel: Channels, in_thread: Any, thread_blocked: Any) -> None:
    publisher, subscriber = channel(4, pool_bytes=4096)
    publisher.publish(RuntimeData.tensor(np.zeros(4096, np.uint8)))
    task = in_thread(lambda: publisher.publish(RuntimeData.text("x")))
    thread_blocked(task.thread)
    assert publisher.statistics()["blocked_since_ns"]
    assert publisher.statistics()["blocked_for_memory"]
    assert subscriber.receive() is not None
    task.result()
    now = publisher.statistics()
    assert now["blocked_memory_ns"] == now["blocked_ns"] > 0


def test_while_one_of_two_tasks_still_waits_the_channel_is_blocked(channel: Channels) -> None:
    publisher, subscriber = channel(1)
    publisher.publish(RuntimeData.text("0"))

    async def main() -> None:
        waiting = [asyncio.create_task(publisher.publish_async(RuntimeData.text("x"))) for _ in range(2)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting[0]
        assert publisher.statistics()["blocked_since_ns"] > 0
        subscriber.receive()
        await waiting[1]
        assert publisher.statistics()["blocked_since_ns"] == 0

    asyncio.run(main())


def test_tasks_that_sleep_are_counted_on_their_side(channel: Channels) -> None:
    publisher, subscriber = channel(1)

    def waiting() -> tuple[int, int]:
        received = subscriber.statistics()
        assert received is not None
        return publisher.statistics()["waiting"], received["waiting"]

    async def main() -> None:
        assert waiting() == (0, 0)
        receiving = asyncio.create_task(subscriber.receive_async())
        await asyncio.sleep(0)
        assert waiting() == (0, 1)
        publisher.publish(RuntimeData.text("0"))
        assert await receiving is not None
        publisher.publish(RuntimeData.text("1"))
        sending = [asyncio.create_task(publisher.publish_async(RuntimeData.text("x"))) for _ in range(3)]
        await asyncio.sleep(0)
        assert waiting() == (3, 0)
        cancelled = sending.pop()
        cancelled.cancel()
        await asyncio.wait([cancelled])
        assert waiting() == (2, 0)
        for _ in range(2):
            await subscriber.receive_async()
        await asyncio.wait(sending, return_when=asyncio.FIRST_COMPLETED)
        await subscriber.receive_async()
        await asyncio.gather(*sending)
        assert waiting() == (0, 0)

    asyncio.run(main())


def test_pool_memory_in_use_is_on_loan_published_or_held(channel: Channels) -> None:
    publisher, subscriber = channel(4, pool_bytes=64 * 1024)

    def used() -> int:
        return publisher.statistics()["pool_used_bytes"]

    assert used() == 0
    loaned = publisher.loan(4096, np.uint8)
    assert used() == 4096
    publisher.publish(RuntimeData.tensor(loaned))
    publisher.publish(RuntimeData.tensor(np.zeros(1024, np.uint8)))
    del loaned
    assert used() == 4096 + 1024
    held = [subscriber.receive(), subscriber.receive()]
    assert used() == 4096 + 1024
    held.pop()
    # The subscriber knows what the publisher last counted.
    assert subscriber.statistics()["pool_used_bytes"] == 4096 + 1024  # type: ignore[index]
    assert used() == 4096
    assert subscriber.statistics()["pool_used_bytes"] == 4096  # type: ignore[index]
    held.clear()
    assert used() == 0


def test_try_publish_that_fails_is_not_a_drop(channel: Channels) -> None:
    """Whoever gives the message up counts it; trying again later loses nothing."""
    publisher, _ = channel(1)
    publisher.publish(RuntimeData.text("x"))
    for _ in range(5):
        publisher.try_publish(RuntimeData.text("x"))
    assert publisher.statistics()["drops"] == 0
    publisher._drop()
    assert publisher.statistics()["drops"] == 1


def test_before_the_publisher_came(channel_name: Callable[[], str]) -> None:
    with Subscriber(channel_name()) as subscriber:
        assert subscriber.statistics() is None
        assert subscriber.try_receive() is None
        assert not subscriber.ended
        assert not subscriber.ready()
        assert subscriber.receive(timeout=0) is None


def test_sequence_epoch_and_time(channel: Channels) -> None:
    publisher, subscriber = channel()
    for number in range(3):
        before = time.monotonic_ns()
        asyncio.run(publisher.publish_async(RuntimeData.text("x"), epoch=number))
        got = subscriber.receive()
        assert got is not None
        assert got.sequence == number
        assert subscriber._last_epoch == number
        assert before <= subscriber._last_published_ns <= time.monotonic_ns()


@pytest.mark.parametrize("side", ["publisher", "subscriber"])
def test_repr_and_context(channel_name: Callable[[], str], side: str) -> None:
    name = channel_name()
    with (Publisher if side == "publisher" else Subscriber)(name) as one:
        assert name in repr(one)
        assert "closed" not in repr(one)
    assert "closed" in repr(one)
