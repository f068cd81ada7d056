"""A pipeline as a few lines of text."""

from __future__ import annotations

from collections.abc import Iterator
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from remotemedia.core.multiprocessing import Pipeline

__all__ = ["draw"]


def draw(pipeline: Pipeline) -> Iterator[str]:
    """One line for each node in the order that data takes, and one more for each further way out of it."""
    ids = max(len(node.node_id) for node in pipeline.nodes)
    types = max(len(node.node_type) for node in pipeline.nodes)
    by_id = {node.node_id: node for node in pipeline.nodes}
    for node_id in _order(pipeline):
        entry = "in ─►" if node_id in pipeline.input_nodes else ""
        ways = [f"{c.from_port} ─► {c.to_node}.{c.to_port}" for c in pipeline.connections if c.from_node == node_id]
        if node_id in pipeline.output_nodes:
            ways.append("─► out")
        yield f"{entry:5} {node_id:{ids}}  {by_id[node_id].node_type:{types}}  {ways[0]}"
        for way in ways[1:]:
            yield f"{'':{5 + 1 + ids + 2 + types + 2}}{way}"


def _order(pipeline: Pipeline) -> Iterator[str]:
    before: dict[str, list[str]] = {node_id: [] for node_id in pipeline.node_ids}
    for connection in pipeline.connections:
        before[connection.to_node].append(connection.from_node)
    return iter(TopologicalSorter(before).static_order())
