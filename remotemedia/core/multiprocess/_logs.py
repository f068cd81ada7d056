"""Whom a log record is about, for those who keep logs of many sessions (``remotemedia.monitoring``)."""

from __future__ import annotations

__all__ = ["about"]


def about(session_id: str, node_id: str | None = None) -> dict[str, str | None]:
    """The ``extra`` of a record: its ``session_id``, and its ``node_id``, None when it is of no single node."""
    return {"session_id": session_id, "node_id": node_id}
