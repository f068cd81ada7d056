"""What Prometheus gets to see: one table of metrics, read from sessions whenever somebody scrapes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from remotemedia.core.multiprocessing import (
    ChannelStats,
    Metrics,
    MultiprocessExecutor,
    NodeMetrics,
    NodeReport,
    NodeStats,
    NodeStatus,
    Session,
    SessionStateError,
    SessionStatus,
    StatusReport,
)

__all__ = ["PrometheusCollector"]

Family: TypeAlias = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
FamilyT = TypeVar("FamilyT", CounterMetricFamily, GaugeMetricFamily)

# From 8 microseconds to 17 seconds; these are bounds of the nodes' own, finer histograms.
_LATENCY_BOUNDS_SECS = {2**power / 1e9 for power in range(13, 35)}


@dataclass(frozen=True)
class _Node:
    session_id: str
    report: NodeReport
    metrics: NodeMetrics
    stats: NodeStats | None  # before there is shared memory there are none

    @property
    def labels(self) -> list[str]:
        return [self.session_id, self.report.node_id]


@dataclass(frozen=True)
class _Look:
    """All there is to know of one session at one moment."""

    report: StatusReport
    metrics: Metrics
    nodes: list[_Node]
    channels: list[ChannelStats]

    @property
    def labels(self) -> list[str]:
        return [self.report.session_id]

    @classmethod
    def at(cls, session: Session) -> _Look:
        report, metrics = session.get_status(), session.get_metrics()
        stats: dict[str, NodeStats] = {}
        channels: list[ChannelStats] = []
        try:
            stats = {node.node_id: node for node in session.node_stats()}
            channels = session.channel_stats()
        except SessionStateError:
            pass  # not initialized yet
        nodes = [
            _Node(report.session_id, node, metrics.nodes[node_id], stats.get(node_id))
            for node_id, node in report.nodes.items()
            if node_id in metrics.nodes  # a node may have been launched, or its launch undone, between the looks
        ]
        return cls(report, metrics, nodes, channels)


class PrometheusCollector(Collector):
    """Collects the figures of one session, or of all that an executor has at the moment of each scrape.

    Register it with a ``prometheus_client`` registry, or let ``serve_metrics`` do so. ``collect`` may be called from
    any thread while the event loop runs and sessions come and go; no node notices.
    """

    def __init__(self, source: MultiprocessExecutor | Session) -> None:
        if not isinstance(source, MultiprocessExecutor | Session):
            raise TypeError(f"source must be a MultiprocessExecutor or a Session, not {type(source).__name__}")
        self._source = source

    def describe(self) -> Iterator[Family]:
        """The metrics without figures: what a registry checks for names that are taken."""
        return _families([])

    def collect(self) -> Iterator[Family]:
        """The metrics as they are now. Reads shared memory and a few files of /proc per node."""
        source = self._source
        sessions = [source] if isinstance(source, Session) else list(source.sessions.copy().values())
        return _families([_Look.at(session) for session in sessions])


def _families(looks: list[_Look]) -> Iterator[Family]:
    yield from _session_families(looks)
    yield from _node_families([node for look in looks for node in look.nodes])
    yield from _channel_families([(look.report.session_id, channel) for look in looks for channel in look.channels])


def _session_families(looks: list[_Look]) -> Iterator[Family]:
    def gauge(name: str, text: str, value: Callable[[_Look], float]) -> Family:
        family = GaugeMetricFamily(f"remotemedia_session_{name}", text, labels=["session_id"])
        return _filled(family, [(look.labels, value(look)) for look in looks])

    yield _filled(
        GaugeMetricFamily(
            "remotemedia_session_state", "1 for the state the session is in.", labels=["session_id", "state"]
        ),
        [([*x.labels, state.value], float(x.report.status is state)) for x in looks for state in SessionStatus],
    )
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


def _node_families(nodes: list[_Node]) -> Iterator[Family]:
    labels = ["session_id", "node_id"]

    def of_reports(family: FamilyT, value: Callable[[NodeReport], float]) -> FamilyT:
        return _filled(family, [(node.labels, value(node.report)) for node in nodes])

    def of_processes(family: FamilyT, value: Callable[[NodeMetrics], float]) -> FamilyT:
        # Without a process there is no figure: a counter that falls to 0 would look like a new process.
        return _filled(family, [(node.labels, value(node.metrics)) for node in nodes if node.metrics.memory_mb])

    def counter(name: str, text: str, value: Callable[[NodeStats], float]) -> Family:
        family = CounterMetricFamily(f"remotemedia_node_{name}", text, labels=labels)
        return _filled(family, [(node.labels, value(node.stats)) for node in nodes if node.stats is not None])

    def gauge(name: str, text: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"remotemedia_node_{name}", text, labels=labels)

    yield _filled(
        GaugeMetricFamily("remotemedia_node_state", "1 for the state the node is in.", labels=[*labels, "state"]),
        [([*node.labels, state.value], float(node.report.state is state)) for node in nodes for state in NodeStatus],
    )
    yield of_reports(gauge("uptime_seconds", "How long the process has been there."), lambda x: x.uptime_secs)
    yield of_reports(gauge("busy_seconds", "How long it has been at the message at hand."), lambda x: x.busy_secs)
    yield of_processes(gauge("memory_bytes", "Resident memory without shared memory."), lambda x: x.memory_mb * 1e6)
    yield of_processes(
        CounterMetricFamily("remotemedia_node_cpu_seconds", "Processor time of the process.", labels=labels),
        lambda x: x.cpu_secs,
    )
    yield counter("messages", "Messages handled.", lambda x: x.messages)
    yield counter("published", "Messages put out, counted once however many nodes take them.", lambda x: x.published)
    yield counter("failures", "Messages whose process() raised.", lambda x: x.failures)
    yield counter("drops", "Outputs given up because a channel was full.", lambda x: x.drops)
    yield counter("unrouted", "Outputs on ports that nothing is connected to.", lambda x: x.unrouted)
    yield counter(
        "processing_seconds", "Time in process(), without waiting for room downstream.", lambda x: x.busy_secs
    )
    latency = HistogramMetricFamily(
        "remotemedia_node_latency_seconds", "From being published upstream to being handled.", labels=labels
    )
    for node in nodes:
        if node.stats is not None:
            latency.add_metric(node.labels, _buckets(node.stats), node.stats.latency_sum_secs)
    yield latency


def _channel_families(channels: list[tuple[str, ChannelStats]]) -> Iterator[Family]:
    labels = ["session_id", "channel", "publisher", "subscriber"]

    def filled(family: FamilyT, value: Callable[[ChannelStats], float]) -> FamilyT:
        return _filled(
            family, [([session_id, x.name, x.publisher, x.subscriber], value(x)) for session_id, x in channels]
        )

    def counter(name: str, text: str, value: Callable[[ChannelStats], float]) -> Family:
        return filled(CounterMetricFamily(f"remotemedia_channel_{name}", text, labels=labels), value)

    def gauge(name: str, text: str, value: Callable[[ChannelStats], float]) -> Family:
        return filled(GaugeMetricFamily(f"remotemedia_channel_{name}", text, labels=labels), value)

    yield counter("messages", "Messages published.", lambda x: x.message_count)
    yield counter("bytes", "Payload bytes published.", lambda x: x.bytes_transferred)
    yield counter("copied_bytes", "Payload bytes that were copied, not handed over.", lambda x: x.bytes_copied)
    yield counter("drops", "Messages given up because the channel was full.", lambda x: x.drops)
    yield counter("blocked", "Times its publisher waited for room.", lambda x: x.blocked_count)
    yield counter("blocked_seconds", "How long its publisher waited for room.", lambda x: x.blocked_secs)
    yield counter("blocked_memory_seconds", "How much of that was for payload memory.", lambda x: x.blocked_memory_secs)
    yield gauge("blocked_now_seconds", "How long the wait under way has lasted.", lambda x: x.blocked_now_secs)
    yield gauge("occupancy_messages", "Messages published and not yet received.", lambda x: x.current_occupancy)
    yield gauge("capacity_messages", "Messages it holds.", lambda x: x.capacity)
    yield gauge("high_water_messages", "The most it was seen to hold at once.", lambda x: x.high_water_mark)


def _filled(family: FamilyT, figures: Iterable[tuple[list[str], float]]) -> FamilyT:
    for labels, value in figures:
        family.add_metric(labels, value)
    return family


def _buckets(stats: NodeStats) -> list[tuple[str, float]]:
    """Cumulative, as Prometheus wants them."""
    seen = 0
    buckets = []
    for bound_secs, messages in stats.latency_histogram():
        seen += messages
        if bound_secs in _LATENCY_BOUNDS_SECS:
            buckets.append((str(bound_secs), float(seen)))
    return [*buckets, ("+Inf", float(seen))]
