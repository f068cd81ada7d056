"""What Prometheus gets to see: one table of metrics, read from sessions whenever somebody scrapes.

Counters and histograms are of all sessions so far, and stay when a session ends; gauges are of the sessions that are
there, those of one pipeline together.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import add
from typing import TypeAlias

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from remotemedia.core.multiprocessing import (
    ChannelPlace,
    ChannelStats,
    ChannelTotals,
    Durations,
    Metrics,
    MultiprocessExecutor,
    NodeMetrics,
    NodePlace,
    NodeReport,
    NodeStatus,
    NodeTotals,
    PipelinePlace,
    PipelineTotals,
    Session,
    SessionStateError,
    SessionStatus,
    StatusReport,
    Totals,
    place_in,
)

__all__ = ["PrometheusCollector"]

Family: TypeAlias = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
Together: TypeAlias = Callable[[float, float], float]

_SESSION, _NODE, _CHANNEL = PipelinePlace._fields, NodePlace._fields, ChannelPlace._fields
"""The labels."""

# From 8 microseconds to 17 seconds; these are bounds of the nodes' own, finer histograms.
_BOUNDS_SECS = {2**power / 1e9 for power in range(13, 35)}


@dataclass(frozen=True)
class _Look:
    """All there is to know of one session at one moment."""

    pipeline: PipelinePlace
    report: StatusReport
    metrics: Metrics
    channels: list[ChannelStats]

    @classmethod
    def at(cls, session: Session) -> _Look:
        report, metrics = session.get_status(), session.get_metrics()
        channels: list[ChannelStats] = []
        with contextlib.suppress(SessionStateError):  # not initialized yet
            channels = session.channel_stats()
        return cls(PipelinePlace.of(session.pipeline.name), report, metrics, channels)


class _Looks:
    """The sessions that are there: whose figures stand together, and under which labels.

    ``totals`` say which names have entries of their own.
    """

    def __init__(self, looks: list[_Look], totals: Totals, session_ids: bool) -> None:
        self._looks = looks
        self._totals = totals
        self._session_ids = session_ids

    def labels(self, names: Iterable[str], *more: str) -> list[str]:
        """The names of labels."""
        return [*names, *(["session_id"] if self._session_ids else []), *more]

    def sessions(self) -> Iterator[tuple[list[str], _Look]]:
        """Each with its labels."""
        for look in self._looks:
            yield self._values(place_in(self._totals.pipelines, look.pipeline), look), look

    def nodes(self) -> Iterator[tuple[list[str], NodeReport, NodeMetrics]]:
        """Each with its labels."""
        for look in self._looks:
            for node_id, node in look.report.nodes.items():
                metrics = look.metrics.nodes.get(node_id)
                if metrics is not None:  # a node may have been launched, or its launch undone, between the looks
                    place = place_in(self._totals.nodes, NodePlace(*look.pipeline, node_id, node.node_type))
                    yield self._values(place, look), node, metrics

    def channels(self) -> Iterator[tuple[list[str], ChannelStats]]:
        """Each with its labels."""
        for look in self._looks:
            for x in look.channels:
                place = ChannelPlace(*look.pipeline, x.name, x.publisher, x.subscriber)
                yield self._values(place_in(self._totals.channels, place), look), x

    def _values(self, place: tuple[str, ...], look: _Look) -> list[str]:
        return [*place, *([look.report.session_id] if self._session_ids else [])]


class PrometheusCollector(Collector):
    """Collects the figures of one session, or of all that an executor has and had.

    Register it with a ``prometheus_client`` registry, or let ``serve_metrics`` do so. ``collect`` may be called from
    any thread while the event loop runs and sessions come and go; no node notices. With ``session_ids`` each session
    has gauges of its own, with its id as a label; without, those of one pipeline are added up.
    """

    def __init__(self, source: MultiprocessExecutor | Session, *, session_ids: bool = False) -> None:
        if not isinstance(source, MultiprocessExecutor | Session):
            raise TypeError(f"source must be a MultiprocessExecutor or a Session, not {type(source).__name__}")
        self._source = source
        self._session_ids = session_ids

    def describe(self) -> Iterator[Family]:
        """The metrics without figures: what a registry checks for names that are taken."""
        return _families([], Totals(), self._session_ids)

    def collect(self) -> Iterator[Family]:
        """The metrics as they are now. Reads shared memory and a few files of /proc per node."""
        source = self._source
        sessions = [source] if isinstance(source, Session) else list(source.sessions.copy().values())
        looks = [_Look.at(session) for session in sessions]
        return _families(looks, source.totals(), self._session_ids)


def _families(looks: list[_Look], totals: Totals, session_ids: bool) -> Iterator[Family]:
    there = _Looks(looks, totals, session_ids)
    yield from _session_totals(totals.pipelines)
    yield from _session_gauges(there)
    yield from _node_totals(totals.nodes)
    yield from _node_gauges(there)
    yield from _channel_totals(totals.channels)
    yield from _channel_gauges(there)


# --- so far ---


def _session_totals(totals: dict[PipelinePlace, PipelineTotals]) -> Iterator[Family]:
    def counter(name: str, text: str, value: Callable[[PipelineTotals], float]) -> Family:
        return _counter(name, text, _SESSION, ((place, value(x)) for place, x in totals.items()))

    yield counter("remotemedia_sessions", "Sessions that were started.", lambda x: x.sessions)
    yield counter(
        "remotemedia_session_failures",
        "Those that failed: a node crashed, did not load, or broke the rules.",
        lambda x: x.failures,
    )
    yield _histogram(
        "remotemedia_session_first_output_seconds",
        "From a turn's last input before its first output to that output's arrival.",
        _SESSION,
        ((place, x.first_output) for place, x in totals.items()),
    )


def _node_totals(totals: dict[NodePlace, NodeTotals]) -> Iterator[Family]:
    def counter(name: str, text: str, value: Callable[[NodeTotals], float]) -> Family:
        return _counter(f"remotemedia_node_{name}", text, _NODE, ((place, value(x)) for place, x in totals.items()))

    def histogram(name: str, text: str, value: Callable[[NodeTotals], Durations]) -> Family:
        return _histogram(f"remotemedia_node_{name}", text, _NODE, ((place, value(x)) for place, x in totals.items()))

    yield counter("cpu_seconds", "Processor time of the process.", lambda x: x.cpu_secs)
    yield counter("messages", "Messages handled.", lambda x: x.messages)
    yield counter("published", "Messages put out, counted once however many nodes take them.", lambda x: x.published)
    yield counter("failures", "Messages whose process() raised.", lambda x: x.failures)
    yield counter("drops", "Outputs given up because a channel was full.", lambda x: x.drops)
    yield counter("unrouted", "Outputs on ports that nothing is connected to.", lambda x: x.unrouted)
    yield counter(
        "processing_seconds", "Time in process(), without waiting for room downstream.", lambda x: x.busy_secs
    )
    yield histogram("latency_seconds", "From being published upstream to being handled.", lambda x: x.latency)
    yield histogram(
        "first_output_seconds",
        "From a message's being published upstream to the first output made of it being sent.",
        lambda x: x.first_output,
    )


def _channel_totals(totals: dict[ChannelPlace, ChannelTotals]) -> Iterator[Family]:
    def counter(name: str, text: str, value: Callable[[ChannelTotals], float]) -> Family:
        figures = ((place, value(x)) for place, x in totals.items())
        return _counter(f"remotemedia_channel_{name}", text, _CHANNEL, figures)

    yield counter("messages", "Messages published.", lambda x: x.message_count)
    yield counter("bytes", "Payload bytes published.", lambda x: x.bytes_transferred)
    yield counter("copied_bytes", "Payload bytes that were copied, not handed over.", lambda x: x.bytes_copied)
    yield counter("drops", "Messages given up because the channel was full.", lambda x: x.drops)
    yield counter("blocked", "Times its publisher waited for room.", lambda x: x.blocked_count)
    yield counter("blocked_seconds", "How long its publisher waited for room.", lambda x: x.blocked_secs)
    yield counter("blocked_memory_seconds", "How much of that was for payload memory.", lambda x: x.blocked_memory_secs)


# --- now ---


def _session_gauges(there: _Looks) -> Iterator[Family]:
    def gauge(name: str, text: str, value: Callable[[_Look], float]) -> Family:
        figures = ((labels, value(look)) for labels, look in there.sessions())
        return _gauge(f"remotemedia_session_{name}", text, there.labels(_SESSION), figures)

    states = (
        ([*labels, state.value], float(look.report.status is state))
        for labels, look in there.sessions()
        for state in SessionStatus
    )
    text = "Sessions in the state."
    yield _gauge("remotemedia_session_state", text, there.labels(_SESSION, "state"), states)
    yield gauge("processes", "Node processes that are there.", lambda x: x.metrics.process_count)
    yield gauge(
        "memory_bytes",
        "Resident memory of all node processes, shared memory counted once.",
        lambda x: x.metrics.memory_mb * 1e6,
    )
    yield gauge("shared_used_bytes", "Payload memory in use.", lambda x: x.metrics.shared_used_bytes)
    yield gauge(
        "shared_resident_bytes", "Memory given to the payload pools.", lambda x: x.metrics.shared_resident_bytes
    )


def _node_gauges(there: _Looks) -> Iterator[Family]:
    def longest(name: str, text: str, value: Callable[[NodeReport], float]) -> Family:
        figures = ((labels, value(report)) for labels, report, _ in there.nodes())
        return _gauge(f"remotemedia_node_{name}", text, there.labels(_NODE), figures, max)

    states = (
        ([*labels, state.value], float(report.state is state))
        for labels, report, _ in there.nodes()
        for state in NodeStatus
    )
    yield _gauge("remotemedia_node_state", "Nodes in the state.", there.labels(_NODE, "state"), states)
    yield longest("uptime_seconds", "How long the process has been there; the longest.", lambda x: x.uptime_secs)
    yield longest("busy_seconds", "How long it has been at the message at hand; the longest.", lambda x: x.busy_secs)
    memory = ((labels, metrics.memory_mb * 1e6) for labels, _, metrics in there.nodes() if metrics.memory_mb)
    text = "Resident memory without shared memory."
    yield _gauge("remotemedia_node_memory_bytes", text, there.labels(_NODE), memory)


def _channel_gauges(there: _Looks) -> Iterator[Family]:
    def gauge(name: str, text: str, value: Callable[[ChannelStats], float], together: Together = add) -> Family:
        figures = ((labels, value(x)) for labels, x in there.channels())
        return _gauge(f"remotemedia_channel_{name}", text, there.labels(_CHANNEL), figures, together)

    yield gauge(
        "blocked_now_seconds", "How long the wait under way has lasted; the longest.", lambda x: x.blocked_now_secs, max
    )
    yield gauge("occupancy_messages", "Messages published and not yet received.", lambda x: x.current_occupancy)
    yield gauge("capacity_messages", "Messages it holds.", lambda x: x.capacity)
    yield gauge("high_water_messages", "The most it was seen to hold at once.", lambda x: x.high_water_mark, max)


# --- as Prometheus has it ---


def _counter(name: str, text: str, labels: Iterable[str], figures: Iterable[tuple[tuple[str, ...], float]]) -> Family:
    family = CounterMetricFamily(name, text, labels=[*labels])
    for place, value in figures:
        family.add_metric(place, value)
    return family


def _histogram(
    name: str, text: str, labels: Iterable[str], figures: Iterable[tuple[tuple[str, ...], Durations]]
) -> Family:
    family = HistogramMetricFamily(name, text, labels=[*labels])
    for place, durations in figures:
        family.add_metric(place, _buckets(durations), durations.sum_secs)
    return family


def _gauge(
    name: str, text: str, labels: list[str], figures: Iterable[tuple[list[str], float]], together: Together = add
) -> Family:
    """Figures with the same labels are one."""
    found: dict[tuple[str, ...], float] = {}
    for values, figure in figures:
        key = tuple(values)
        found[key] = together(found[key], figure) if key in found else figure
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, figure in found.items():
        family.add_metric(key, figure)
    return family


def _buckets(durations: Durations) -> list[tuple[str, float]]:
    """Cumulative, as Prometheus wants them."""
    seen = 0
    buckets = []
    for bound_secs, times in durations.histogram():
        seen += times
        if bound_secs in _BOUNDS_SECS:
            buckets.append((str(bound_secs), float(seen)))
    return [*buckets, ("+Inf", float(seen))]
