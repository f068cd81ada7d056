"""asyncio: waiting, cancelling, several waiters, several loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import Publisher, Subscriber
from remotemedia.errors import ChannelClosedError

Channels = Callable[..., tuple[Publisher, Subscriber]]


async def waiting(side: Publisher | Subscriber, count: int = 1) -> None:
    """Returns once ``count`` tasks sleep on this side."""
    while (counters := side.statistics()) is None or counters["waiting"] < count:
        await asyncio.sleep(0)


def text(number: int) -> RuntimeData:
    return RuntimeData.text(str(number))


def block(value: int) -> RuntimeData:
    return RuntimeData.tensor(np.full(4096, value, np.uint8))


def test_receive_waits_and_wakes(channel: Channels) -> None:
    publisher, subscriber = channel()

    async def run() -> None:
        for number in range(5):
            task = asyncio.create_task(subscriber.receive_async())
            await waiting(subscriber)
            publisher.publish(text(number))
            got = await task
            assert got is not None
            assert got.payload == str(number)
        publisher.close()
        assert await subscriber.receive_async() is None

    asyncio.run(run())


def test_iteration(channel: Channels) -> None:
    publisher, subscriber = channel(2)

    async def send() -> None:
        for number in range(100):
            await publisher.publish_async(text(number))
        publisher.close()

    async def run() -> None:
        task = asyncio.create_task(send())
        assert [data.payload async for data in subscriber] == [str(n) for n in range(100)]
        await task

    asyncio.run(run())


def test_one_subscriber_in_two_loops(channel: Channels) -> None:
    publisher, subscriber = channel(2)

    async def once(number: int) -> None:
        task = asyncio.create_task(subscriber.receive_async())
        await waiting(subscriber)
        await publisher.publish_async(text(number))
        got = await task
        assert got is not None
        assert got.payload == str(number)
        # Left waiting when the loop ends: cancelled with it.
        task = asyncio.create_task(subscriber.receive_async())
        await waiting(subscriber)

    for number in range(3):
        asyncio.run(once(number))
    publisher.publish(text(9))
    assert subscriber.receive() is not None


def test_cancelled_receive_loses_nothing(channel: Channels) -> None:
    publisher, subscriber = channel(10)

    async def run() -> None:
        for number in range(10):
            task = asyncio.create_task(subscriber.receive_async())
            await waiting(subscriber)
            if number % 2:
                publisher.publish(text(number))  # rung, and cancelled before it could look
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert subscriber.statistics()["waiting"] == 0  # type: ignore[index]
            got = subscriber.try_receive()
            assert (got is None) == (number % 2 == 0)
            assert got is None or got.payload == str(number)

    asyncio.run(run())


def test_cancelled_publish_sent_nothing(channel: Channels) -> None:
    publisher, subscriber = channel(1)

    async def run() -> None:
        await publisher.publish_async(text(0))
        for number in range(1, 5):
            task = asyncio.create_task(publisher.publish_async(text(100 + number)))
            await waiting(publisher)
            if number % 2:
                assert subscriber.try_receive() is not None  # there is room now, but nobody looked yet
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                await publisher.publish_async(text(number))
            else:
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
        got = subscriber.try_receive()
        assert got is not None
        assert got.payload == "3"
        assert subscriber.try_receive() is None

    asyncio.run(run())


@pytest.mark.parametrize("why", ["room", "memory"])
def test_one_publisher_giving_up_does_not_strand_the_others(channel: Channels, why: str) -> None:
    publisher, subscriber = channel(1) if why == "room" else channel(10, pool_bytes=4096)

    async def run() -> None:
        await publisher.publish_async(block(0))
        stays = asyncio.create_task(publisher.publish_async(block(1)))
        await waiting(publisher)
        leaves = asyncio.create_task(publisher.publish_async(block(2)))
        await waiting(publisher, 2)
        leaves.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaves
        got = await subscriber.receive_async()
        assert got is not None
        del got
        await stays
        got = await subscriber.receive_async()
        assert got is not None
        assert got.as_numpy()[0] == 1

    asyncio.run(run())


@pytest.mark.parametrize("why", ["room", "memory"])
def test_many_publishers_at_once(channel: Channels, why: str) -> None:
    publisher, subscriber = channel(1) if why == "room" else channel(10, pool_bytes=4096)

    async def run() -> None:
        tasks = [asyncio.create_task(publisher.publish_async(block(n))) for n in range(20)]
        seen = []
        for _ in range(20):
            got = await subscriber.receive_async()
            assert got is not None
            seen.append(int(got.as_numpy()[0]))
            del got
        await asyncio.gather(*tasks)
        assert sorted(seen) == list(range(20))

    asyncio.run(run())


@pytest.mark.parametrize("from_thread", [False, True])
def test_dropping_a_view_wakes_a_publisher_that_waits_for_memory(
    channel: Channels, in_thread: Callable[..., Any], from_thread: bool
) -> None:
    publisher, subscriber = channel(10, pool_bytes=8192)

    async def run() -> None:
        await publisher.publish_async(block(0))
        await publisher.publish_async(block(1))
        held = [subscriber.receive(), subscriber.receive()]
        task = asyncio.create_task(publisher.publish_async(block(2)))
        await waiting(publisher)
        if from_thread:
            in_thread(lambda: held.pop(1)).result()
        else:
            held.pop(1)
        await task
        assert subscriber.receive().as_numpy()[0] == 2  # type: ignore[union-attr]
        assert (held[0].as_numpy() == 0).all()  # type: ignore[union-attr]

    asyncio.run(run())


@pytest.mark.parametrize("side", ["subscriber", "publisher", "publisher in memory"])
def test_closing_this_side_wakes_its_waiters(channel: Channels, side: str) -> None:
    publisher, subscriber = channel(1) if "memory" not in side else channel(10, pool_bytes=4096)

    async def run() -> None:
        if side == "subscriber":
            task = asyncio.ensure_future(subscriber.receive_async())
            await waiting(subscriber)
            subscriber.close()
        else:
            publisher.publish(block(0))
            task = asyncio.ensure_future(publisher.publish_async(block(1)))  # type: ignore[assignment]
            await waiting(publisher)
            publisher.close()
        with pytest.raises(ChannelClosedError, match=f"this {side.split()[0]}"):
            await task

    asyncio.run(run())


def test_timeouts_of_asyncio(channel: Channels) -> None:
    publisher, subscriber = channel(1)

    async def run() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(subscriber.receive_async(), 0.001)
        publisher.publish(text(0))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(publisher.publish_async(text(1)), 0.001)
        assert (await subscriber.receive_async()).payload == "0"  # type: ignore[union-attr]
        assert subscriber.try_receive() is None

    asyncio.run(run())


def test_no_wait_where_none_is_needed(channel: Channels) -> None:
    """Neither side gives other tasks a turn while it can go on at once."""
    publisher, subscriber = channel(10)

    def run_to_end(coroutine: Any) -> Any:
        with pytest.raises(StopIteration) as stopped:
            coroutine.send(None)
        return stopped.value.value

    run_to_end(publisher.publish_async(text(1)))
    assert run_to_end(subscriber.receive_async()).payload == "1"


def test_publisher_that_comes_later_wakes(channel_name: Callable[[], str]) -> None:
    name = channel_name()

    async def run() -> None:
        with Subscriber(name) as subscriber:
            task = asyncio.create_task(subscriber.receive_async())
            await asyncio.sleep(0)  # it runs until it sleeps
            with Publisher(name) as publisher:
                publisher.publish(text(1))
                got = await task
                assert got is not None
                assert got.payload == "1"

    asyncio.run(run())


def test_a_waiter_that_gives_up_leaves_the_others_told_of_memory(channel: Channels) -> None:
    """Two wait while much is out; it comes back when only one is left, who then gives it to the kernel."""
    publisher, subscriber = channel(pool_bytes=64 << 20)

    async def run() -> None:
        publisher.publish(RuntimeData.tensor(np.ones(8 << 20, np.uint8)))
        held = [subscriber.receive()]
        stays, leaves = (asyncio.create_task(publisher._doorbell.wait(lambda: False)) for _ in range(2))
        await asyncio.sleep(0)  # both run until they sleep
        leaves.cancel()
        await asyncio.gather(leaves, return_exceptions=True)
        held.clear()
        await stays

    asyncio.run(run())
    assert publisher._segment.idle_bytes == 0
