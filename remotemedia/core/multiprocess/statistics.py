"""What a session's channels and nodes have done so far. Counters live in shared memory; reading them costs nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["ChannelStats", "NodeStats"]


@dataclass(frozen=True)
class ChannelStats:
    """One channel (seed ``001``, "Debug IPC Channels").

    Attributes:
        name: such as ``"asr_to_tts"``.
        message_count: messages published.
        bytes_transferred: their payloads together, in bytes.
        bytes_copied: how many of those were copied rather than handed over.
        current_occupancy: messages published and not yet received.
        capacity: messages it holds.
        high_water_mark: the most it was seen to hold at once, by either side or by whoever asks.
        blocked_count, blocked_secs: how often and how long its publisher waited for room.
        drops: messages given up because it was full (``enable_backpressure=False``).
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

    @classmethod
    def of(cls, name: str, counters: Mapping[str, Any]) -> ChannelStats:
        """From a ring's counters."""
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
        latency_p50_secs, latency_p95_secs: the same, to the next power of two.
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

    @classmethod
    def of(cls, node_id: str, counters: Mapping[str, Any]) -> NodeStats:
        """From a segment's counters."""
        received = counters["received"]
        highest = counters["latency_max_ns"] / 1e9
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
            min(_quantile_secs(counters["latency"], 0.50), highest),
            min(_quantile_secs(counters["latency"], 0.95), highest),
        )


def _quantile_secs(buckets: Sequence[int], quantile: float) -> float:
    """Upper end of the bucket the quantile falls in; bucket b holds latencies below 2**(b + 1) ns."""
    wanted = quantile * sum(buckets)
    seen = 0
    for bucket, count in enumerate(buckets):
        seen += count
        if count and seen >= wanted:
            return float(2 ** (bucket + 1)) / 1e9
    return 0.0
