"""What does one publish and one receive cost, without any waiting?

One thread holds both ends of a channel and sends itself one message at a time, so that no wake-up and no other core is
part of the figure. "loaned" publishes an array that lies in shared memory already; its contents are not rewritten.

    pytest bench --benchmark-enable
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import Publisher, Subscriber

SIZES = {"64 B": 64, "9.6 kB": 9_600, "192 kB": 192_000, "10 MB": 10_000_000}


@pytest.fixture
def channel(request: pytest.FixtureRequest) -> Iterator[tuple[Publisher, Subscriber]]:
    name = f"bench-{request.node.name}"
    with Publisher(name) as publisher, Subscriber(name) as subscriber:
        yield publisher, subscriber


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("how", ["copied", "loaned"])
def test_publish_receive(
    benchmark: Callable[..., Any], channel: tuple[Publisher, Subscriber], size: str, how: str
) -> None:
    publisher, subscriber = channel
    count = SIZES[size]
    if how == "copied":
        array = np.ones(count, np.uint8)
    else:
        array = publisher.loan(count, np.uint8)
        array[:] = 1
    data = RuntimeData.tensor(array, session_id="bench")

    def once() -> None:
        publisher.publish(data)
        subscriber.receive()

    benchmark(once)
    now = publisher.statistics()
    assert now["bytes_copied"] == (now["bytes"] if how == "copied" else 0)


@pytest.mark.parametrize("size", SIZES)
def test_memcpy(benchmark: Callable[..., Any], size: str) -> None:
    """The floor under "copied"."""
    source = np.ones(SIZES[size], np.uint8)
    target = np.empty_like(source)
    benchmark(np.copyto, target, source)


def test_loan(benchmark: Callable[..., Any], channel: tuple[Publisher, Subscriber]) -> None:
    publisher, _ = channel
    benchmark(publisher.loan, (16_000,), np.float32)


def test_statistics(benchmark: Callable[..., Any], channel: tuple[Publisher, Subscriber]) -> None:
    publisher, _ = channel
    benchmark(publisher.statistics)
