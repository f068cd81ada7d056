"""What Prometheus gets to see of the service, beside its sessions. Needs the extra ``monitoring``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import TypeAlias

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from remotemedia.service._counters import REASONS, SECONDS_BOUNDS, MethodCounters
from remotemedia.service._gate import Gate

__all__ = ["ServiceCollector"]

Family: TypeAlias = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class ServiceCollector(Collector):
    """Collects the figures of a gate at each scrape, from any thread."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def collect(self) -> Iterator[Family]:
        """The metrics as they are now."""
        counters, limits = self._gate.counters, self._gate.limits
        methods = counters.methods.copy()  # at once: the event loop goes on counting
        calls = CounterMetricFamily(
            "remotemedia_service_calls", "Calls that ended.", labels=["method", "status", "error_type"]
        )
        for key, count in counters.calls.copy().items():
            calls.add_metric(key, count)
        yield calls
        refused = CounterMetricFamily("remotemedia_service_refused", "Calls refused.", labels=["reason"])
        for reason in REASONS:
            refused.add_metric([reason], counters.refused[reason])
        yield refused
        yield GaugeMetricFamily("remotemedia_service_sessions", "Calls of pipelines under way.", limits.sessions)
        yield GaugeMetricFamily("remotemedia_service_processes", "Node processes they have.", limits.processes)
        yield _both_ways("messages", "Messages", methods, lambda x: (x.messages_in, x.messages_out))
        yield _both_ways("bytes", "Bytes of messages", methods, lambda x: (x.bytes_in, x.bytes_out))
        seconds = HistogramMetricFamily(
            "remotemedia_service_call_seconds", "How long calls took from beginning to end.", labels=["method"]
        )
        for method, found in methods.items():
            bounds = [*map(str, SECONDS_BOUNDS), "+Inf"]
            counts = accumulate(found.seconds_counts.copy())  # cumulative, as Prometheus wants them
            seconds.add_metric([method], [*zip(bounds, map(float, counts), strict=True)], found.seconds_sum)
        yield seconds


def _both_ways(
    name: str, text: str, methods: dict[str, MethodCounters], in_and_out: Callable[[MethodCounters], tuple[int, int]]
) -> Family:
    family = CounterMetricFamily(
        f"remotemedia_service_{name}", f"{text} of calls, from clients and to them.", labels=["method", "direction"]
    )
    for method, found in methods.items():
        for direction, value in zip(("in", "out"), in_and_out(found), strict=True):
            family.add_metric([method, direction], value)
    return family
