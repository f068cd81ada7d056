"""Named channels with both ends in this process, closed after the test."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import Publisher, Subscriber

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def _nothing_left(leak_check: None) -> None:
    """Every test here gives back what it took."""


@pytest.fixture
def channel_name() -> Callable[[], str]:
    """Names nobody else uses."""
    return lambda: f"test-{os.getpid()}-{next(_numbers)}"


@pytest.fixture
def channel(
    _nothing_left: None, channel_name: Callable[[], str]
) -> Iterator[Callable[..., tuple[Publisher, Subscriber]]]:
    """``channel(capacity, pool_bytes=..., spin_us=...)`` opens a publisher and its subscriber."""
    opened: list[tuple[Publisher, Subscriber]] = []

    def open_channel(capacity: int = 10, **options: Any) -> tuple[Publisher, Subscriber]:
        name = channel_name()
        # In this order the subscriber has met the publisher when its constructor returns; in the other, it meets it in
        # another thread, some time later, and until then a receive that does not wait finds nothing.
        publisher = Publisher(name, capacity, **options)
        subscriber = Subscriber(name, spin_us=options.get("spin_us", 20))
        opened.append((publisher, subscriber))
        return publisher, subscriber

    yield open_channel
    while opened:
        for side in opened.pop():
            side.close()
        del side


@pytest.fixture
def tensor() -> Callable[..., RuntimeData]:
    """``tensor(value, size)``: bytes all of one value."""

    def make(value: int = 0, size: int = 64, **fields: Any) -> RuntimeData:
        return RuntimeData.tensor(np.full(size, value % 251, np.uint8), **fields)

    return make
