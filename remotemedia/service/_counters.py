"""What the service counts of itself. Only its event loop counts; a scrape reads from another thread."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

__all__ = ["REASONS", "SECONDS_BOUNDS", "Counters", "MethodCounters"]

SECONDS_BOUNDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)

REASONS = (
    "authentication",
    "stopping",
    "max_sessions",
    "max_sessions_per_client",
    "max_starts_per_sec",
    "max_processes",
)


@dataclass
class MethodCounters:
    """Of the calls of one method.

    Attributes:
        messages_in, bytes_in: what clients sent.
        messages_out, bytes_out: those sent to clients.
        seconds_counts: calls that took at most each of ``SECONDS_BOUNDS``, and not the one before; then the rest.
        seconds_sum: how long all of them took together.
    """

    messages_in: int = 0
    bytes_in: int = 0
    messages_out: int = 0
    bytes_out: int = 0
    seconds_counts: list[int] = field(default_factory=lambda: [0] * (len(SECONDS_BOUNDS) + 1))
    seconds_sum: float = 0.0

    def add_seconds(self, seconds: float) -> None:
        """Counts a call that has ended."""
        self.seconds_counts[bisect_left(SECONDS_BOUNDS, seconds)] += 1
        self.seconds_sum += seconds


@dataclass
class Counters:
    """Of all calls of pipelines.

    Attributes:
        calls: calls that ended, by method, status and in-band error ("" for none).
        refused: refusals by reason.
        methods: the rest, by method.
    """

    calls: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    methods: dict[str, MethodCounters] = field(default_factory=dict)

    def of(self, method: str) -> MethodCounters:
        """Of one method."""
        return self.methods.setdefault(method, MethodCounters())
