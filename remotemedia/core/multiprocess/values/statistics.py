"""What a session's channels and nodes have done so far. Counters live in shared memory; reading them costs nobody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import add

from remotemedia import _ring

__all__ = ["ChannelStats", "Durations", "NodeStats", "as_ns"]


@dataclass(frozen=True)
class Durations:
    """How long something took, time after time. Two of them can be added, in any order with the same sum.

    Attributes:
        count: how many times.
        sum_ns: all of them together, in nanoseconds.
        max_ns: the longest.
        buckets: times by duration; ``histogram()`` says where each bucket ends.
    """

    count: int
    sum_ns: int
    max_ns: int
    buckets: tuple[int, ...]

    @property
    def sum_secs(self) -> float:
        """All of them together."""
        return self.sum_ns / 1e9

    @property
    def max_secs(self) -> float:
        """The longest."""
        return self.max_ns / 1e9

    @property
    def mean_secs(self) -> float:
        """0 when there was none."""
        return self.sum_secs / self.count if self.count else 0.0

    def quantile_secs(self, quantile: float) -> float:
        """The duration that this share of them stayed below, to an eighth (12.5 %) above; 0 when there was none."""
        wanted = quantile * sum(self.buckets)
        seen = 0
        for bucket, count in enumerate(self.buckets):
            seen += count
            if count and seen >= wanted:
                return min(_BOUNDS_SECS[bucket], self.max_secs)
        return 0.0

    def histogram(self) -> list[tuple[float, int]]:
        """For each bucket the duration in seconds that its times stayed below, and how many they are.

        Eight buckets to each power of two of nanoseconds; the last one also has what took longer.
        """
        return list(zip(_BOUNDS_SECS, self.buckets, strict=True))

    def __add__(self, other: Durations) -> Durations:
        return Durations(
            self.count + other.count,
            self.sum_ns + other.sum_ns,
            max(self.max_ns, other.max_ns),
            tuple(map(add, self.buckets, other.buckets)),
        )

    @classmethod
    def of(cls, buckets: Sequence[int], sum_ns: int, max_ns: int) -> Durations:
        """From a segment's counters."""
        return cls(sum(buckets), sum_ns, max_ns, tuple(buckets))

    @classmethod
    def none(cls) -> Durations:
        """Nothing took any time yet."""
        return cls(0, 0, 0, (0,) * _ring.LATENCY_BUCKETS)

    @classmethod
    def first_outputs(cls, counters: _ring.NodeCounters) -> Durations:
        """The times to first outputs that a segment counts: a node's of its messages, or the session's of its turns."""
        return cls.of(counters["first_output"], counters["first_output_sum_ns"], counters["first_output_max_ns"])


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
        first_outputs: messages of which an output was made and sent.
        first_output_mean_secs, first_output_max_secs: from a message's being published upstream to the first output
            made of it being sent; 0 when there was none.
        first_output_p50_secs, first_output_p95_secs, first_output_p99_secs: the same, to an eighth (12.5 %) above.
        first_output_buckets, first_output_sum_secs: as those of the latency; ``first_output_histogram()`` says where
            each bucket ends.
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
    first_outputs: int
    first_output_mean_secs: float
    first_output_max_secs: float
    first_output_p50_secs: float
    first_output_p95_secs: float
    first_output_p99_secs: float
    first_output_buckets: tuple[int, ...]
    first_output_sum_secs: float

    @property
    def latency(self) -> Durations:
        """The latencies of its messages."""
        sum_ns, max_ns = as_ns(self.latency_sum_secs), as_ns(self.latency_max_secs)
        return Durations(self.messages, sum_ns, max_ns, self.latency_buckets)

    @property
    def first_output(self) -> Durations:
        """The times to first outputs."""
        sum_ns, max_ns = as_ns(self.first_output_sum_secs), as_ns(self.first_output_max_secs)
        return Durations(self.first_outputs, sum_ns, max_ns, self.first_output_buckets)

    def latency_histogram(self) -> list[tuple[float, int]]:
        """For each bucket the latency in seconds that its messages stayed below, and how many they are.

        Eight buckets to each power of two of nanoseconds; the last one also has what took longer.
        """
        return self.latency.histogram()

    def first_output_histogram(self) -> list[tuple[float, int]]:
        """The same of the times to first outputs."""
        return self.first_output.histogram()

    @classmethod
    def of(cls, node_id: str, counters: _ring.NodeCounters) -> NodeStats:
        """From a segment's counters."""
        latency = Durations.of(counters["latency"], counters["latency_sum_ns"], counters["latency_max_ns"])
        first = Durations.first_outputs(counters)
        received = counters["received"]
        return cls(
            node_id,
            received,
            counters["published"],
            counters["failed"],
            counters["dropped"],
            counters["unrouted"],
            counters["busy_ns"] / 1e9,
            latency.sum_secs / received if received else 0.0,
            latency.max_secs,
            latency.quantile_secs(0.50),
            latency.quantile_secs(0.95),
            latency.quantile_secs(0.99),
            latency.buckets,
            latency.sum_secs,
            _secs_since(counters["processing_since_ns"]),
            first.count,
            first.mean_secs,
            first.max_secs,
            first.quantile_secs(0.50),
            first.quantile_secs(0.95),
            first.quantile_secs(0.99),
            first.buckets,
            first.sum_secs,
        )


def as_ns(secs: float) -> int:
    """Whole nanoseconds, which sum up exactly: a sum of floats depends on their order."""
    return round(secs * 1e9)


def _bound_ns(bucket: int) -> int:
    # The inverse of rm_latency_bucket.
    return bucket + 1 if bucket < 8 else (8 + bucket % 8 + 1) << (bucket // 8 - 1)


_BOUNDS_SECS = tuple(_bound_ns(bucket) / 1e9 for bucket in range(_ring.LATENCY_BUCKETS))


def _secs_since(then_ns: int) -> float:
    return max(0, _ring.now_ns() - then_ns) / 1e9 if then_ns else 0.0
