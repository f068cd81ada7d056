"""The shared memory of one session: a segment per process, a ring per channel, and the orchestrator's ends of them.

Everything is made here before any process is started, handed to the nodes, and closed by ``close``.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import replace

from remotemedia import _ring
from remotemedia.core.multiprocess.channel.doorbell import Doorbell
from remotemedia.core.multiprocess.channel.form import FORM
from remotemedia.core.multiprocess.channel.handover import ORCHESTRATOR, Edge, Handover
from remotemedia.core.multiprocess.channel.publisher import Publisher
from remotemedia.core.multiprocess.channel.side import new_eventfd
from remotemedia.core.multiprocess.channel.subscriber import Subscriber
from remotemedia.core.multiprocess.graph.pipeline import SESSION_NAME, Pipeline
from remotemedia.core.multiprocess.values.config import MultiprocessConfig
from remotemedia.core.multiprocess.values.interruption import Interruption, Provenance
from remotemedia.core.multiprocess.values.statistics import ChannelStats, Durations, NodeStats
from remotemedia.errors import PipelineError

__all__ = ["Wiring"]


class Wiring:
    """A session's segments and rings. OSError if the system has run out of what they need; then nothing is left behind.

    Attributes:
        size_bytes: of all of them, if every page is used.
    """

    def __init__(self, session_id: str, pipeline: Pipeline, config: MultiprocessConfig) -> None:
        self._session_id = session_id
        self._pipeline = pipeline
        self._config = config
        self._pools = {node_id: number for number, node_id in enumerate(pipeline.node_ids, ORCHESTRATOR + 1)}
        self._views: dict[str, _ring.RingView] = {}
        self._final: tuple[list[ChannelStats], list[NodeStats], Durations] | None = None
        # Kept to ask the kernel how much of each segment is there; closed under the lock, as others may be asking.
        self._pool_fds: list[int] = []
        self._pool_lock = threading.Lock()
        # The originals of what the nodes get; gone once every node has its copies.
        self._originals = ExitStack()
        self._segment_fds: dict[int, tuple[int, int]] = {}
        self._ring_fds: dict[str, int] = {}
        with ExitStack() as undo:
            undo.callback(self._originals.close)
            undo.callback(self._close_pools)
            for pool in (ORCHESTRATOR, *self._pools.values()):
                self._new_segment(pool)
            self._names = pipeline.channel_names()
            self._ends = self._channel_ends()
            for name in self._ends:
                self._new_ring(name)
            memfds = [memfd for memfd, _ in self._segment_fds.values()] + list(self._ring_fds.values())
            self.size_bytes = sum(os.fstat(memfd).st_size for memfd in memfds)
            self.segment = self._map_segment(ORCHESTRATOR, owner=True)
            undo.callback(self.segment.close)
            # The session's own messages may come back while nodes still read it, so it is also read-only here.
            self._received = self._map_segment(ORCHESTRATOR, owner=False)
            undo.callback(self._received.close)
            self._nodes = {}
            for node_id, pool in self._pools.items():
                self._nodes[node_id] = self._map_segment(pool, owner=False)
                undo.callback(self._nodes[node_id].close)
            self.segment.count_turns({self._pools[node_id]: segment for node_id, segment in self._nodes.items()})
            self.doorbell = Doorbell(self.segment)
            self.inputs = {node_id: self._publisher(node_id) for node_id in pipeline.input_nodes}
            self.outputs = {node_id: self._subscriber(node_id) for node_id in pipeline.output_nodes}
            undo.pop_all()

    # --- for the nodes ---

    def handover(self, node_id: str) -> tuple[Handover, list[int]]:
        """One node's share, and copies of the descriptors that go with it; the caller's to close."""
        own = self._pools[node_id]
        upstream = {self._pools[other] for other in self._pipeline.ancestors(node_id)}
        inputs = [
            Edge(self._names[c], self._pipeline.ports_meant(c)[1], self._pools[c.from_node], self._fed_by(c.from_node))
            for c in self._pipeline.connections
            if c.to_node == node_id
        ]
        if node_id in self.inputs:
            port = self._pipeline.input_port(node_id)
            inputs.append(Edge(_input_name(node_id), port, ORCHESTRATOR, [node_id]))
        outputs = [
            Edge(self._names[c], self._pipeline.ports_meant(c)[0], self._pools[c.to_node])
            for c in self._pipeline.connections
            if c.from_node == node_id
        ]
        if node_id in self.outputs:
            outputs.append(Edge(_output_name(node_id), "", ORCHESTRATOR))
        segments = sorted({ORCHESTRATOR, *upstream, *(edge.peer for edge in outputs)})
        handover = Handover(
            self._session_id,
            segments,
            inputs,
            outputs,
            self._config.enable_backpressure,
            self._config.spin_us,
            self._bit(node_id),
            sum(map(self._bit, {node_id, *self._pipeline.ancestors(node_id)})),
        )
        fds = [fd for pool in (own, *segments) for fd in self._segment_fds[pool]]
        fds += [self._ring_fds[edge.name] for edge in (*inputs, *outputs)]
        return handover, _copies(fds)

    def _fed_by(self, node_id: str) -> list[str]:
        """The input nodes that this one descends from, itself among them if it is one."""
        return sorted({node_id, *self._pipeline.ancestors(node_id)} & set(self._pipeline.input_nodes))

    def release_originals(self) -> None:
        """Closes the descriptors that were only kept to be handed over."""
        self._originals.close()
        self._segment_fds.clear()
        self._ring_fds.clear()

    # --- for the session ---

    @property
    def channel_ends(self) -> dict[str, tuple[str, str]]:
        """Publisher and subscriber of each channel, by its name."""
        return self._ends

    def channel_stats(self) -> list[ChannelStats]:
        """Of every channel, in the order of the graph; after ``close`` as they were then."""
        # Another thread may ask while the session ends: the copy is whole, or the final figures are there.
        views = self._views.copy()
        if self._final is not None:
            return self._final[0]
        return [ChannelStats.of(name, *self._ends[name], view.statistics()) for name, view in views.items()]

    def node_stats(self) -> list[NodeStats]:
        """Of every node, in the order they were added; after ``close`` as they were then."""
        nodes = self._nodes.copy()
        if self._final is not None:
            return self._final[1]
        return [NodeStats.of(node_id, segment.counters()) for node_id, segment in nodes.items()]

    def first_outputs(self) -> Durations:
        """Of the session's turns; after ``close`` as they were then."""
        counters = self.segment.counters()
        return Durations.first_outputs(counters) if self._final is None else self._final[2]

    def shared_bytes(self) -> tuple[int, int]:
        """Of all payload pools: bytes in use, and bytes there is memory for now. (0, 0) after ``close``."""
        segments = [self.segment, *self._nodes.copy().values()]
        with self._pool_lock:
            resident = sum(os.fstat(fd).st_blocks * 512 for fd in self._pool_fds)
        if self._final is not None:
            return 0, 0
        return sum(segment.counters()["pool_used_bytes"] for segment in segments), resident

    def wrote_to_payload(self, node_id: str) -> bool:
        """Whether a write to a received payload crashed this node's process."""
        segment = self._nodes.get(node_id)
        return segment is not None and segment.wrote_to_payload

    def cut(self, node_ids: Collection[str], *, queues: bool) -> Interruption:
        """Begins the epoch in which all that descends from these nodes is over, or everything if there are none.

        PipelineError for a node that is too far down the list to have a bit.
        """
        for node_id in node_ids:
            if not self._bit(node_id):
                raise PipelineError(
                    f"interrupt(): node {node_id!r} is not among the first {_ring.LINEAGE_NODES} of its pipeline, "
                    "and an interruption can begin only at these; add it before others"
                )
        nodes = sum(map(self._bit, set(node_ids)))
        return Interruption(self.segment.cut(nodes, queues), nodes)

    def provenance(self, node_id: str) -> Provenance:
        """Of the output of this node that was taken last."""
        return Provenance(self.outputs[node_id]._last_epoch, self.outputs[node_id]._last_lineage)

    def was_cut(self, output: Provenance) -> bool:
        """Whether an output was cut off since it was taken; False once everything is closed."""
        return self._final is None and self.segment.was_cut(output.epoch, output.lineage)

    def _bit(self, node_id: str) -> int:
        """The node's own, in a message's lineage; 0 if it has none."""
        place = self._pools[node_id] - ORCHESTRATOR - 1
        return 1 << place if place < _ring.LINEAGE_NODES else 0

    def skip_stale(self) -> None:
        """Drops what was cut off and still waits for the session to receive it."""
        for subscriber in self.outputs.values():
            subscriber._skip_stale()

    def close_channels(self) -> None:
        """Ends the stream into the pipeline and tells it that nobody listens any more."""
        for publisher in self.inputs.values():
            publisher.close()
        for subscriber in self.outputs.values():
            subscriber.close()

    def close(self) -> None:
        """Gives everything back. Payloads the user still holds keep their memory until they are dropped."""
        if self._final is not None:
            return
        # A node that died in the middle of something is no longer at it.
        self._final = (
            [replace(stats, blocked_now_secs=0.0) for stats in self.channel_stats()],
            [replace(stats, current_secs=0.0) for stats in self.node_stats()],
            self.first_outputs(),
        )
        self._close_pools()
        self.close_channels()
        self.release_originals()
        self.doorbell.close()
        self.segment.close()
        self._received.close()
        for segment in self._nodes.values():
            segment.close()
        self._views.clear()
        self._nodes.clear()

    # --- making it ---

    def _channel_ends(self) -> dict[str, tuple[str, str]]:
        """Publisher and subscriber, by the channel's name."""
        pipeline = self._pipeline
        return {
            **{_input_name(node_id): (SESSION_NAME, node_id) for node_id in pipeline.input_nodes},
            **{name: (c.from_node, c.to_node) for c, name in self._names.items()},
            **{_output_name(node_id): (node_id, SESSION_NAME) for node_id in pipeline.output_nodes},
        }

    def _close_pools(self) -> None:
        with self._pool_lock:
            while self._pool_fds:
                os.close(self._pool_fds.pop())

    def _new_segment(self, pool: int) -> None:
        memfd = _ring.create_segment(self._config.shm_segment_size, pool)
        self._originals.callback(os.close, memfd)
        eventfd = new_eventfd()
        self._originals.callback(os.close, eventfd)
        self._segment_fds[pool] = memfd, eventfd
        self._pool_fds.append(os.dup(memfd))

    def _new_ring(self, name: str) -> None:
        memfd = _ring.create_ring(self._config.channel_capacity)
        self._originals.callback(os.close, memfd)
        self._ring_fds[name] = memfd
        self._views[name] = _ring.RingView(os.dup(memfd))

    def _map_segment(self, pool: int, *, owner: bool) -> _ring.Segment:
        memfd, eventfd = _copies(list(self._segment_fds[pool]))
        return _ring.Segment(memfd, eventfd, owner)

    def _publisher(self, node_id: str) -> Publisher:
        name = _input_name(node_id)
        producer = _ring.Producer(
            os.dup(self._ring_fds[name]),
            FORM,
            self.segment,
            self._nodes[node_id],
            [self._received],
            session=self._session_id,
            cuts=self.segment,
        )
        return Publisher._over(name, producer, self.segment, self.doorbell, spin_us=self._config.spin_us)

    def _subscriber(self, node_id: str) -> Subscriber:
        name = _output_name(node_id)
        # A payload may have been passed on from anywhere upstream, and from the session itself.
        pools = {self._pools[other]: segment for other, segment in self._nodes.items()} | {ORCHESTRATOR: self._received}
        # A plain result names no port; if the node declares only one, it is that one.
        port = self._pipeline.declared_output_port(node_id)
        consumer = _ring.Consumer(
            os.dup(self._ring_fds[name]), FORM, self.segment, self._nodes[node_id], pools, self.segment, port
        )
        return Subscriber._over(name, consumer, self.segment, self.doorbell, spin_us=self._config.spin_us)


def _input_name(node_id: str) -> str:
    return f"session_to_{node_id}"


def _output_name(node_id: str) -> str:
    return f"{node_id}_to_session"


def _copies(fds: list[int]) -> list[int]:
    copies: list[int] = []
    try:
        for fd in fds:
            copies.append(os.dup(fd))
    except OSError:
        for fd in copies:
            os.close(fd)
        raise
    return copies
