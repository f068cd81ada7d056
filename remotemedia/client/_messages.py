"""What may be sent to a service."""

from __future__ import annotations

from remotemedia.core.data import RuntimeData

__all__ = ["check_message"]


def check_message(data: object, node_id: str) -> None:
    """TypeError that says how to make a message of ``data`` when it is none."""
    if not isinstance(data, RuntimeData):
        how = RuntimeData._maker_for(data)
        raise TypeError(f"node {node_id!r} is sent RuntimeData, not {type(data).__name__}; {how}")
