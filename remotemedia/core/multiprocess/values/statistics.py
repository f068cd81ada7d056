"""What a session's channels and nodes have done so far. Counters live in shared memory; reading them costs nobody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from remotemedia import _ring

__all__ = ["ChannelStats", "NodeStats"]


@dataclass(frozen=True)
class ChannelStats:
    """One channel.

    Attributes:
        name: such as ``"asr_to_tts"``.
        message_count: messages published.
        bytes_transferred: their payloads together, in bytes.
        bytes_copied: how many of those were copied rather than handed over.
        current_occupancy: messages published and not yet received.
        capacity: messages it holds.
        high_water_mark: the most it was seen to hold at once, by either side or by a caller of the statistics.
        blocked_count, blocked_secs: how often and how long its publisher waited for room, in waits that are over.
        drops: messages given up because it was full (``enable_backpressure=False``).
        publisher, subscriber: the nodes at its ends; ``"session"`` is the orchestrator.
        blocked_by: the subscriber, when the publisher ever waited for it to take a message; None when it never did.
        blocked_memory_secs: how much of ``blocked_secs`` was for payload memory, which any node downstream may hold.
        blocked_now_secs: how long the wait under way has lasted; 0 when the publisher does not wait.
    """

    name: str
    message_count: int
    bytes_transferred: int
    bytes_copied: int
    current_occupancy: int
    capacity: int
    high_water_mark: int
    blocked_count: int
    blocked_secs: float
    drops: int
    publisher: str
    subscriber: str
    blocked_by: str | None
    blocked_memory_secs: float
    blocked_now_secs: float

    @classmethod
    def of(cls, name: str, publisher: str, subscriber: str, counters: _ring.ChannelCounters) -> ChannelStats:
        """From a ring's counters."""
        blocked_now_secs = _secs_since(counters["blocked_since_ns"])
        waited_for_subscriber = counters["blocked_ns"] > counters["blocked_memory_ns"] or (
            blocked_now_secs > 0 and not counters["blocked_for_memory"]
        )
        return cls(
            name,
            counters["published"],
            counters["bytes"],
            counters["bytes_copied"],
            counters["occupancy"],
            counters["capacity"],
            counters["high_water"],
            counters["blocked_count"],
            counters["blocked_ns"] / 1e9,
            counters["drops"],
            publisher,
            subscriber,
            subscriber if waited_for_subscriber else None,
            counters["blocked_memory_ns"] / 1e9,
            blocked_now_secs,
        )


@dataclass(frozen=True)
class NodeStats:
    """One node.

    Attributes:
        node_id: the node.
        messages: messages it has handled.
        published: messages it has put out, counted once however many nodes take them.
        failures: messages whose ``process()`` raised.
        drops: outputs given up because a channel was full (``enable_backpressure=False``).
        unrouted: outputs on ports that nothing is connected to.
        busy_secs: time in ``process()`` and ``finish()``, without waiting for room downstream.
        latency_mean_secs, latency_max_secs: from being published upstream to being handled.
        latency_p50_secs, latency_p95_secs, latency_p99_secs: the same, to an eighth (12.5 %) above.
        latency_buckets: messages by latency; ``latency_histogram()`` says where each bucket ends.
        latency_sum_secs: all latencies together.
        current_secs: how long it has been at the message at hand, room downstream awaited or not; 0 when at none.
    """

    node_id: str
    messages: int
    published: int
    failures: int
    drops: int
    unrouted: int
    busy_secs: float
    latency_mean_secs: float
    latency_max_secs: float
    latency_p50_secs: float
    latency_p95_secs: float
    latency_p99_secs: float
    latency_buckets: tuple[int, ...]
    latency_sum_secs: float
    current_secs: float

    def latency_histogram(self) -> list[tuple[float, int]]:
        """For each bucket the latency in seconds that its messages stayed below, and how many they are.

        Eight buckets to each power of two of nanoseconds; the last one also has what took longer.
        """
        return list(zip(_BOUNDS_SECS, self.latency_buckets, strict=True))

    @classmethod
    def of(cls, node_id: str, counters: _ring.NodeCounters) -> NodeStats:
        """From a segment's counters."""
        received = counters["received"]
        highest = counters["latency_max_ns"] / 1e9
        buckets = tuple(counters["latency"])
        return cls(
            node_id,
            received,
            counters["published"],
            counters["failed"],
            counters["dropped"],
            counters["unrouted"],
            counters["busy_ns"] / 1e9,
            counters["latency_sum_ns"] / 1e9 / received if received else 0.0,
            highest,
            min(_quantile_secs(buckets, 0.50), highest),
            min(_quantile_secs(buckets, 0.95), highest),
            min(_quantile_secs(buckets, 0.99), highest),
            buckets,
            counters["latency_sum_ns"] / 1e9,
            _secs_since(counters["processing_since_ns"]),
        )


def _bound_ns(bucket: int) -> int:
    # The inverse of rm_latency_bucket.
    return bucket + 1 if bucket < 8 else (8 + bucket % 8 + 1) << (bucket // 8 - 1)


_BOUNDS_SECS = tuple(_bound_ns(bucket) / 1e9 for bucket in range(_ring.LATENCY_BUCKETS))


def _secs_since(then_ns: int) -> float:
    return max(0, _ring.now_ns() - then_ns) / 1e9 if then_ns else 0.0


def _quantile_secs(buckets: Sequence[int], quantile: float) -> float:
    """Upper end of the bucket the quantile falls in."""
    wanted = quantile * sum(buckets)
    seen = 0
    for bucket, count in enumerate(buckets):
        seen += count
        if count and seen >= wanted:
            return _BOUNDS_SECS[bucket]
    return 0.0
