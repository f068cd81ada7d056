"""The state of a session and its nodes, and the resources they use, put together when somebody asks.

What a node is doing is read from the counters that it keeps in shared memory: no node is asked, none is woken.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from remotemedia.core.multiprocess.graph.pipeline import Pipeline
from remotemedia.core.multiprocess.node.node import NodeStatus
from remotemedia.core.multiprocess.process.child import Child
from remotemedia.core.multiprocess.session.supervisor import Supervisor
from remotemedia.core.multiprocess.session.wiring import Wiring
from remotemedia.core.multiprocess.values.statistics import Durations, NodeStats
from remotemedia.errors import (
    InitializationTimeout,
    MultiprocessError,
    NodeInitializationError,
    ProcessCrashError,
)

__all__ = ["Metrics", "NodeMetrics", "NodeReport", "SessionStatus", "StatusReport", "metrics_of", "status_of"]

_BYTES_PER_MB = 1_000_000


class SessionStatus(Enum):
    """State of a session."""

    CREATED = "created"
    INITIALIZING = "initializing"
    READY = "ready"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    ERROR = "error"


@dataclass(frozen=True)
class NodeReport:
    """One node.

    Attributes:
        node_id, node_type: as in ``Pipeline.add_node``.
        state: IDLE until its process is there, INITIALIZING, READY, PROCESSING while it is at a message, STOPPING,
            STOPPED; ERROR when its initialization failed or its process crashed.
        pid: None when it has no process, or none any more.
        uptime_secs: how long its process has been there, or was.
        messages, failures: messages it has handled; those of them whose ``process()`` raised.
        last_error: what its last failed message raised, or what ended the node; None when nothing went wrong.
        busy_secs: how long it has been at the message at hand, 0 when at none. It grows while a node is stuck; waiting
            for room downstream is included, and ``ChannelStats.blocked_now_secs`` tells that apart.
    """

    node_id: str
    node_type: str
    state: NodeStatus
    pid: int | None
    uptime_secs: float
    messages: int
    failures: int
    last_error: str | None
    busy_secs: float


@dataclass(frozen=True)
class StatusReport:
    """A session: its state, and each node's report by node id, in the order they were added."""

    session_id: str
    status: SessionStatus
    nodes: dict[str, NodeReport]


@dataclass(frozen=True)
class NodeMetrics:
    """The resources of one node and the latency of its messages.

    Attributes:
        node_id: the node.
        memory_mb: resident memory in 10**6 bytes, without shared memory; 0 when its process is gone.
        cpu_secs: processor time of its process so far, of all threads; 0 when it is gone.
        latency_p50_secs, latency_p95_secs, latency_p99_secs: from a message's being published upstream to its being
            handled; to an eighth (12.5 %) above.
        first_output_p50_secs, first_output_p95_secs, first_output_p99_secs: from a message's being published upstream
            to the first output made of it being sent; to an eighth above, and 0 when there was none.
    """

    node_id: str
    memory_mb: float
    cpu_secs: float
    latency_p50_secs: float
    latency_p95_secs: float
    latency_p99_secs: float
    first_output_p50_secs: float
    first_output_p95_secs: float
    first_output_p99_secs: float


@dataclass(frozen=True)
class Metrics:
    """What a session uses, and how soon it answered.

    Attributes:
        session_id: the session.
        process_count: node processes that are there.
        memory_mb: resident memory of all of them in 10**6 bytes; the session's shared memory is counted once.
        cpu_secs: processor time of those processes so far.
        shared_used_bytes: payload memory in use in all pools: on loan, published, or held by its receiver.
        shared_resident_bytes: memory that the kernel has given to the pools, including memory free in them by now.
        nodes: by node id, in the order they were added.
        first_outputs: turns (``Session.ask``) of which there was an output.
        first_output_p50_secs, first_output_p95_secs, first_output_p99_secs: from a turn's last input before its first
            output to that output's arrival; to an eighth (12.5 %) above, and 0 when there was none.
    """

    session_id: str
    process_count: int
    memory_mb: float
    cpu_secs: float
    shared_used_bytes: int
    shared_resident_bytes: int
    nodes: dict[str, NodeMetrics]
    first_outputs: int
    first_output_p50_secs: float
    first_output_p95_secs: float
    first_output_p99_secs: float


