"""InitProgress: one step of a node on its way to ready."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["InitProgress"]


@dataclass
class InitProgress:
    """Initialization progress of one node.

    Attributes:
        node_id: the node.
        status: ``"starting"``, ``"loading"``, ``"connecting"``, ``"ready"`` or ``"failed"``.
        progress: from 0.0 to 1.0.
        message: a few words from the node or the framework.
    """

    node_id: str
    status: str
    progress: float
    message: str | None = None
