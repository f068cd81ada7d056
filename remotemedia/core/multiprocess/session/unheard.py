"""Failures of messages that nobody has heard of yet: ``receive`` and ``outputs`` raise them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection

from remotemedia.core.multiprocess.graph.pipeline import Pipeline
from remotemedia.core.multiprocess.session.wiring import Wiring
from remotemedia.errors import NodeProcessError

__all__ = ["UnheardFailures"]

_MOST_KEPT = 1_000


class UnheardFailures:
    """Of one session. Beyond a thousand, the oldest are forgotten; they are counted and logged all the same.

    Attributes:
        is_heard: whether the program hears of failures in another way.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.is_heard = False
        self._pipeline = pipeline
        self._wiring: Wiring | None = None
        self._kept: deque[NodeProcessError] = deque(maxlen=_MOST_KEPT)
        self._told: Counter[str] = Counter()

    def connect(self, wiring: Wiring) -> None:
        """From now on nodes count failures there."""
        self._wiring = wiring

    def count(self, error: NodeProcessError) -> None:
        """The session was told of it."""
        if error.sequence >= 0:
            self._told[error.node_id] += 1

    def keep(self, error: NodeProcessError) -> None:
        """Nobody has heard of it."""
        self._kept.append(error)

    def raise_one(self, node_ids: Collection[str]) -> None:
        """Raises the oldest that happened in one of these nodes, or before it, if there is one; once."""
        if not self._kept:
            return
        causes = self._causes(node_ids)
        for error in self._kept:
            if error.node_id in causes:
                self._kept.remove(error)
                raise error

    def all_are_here(self, node_id: str) -> bool:
        """Whether the session was told of every failure that this node and those before it have counted."""
        if self._wiring is None:
            return True
        causes = self._causes((node_id,))
        counted = {stats.node_id: stats.failures for stats in self._wiring.node_stats()}
        return all(self._told[cause] >= counted[cause] for cause in causes)

    def _causes(self, node_ids: Collection[str]) -> set[str]:
        return {one for node_id in node_ids for one in (node_id, *self._pipeline.ancestors(node_id))}
