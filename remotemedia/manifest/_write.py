"""From a pipeline to its manifest."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from remotemedia.core.multiprocessing import Pipeline

__all__ = ["manifest_of"]


def manifest_of(pipeline: Pipeline, name: str | None = None) -> dict[str, Any]:
    """The manifest of a pipeline as JSON values; what it does not need is left out. Copies the configs."""
    manifest: dict[str, Any] = {"version": "v1"}
    if name is not None or pipeline.name:
        manifest["metadata"] = {"name": pipeline.name if name is None else name}
    manifest["nodes"] = [
        {"id": node.node_id, "node_type": node.node_type}
        | ({"params": copy.deepcopy(node.config)} if node.config else {})
        | ({} if node.memory_limit_bytes is None else {"memory_limit_bytes": node.memory_limit_bytes})
        | ({} if node.python is None else {"python": _plain(node.python)})
        | ({"env": dict(node.env)} if node.env else {})
        | ({"retries": node.retries} if node.retries else {})
        | ({"failure_marks": True} if node.failure_marks else {})
        for node in pipeline.nodes
    ]
    # With ports of their own, and not as "node.port": that form has to be read beside all node ids.
    manifest["connections"] = [
        {"from": c.from_node, "from_port": c.from_port, "to": c.to_node, "to_port": c.to_port}
        for c in pipeline.connections
    ]
    for key, node_ids in (("inputs", pipeline.extra_inputs), ("outputs", pipeline.extra_outputs)):
        if node_ids:
            manifest[key] = list(dict.fromkeys(node_ids))
    return manifest


def _plain(python: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, list | tuple) else value for key, value in python.items()}