def status_of(
    session_id: str,
    status: SessionStatus,
    pipeline: Pipeline,
    supervisor: Supervisor | None,
    wiring: Wiring | None,
    last_errors: dict[str, str],
) -> StatusReport:
    """See ``Session.get_status``."""
    stats = _stats_by_node(wiring)
    nodes = {}
    for node in pipeline.nodes:
        child = supervisor.children.get(node.node_id) if supervisor is not None else None
        counted = stats.get(node.node_id)
        running = child is not None and child.running
        fatal = _fatal_error(supervisor, child, node.node_id)
        if fatal is not None:
            state = NodeStatus.ERROR
        elif supervisor is None or child is None:
            early = status in (SessionStatus.CREATED, SessionStatus.INITIALIZING)
            state = NodeStatus.IDLE if early else NodeStatus.STOPPED
        else:
            state = _state(supervisor, child, counted)
        nodes[node.node_id] = NodeReport(
            node_id=node.node_id,
            node_type=node.node_type,
            state=state,
            pid=child.pid if child is not None and running else None,
            uptime_secs=child.uptime_secs if child is not None else 0.0,
            messages=counted.messages if counted is not None else 0,
            failures=counted.failures if counted is not None else 0,
            last_error=fatal or _unclean_end(child) or last_errors.get(node.node_id),
            busy_secs=counted.current_secs if counted is not None and running else 0.0,
        )
    return StatusReport(session_id, status, nodes)


def metrics_of(session_id: str, pipeline: Pipeline, supervisor: Supervisor | None, wiring: Wiring | None) -> Metrics:
    """See ``Session.get_metrics``."""
    stats = _stats_by_node(wiring)
    children = supervisor.children.copy() if supervisor is not None else {}
    usages = {node_id: child.usage.read() for node_id, child in children.items() if child.running}
    nodes = {}
    for node_id in pipeline.node_ids:
        usage, counted = usages.get(node_id), stats.get(node_id)
        nodes[node_id] = NodeMetrics(
            node_id,
            usage.memory_bytes / _BYTES_PER_MB if usage is not None else 0.0,
            usage.cpu_secs if usage is not None else 0.0,
            counted.latency_p50_secs if counted is not None else 0.0,
            counted.latency_p95_secs if counted is not None else 0.0,
            counted.latency_p99_secs if counted is not None else 0.0,
            counted.first_output_p50_secs if counted is not None else 0.0,
            counted.first_output_p95_secs if counted is not None else 0.0,
            counted.first_output_p99_secs if counted is not None else 0.0,
        )
    used_bytes, resident_bytes = wiring.shared_bytes() if wiring is not None else (0, 0)
    first = wiring.first_outputs() if wiring is not None else Durations.none()
    return Metrics(
        session_id,
        process_count=sum(usage is not None for usage in usages.values()),
        memory_mb=sum(node.memory_mb for node in nodes.values()) + resident_bytes / _BYTES_PER_MB,
        cpu_secs=sum(node.cpu_secs for node in nodes.values()),
        shared_used_bytes=used_bytes,
        shared_resident_bytes=resident_bytes,
        nodes=nodes,
        first_outputs=first.count,
        first_output_p50_secs=first.quantile_secs(0.50),
        first_output_p95_secs=first.quantile_secs(0.95),
        first_output_p99_secs=first.quantile_secs(0.99),
    )


def _stats_by_node(wiring: Wiring | None) -> dict[str, NodeStats]:
    return {stats.node_id: stats for stats in wiring.node_stats()} if wiring is not None else {}


def _state(supervisor: Supervisor, child: Child, counted: NodeStats | None) -> NodeStatus:
    if not child.running:
        # A crash is seen here a moment before the supervisor hears of it.
        return NodeStatus.STOPPED if supervisor.ending else NodeStatus.ERROR
    if supervisor.ending:
        return NodeStatus.STOPPING
    progress = supervisor.progress(child.node_id)
    if progress is None or progress.status == "starting":
        return NodeStatus.IDLE
    if progress.status != "ready":
        return NodeStatus.INITIALIZING
    return NodeStatus.PROCESSING if counted is not None and counted.current_secs > 0 else NodeStatus.READY


def _fatal_error(supervisor: Supervisor | None, child: Child | None, node_id: str) -> str | None:
    """Why the node is in ERROR, if it is: the failure that took the session down is this node's own."""
    failure: MultiprocessError | None = supervisor.failure if supervisor is not None else None
    if supervisor is None or child is None or failure is None:
        return None
    if isinstance(failure, NodeInitializationError) and failure.node_id == node_id:
        return failure.reason
    if isinstance(failure, ProcessCrashError) and failure.node_id == node_id:
        return str(failure).partition("\n")[0]  # without its last lines on stderr
    if isinstance(failure, InitializationTimeout):
        progress = supervisor.progress(node_id)
        if progress is None or progress.status != "ready":
            return str(failure)
    return None


def _unclean_end(child: Child | None) -> str | None:
    """How a node that was asked to stop failed to do so cleanly."""
    if child is None or not child.exited.done() or child.exited.cancelled():
        return None
    exit = child.exited.result()
    return f"ended with {exit} while the session stopped" if exit.code else None
