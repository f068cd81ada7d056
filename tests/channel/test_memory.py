"""Pool memory that is not needed goes back to the kernel, and what is held stays as it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from remotemedia import _ring
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocess.channel.form import FORM

MB = 1_000_000
KEPT_BYTES = 4 << 20

Channels = Callable[..., Any]


def resident_bytes() -> int:
    """What all segments mapped here take up, by the kernel's books."""
    total, ours = 0, False
    with Path("/proc/self/smaps").open() as lines:
        for line in lines:
            word = line.split()
            if "-" in word[0]:
                ours = "memfd:remotemedia-segment" in line
            elif ours and word[0] == "Rss:":
                total += int(word[1]) * 1024
    return total


def burst(publisher: Any, subscriber: Any, count: int, size: int) -> list[Any]:
    for number in range(count):
        publisher.publish(RuntimeData.tensor(np.full(size, number, np.uint8)))
    return [subscriber.receive().payload for _ in range(count)]


def test_after_a_burst_memory_goes_back(channel: Channels) -> None:
    publisher, subscriber = channel(20, pool_bytes=256 * MB)
    before = resident_bytes()
    views = burst(publisher, subscriber, 10, 10 * MB)
    assert resident_bytes() - before >= 100 * MB
    kept = views.pop(5)
    views.clear()
    assert publisher.statistics()["pool_used_bytes"] < 11 * MB
    assert publisher._segment.idle_bytes <= KEPT_BYTES
    assert resident_bytes() - before < 20 * MB
    assert (kept == 5).all()  # what lies between what was given back is untouched


def test_an_asyncio_publisher_at_rest_gives_back_what_returns_while_it_sleeps(channel: Channels) -> None:
    """Nobody of its own process does anything: the returned blocks wake it, once, and it sleeps again."""
    publisher, subscriber = channel(20, pool_bytes=256 * MB)
    before = resident_bytes()
    views = burst(publisher, subscriber, 10, 10 * MB)

    async def main() -> None:
        sleeping = asyncio.create_task(publisher._doorbell.wait(lambda: False))
        await asyncio.sleep(0)  # it runs until it sleeps
        views.clear()  # the other side of the channel, as it were in another process
        await sleeping

    asyncio.run(main())
    assert publisher._segment.idle_bytes <= KEPT_BYTES
    assert resident_bytes() - before < 20 * MB


def test_a_steady_stream_soon_keeps_what_it_needs() -> None:
    """Given back and needed again within a second: kept from then on, so page faults are paid a few times only."""
    segment = _ring.Segment(_ring.create_segment(256 * MB, 0), -1, True)
    faulted = []
    for _ in range(12):
        array = segment.try_loan(25 * MB, np.uint8, FORM)
        before = resident_bytes()
        array[:] = 1
        faulted.append(resident_bytes() - before > MB)
        del array
        assert segment.used_bytes == 0
    assert faulted[0]
    assert faulted[1]
    assert not any(faulted[-4:])


@pytest.mark.parametrize("order", ["first", "last", "odd"])
def test_only_what_is_free_is_given_back(order: str) -> None:
    segment = _ring.Segment(_ring.create_segment(64 * MB, 0), -1, True)
    arrays = {number: segment.try_loan(4 * MB + 100 * number, np.uint8, FORM) for number in range(12)}
    for number, array in arrays.items():
        array[:] = number + 1
    for number in {"first": range(6), "last": range(6, 12), "odd": range(1, 12, 2)}[order]:
        del arrays[number]
    del array
    assert segment.idle_bytes <= KEPT_BYTES
    assert all((array == number + 1).all() for number, array in arrays.items())
    arrays.clear()
    whole = segment.try_loan(segment.pool_bytes, np.uint8, FORM)
    assert whole is not None
