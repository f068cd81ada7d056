"""What does each operation on a message cost, without any waiting?

One thread holds both ends of a channel, so that no wake-up and no other core is part of a figure. What undoes an
operation (a receive after a publish, a drop after a loan) is outside of the time taken, except in the round trips.

    pytest bench --benchmark-enable
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import Publisher, Subscriber

SIZES = {"64 B": 64, "9.6 kB": 9_600, "192 kB": 192_000, "10 MB": 10_000_000}
ROUNDS = 2_000

Benchmark = Any
Channel = tuple[Publisher, Subscriber]

each_size = pytest.mark.parametrize("size", SIZES)
each_way = pytest.mark.parametrize("how", ["copied", "loaned"])


@pytest.fixture
def channel(request: pytest.FixtureRequest) -> Iterator[Channel]:
    name = f"bench-{request.node.name}"
    with Publisher(name) as publisher, Subscriber(name) as subscriber:
        yield publisher, subscriber


def message(publisher: Publisher, size: str, how: str) -> RuntimeData:
    array = np.empty(SIZES[size], np.uint8) if how == "copied" else publisher.loan(SIZES[size], np.uint8)
    array[:] = 1
    return RuntimeData.tensor(array, session_id="bench")


@each_size
@each_way
def test_publish_receive(benchmark: Benchmark, channel: Channel, size: str, how: str) -> None:
    publisher, subscriber = channel
    data = message(publisher, size, how)

    def once() -> None:
        publisher.publish(data)
        subscriber.receive()

    benchmark(once)
    now = publisher.statistics()
    assert now["bytes_copied"] == (now["bytes"] if how == "copied" else 0)


@each_size
@each_way
def test_publish(benchmark: Benchmark, channel: Channel, size: str, how: str) -> None:
    publisher, subscriber = channel
    data = message(publisher, size, how)

    def undo(data: RuntimeData) -> None:
        subscriber.receive()

    benchmark.pedantic(publisher.publish, (data,), rounds=ROUNDS, warmup_rounds=20, teardown=undo)


def test_receive(benchmark: Benchmark, channel: Channel) -> None:
    publisher, subscriber = channel
    data = message(publisher, "64 B", "loaned")
    benchmark.pedantic(subscriber.receive, setup=lambda: publisher.publish(data), rounds=ROUNDS, warmup_rounds=20)


def test_forward(benchmark: Benchmark, channel: Channel, request: pytest.FixtureRequest) -> None:
    """From one named channel to another: one copy, here of 192 kB. (Between the nodes of a session there is none.)"""
    publisher, subscriber = channel
    name = f"bench-{request.node.name}-onward"
    publisher.publish(message(publisher, "192 kB", "loaned"))
    data = subscriber.receive()
    with Publisher(name) as onward, Subscriber(name) as end:

        def once() -> None:
            onward.publish(data)
            end.receive()

        benchmark(once)


@each_size
def test_memcpy(benchmark: Benchmark, size: str) -> None:
    """The floor under "copied"."""
    source = np.ones(SIZES[size], np.uint8)
    target = np.empty_like(source)
    benchmark(np.copyto, target, source)


@each_size
def test_loan(benchmark: Benchmark, channel: Channel, size: str) -> None:
    """With the drop of the array, which gives its memory back."""
    publisher, _ = channel
    benchmark(publisher.loan, SIZES[size], np.uint8)


def test_runtime_data(benchmark: Benchmark) -> None:
    array = np.ones(16_000, np.float32)
    benchmark(RuntimeData.tensor, array, session_id="bench")


def test_runtime_data_audio(benchmark: Benchmark) -> None:
    array = np.ones(16_000, np.float32)
    benchmark(RuntimeData.audio, array, 16_000)


def test_as_numpy(benchmark: Benchmark, channel: Channel) -> None:
    publisher, subscriber = channel
    publisher.publish(message(publisher, "9.6 kB", "loaned"))
    data = subscriber.receive()
    assert data is not None
    benchmark(data.as_numpy)


def test_statistics(benchmark: Benchmark, channel: Channel) -> None:
    publisher, _ = channel
    benchmark(publisher.statistics)
