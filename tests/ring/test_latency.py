"""Where a latency is counted, and what a bucket says of the latencies in it."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import Any

import pytest

from remotemedia import _ring
from remotemedia.core.multiprocess.values.statistics import NodeStats

BUCKETS = _ring.LATENCY_BUCKETS
# The clock is read again where the latency is counted: what it was then is the segment's ``latency_max_ns``.
LATENCIES_NS = [0, 100, 5_000, 123_456, 1_000_000, 8_388_608, 77_777_777, 10**9, None]


def segment() -> _ring.Segment:
    eventfd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    return _ring.Segment(_ring.create_segment(4096, 1), eventfd, True)


def bounds_of(counters: dict[str, Any]) -> list[float]:
    return [bound for bound, _ in NodeStats.of("n", counters).latency_histogram()]


@pytest.mark.parametrize("latency_ns", LATENCIES_NS)
def test_a_latency_lies_in_its_bucket(latency_ns: int | None) -> None:
    counting = segment()
    now = counting.begin_processing()
    # None: as long as the clock goes back, which may well be beyond the last bucket.
    counting.count_processed(0 if latency_ns is None else now - latency_ns, now, False)
    counters = counting.counters()
    assert sum(counters["latency"]) == 1
    assert len(counters["latency"]) == BUCKETS
    bucket = counters["latency"].index(1)
    exact_secs = counters["latency_max_ns"] / 1e9
    bounds = bounds_of(counters)
    assert bucket == BUCKETS - 1 or exact_secs < bounds[bucket]
    assert bucket == 0 or exact_secs >= bounds[bucket - 1]
    counting.close()


def test_bounds_grow_by_an_eighth_at_most() -> None:
    counting = segment()
    bounds = bounds_of(counting.counters())
    counting.close()
    assert bounds[:9] == [n / 1e9 for n in range(1, 10)]
    assert bounds[-1] == 2**40 / 1e9
    assert all(low < high <= low * 1.125 for low, high in pairwise(bounds[7:]))


def test_quantiles() -> None:
    counting = segment()
    counters = counting.counters()
    counters["latency"] = [0] * BUCKETS
    # 90 messages below 1 us, 8 below 1 ms, 2 below 1 s.
    for bucket, count in ((63, 90), (143, 8), (223, 2)):
        counters["latency"][bucket] = count
    counters |= {"received": 100, "latency_max_ns": 10**9}
    stats = NodeStats.of("n", counters)
    assert stats.latency_p50_secs == 2**10 / 1e9
    assert stats.latency_p95_secs == 2**20 / 1e9
    assert stats.latency_p99_secs == 1.0  # never above the highest that was seen
    counting.close()


def test_processing_shows_from_begin_to_count() -> None:
    counting = segment()
    assert counting.counters()["processing_since_ns"] == 0
    started = counting.begin_processing()
    assert counting.counters()["processing_since_ns"] == started
    assert NodeStats.of("n", counting.counters()).current_secs > 0
    counting.count_processed(started, started, False)
    assert counting.counters()["processing_since_ns"] == 0
    counting.begin_processing()
    counting.count_busy(started)
    assert counting.counters()["processing_since_ns"] == 0
    counting.close()


def test_used_bytes_of_the_pool_show() -> None:
    counting = segment()
    blocks = [counting.loan(100), counting.loan(64)]
    assert counting.counters()["pool_used_bytes"] == counting.used_bytes == 128 + 64
    blocks.pop()
    assert counting.counters()["pool_used_bytes"] == 128
    blocks.clear()
    assert counting.counters()["pool_used_bytes"] == 0
    counting.close()
