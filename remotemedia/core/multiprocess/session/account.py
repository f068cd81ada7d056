"""What the sessions of an executor did, kept when they end: crashed, dropped, or never looked at while they ran."""

from __future__ import annotations

import threading
from collections import deque

from remotemedia.core.multiprocess.graph.pipeline import Pipeline
from remotemedia.core.multiprocess.session.supervisor import Supervisor
from remotemedia.core.multiprocess.session.wiring import Wiring
from remotemedia.core.multiprocess.values.totals import (
    ChannelPlace,
    ChannelTotals,
    NodePlace,
    NodeTotals,
    PipelinePlace,
    PipelineTotals,
    Totals,
)

__all__ = ["Account", "Book"]


class Account:
    """The part of one session, without a reference to the session: that may be dropped before it is closed."""

    def __init__(self, book: Book, pipeline: Pipeline, supervisor: Supervisor) -> None:
        self._wiring: Wiring | None = None
        self._book = book
        self._pipeline = pipeline
        self._place = PipelinePlace.of(pipeline.name)
        self._supervisor = supervisor
        self._types: dict[str, str] = {}
        book.open(self)

    def wire(self, wiring: Wiring) -> None:
        """It has shared memory now, and no more nodes will come; ``close`` closes it."""
        self._types = self._node_types()
        self._wiring = wiring

    def _node_types(self) -> dict[str, str]:
        return {node.node_id: node.node_type for node in self._pipeline.nodes.copy()}

    def close(self) -> None:
        """Its processes are gone: gives its shared memory back. May be repeated, and called by a finalizer."""
        if self._wiring is not None:
            self._wiring.close()
        self._book.close(self)

    def names(self) -> Totals:
        """Its places, without figures."""
        own, wiring = self._place, self._wiring
        types = self._node_types() if wiring is None else self._types
        nodes = {NodePlace(*own, *node): NodeTotals() for node in types.items()}
        ends = {} if wiring is None else wiring.channel_ends
        channels = {ChannelPlace(*own, channel, *both): ChannelTotals() for channel, both in ends.items()}
        return Totals({own: PipelineTotals()}, nodes, channels)

    def totals(self) -> Totals:
        """What it did; final once it is closed. From any thread."""
        own, wiring = self._place, self._wiring
        failures = int(self._supervisor.failure is not None)
        if wiring is None:
            return Totals({own: PipelineTotals(1, failures)})
        children = self._supervisor.children.copy()
        nodes = {
            NodePlace(*own, stats.node_id, self._types[stats.node_id]): NodeTotals.of(
                stats, children[stats.node_id].usage.cpu_secs()
            )
            for stats in wiring.node_stats()
        }
        channels = {
            ChannelPlace(*own, stats.name, stats.publisher, stats.subscriber): ChannelTotals.of(stats)
            for stats in wiring.channel_stats()
        }
        return Totals({own: PipelineTotals(1, failures, wiring.first_outputs())}, nodes, channels)


class Book:
    """The accounts of an executor: those that are open, and the sum of those that were closed. From any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[Account] = set()
        self._kept = Totals()
        # A finalizer may close an account while its own thread holds the lock: it must not wait for it.
        self._closed: deque[Account] = deque()

    def open(self, account: Account) -> None:
        """A session is about to have processes."""
        with self._lock:
            self._open.add(account)
        self._take_up()

    def close(self, account: Account) -> None:
        """Its figures are final. May be repeated; never waits."""
        self._closed.append(account)
        self._take_up()

    def totals(self) -> Totals:
        """Of all, up to now. Each account is in it once, whatever is closed meanwhile."""
        with self._lock:
            accounts = list(self._open)
            for account in accounts:
                self._kept.reserve(account.names())  # so that no later look finds them elsewhere
            found = self._kept.copy()
        self._take_up()
        for account in accounts:
            found.add(account.totals())
        return found

    def _take_up(self) -> None:
        # Who does not get the lock leaves it to its holder, who looks again once it has let go.
        while self._closed and self._lock.acquire(blocking=False):
            try:
                while self._closed:
                    account = self._closed.popleft()
                    if account in self._open:
                        self._open.remove(account)
                        self._kept.add(account.totals())
            finally:
                self._lock.release()
