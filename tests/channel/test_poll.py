"""One descriptor per subscriber, for select, poll, epoll and trio."""

from __future__ import annotations

import math
import select
from collections.abc import Callable
from typing import Any

import pytest
import trio

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import Publisher, Subscriber
from remotemedia.errors import ChannelClosedError

Channels = Callable[..., tuple[Publisher, Subscriber]]


def by_select(fd: int, timeout: float | None = None) -> bool:
    return bool(select.select([fd], [], [], timeout)[0])


def by_poll(fd: int, timeout: float | None = None) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(timeout))


def by_epoll(fd: int, timeout: float | None = None) -> bool:
    with select.epoll() as epoll:
        epoll.register(fd, select.EPOLLIN)
        return bool(epoll.poll(timeout))


def by_trio(fd: int, timeout: float | None = None) -> bool:
    async def wait() -> bool:
        with trio.move_on_after(math.inf if timeout is None else timeout):
            await trio.lowlevel.wait_readable(fd)
            return True
        return False

    return trio.run(wait)


WAYS = pytest.mark.parametrize("readable", [by_select, by_poll, by_epoll, by_trio])


@WAYS
def test_readable_when_a_message_comes(channel: Channels, readable: Callable[..., bool]) -> None:
    publisher, subscriber = channel()
    fd = subscriber.fileno()
    assert subscriber.fileno() == fd
    for number in range(5):
        assert subscriber.try_receive() is None
        assert not readable(fd, 0)
        publisher.publish(RuntimeData.text(str(number)))
        publisher.publish(RuntimeData.text(str(number)))
        assert readable(fd)
        for _ in range(2):
            got = subscriber.try_receive()
            assert got is not None
            assert got.payload == str(number)


@WAYS
def test_readable_at_once_when_messages_wait_already(channel: Channels, readable: Callable[..., bool]) -> None:
    publisher, subscriber = channel()
    publisher.publish(RuntimeData.text("x"))
    assert readable(subscriber.fileno())
    assert subscriber.try_receive() is not None


@WAYS
def test_readable_at_the_end_and_at_death(
    channel: Channels, child_python: Any, channel_name: Callable[[], str], readable: Callable[..., bool]
) -> None:
    publisher, subscriber = channel()
    assert subscriber.try_receive() is None
    fd = subscriber.fileno()
    publisher.close()
    assert readable(fd)
    while subscriber.try_receive() is not None:
        pass
    assert subscriber.ended
    name = channel_name()
    with Subscriber(name) as other:
        fd = other.fileno()
        child = child_python(
            "from remotemedia.core.multiprocessing import Publisher\np = Publisher(sys.argv[1])\nhear()", name
        )
        while other.statistics() is None:
            assert readable(fd)
            assert other.try_receive() is None
        child.kill()
        with pytest.raises(ChannelClosedError):
            while True:
                assert other.try_receive() is None
                assert readable(fd)


def test_across_processes_nothing_is_missed(child_python: Any, channel_name: Callable[[], str]) -> None:
    """The publisher runs freely; the subscriber sleeps only in poll."""
    name = channel_name()
    with Subscriber(name) as subscriber:
        fd = subscriber.fileno()
        child_python(
            """
            from remotemedia.core.data import RuntimeData
            from remotemedia.core.multiprocessing import Publisher
            with Publisher(sys.argv[1], 2) as publisher:
                for i in range(20_000):
                    publisher.publish(RuntimeData.text(str(i)))
            """,
            name,
        )
        expected = 0
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        while not subscriber.ended:
            poll.poll()
            while (got := subscriber.try_receive()) is not None:
                assert got.payload == str(expected)
                expected += 1
        assert expected == 20_000


def test_closed_has_no_descriptor(channel: Channels) -> None:
    _, subscriber = channel()
    subscriber.close()
    with pytest.raises(ValueError, match="closed"):
        subscriber.fileno()
