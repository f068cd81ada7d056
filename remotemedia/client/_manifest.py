"""What a user gives as a pipeline, as the wire has it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

import remotemedia_v1_pb2 as pb

from remotemedia._naming import node_and_port
from remotemedia.core.multiprocessing import Connection, MultiprocessConfig, NodeConfig, Pipeline
from remotemedia.errors import PipelineError
from remotemedia.manifest import read_manifest

__all__ = ["ConfigSource", "PipelineSource", "RemotePlan", "remote_plan"]

PipelineSource: TypeAlias = "Pipeline | Mapping[str, Any] | Path | str"
ConfigSource: TypeAlias = "MultiprocessConfig | Mapping[str, Any] | None"


@dataclass(frozen=True)
class RemotePlan:
    """The pipeline to run, and what a client has to know of it.

    Attributes:
        message: the manifest as it is sent.
        graph: its nodes and connections, without params and ports; what the nodes declare is found by it if their types
            are known here.
        node_ids, inputs, outputs: all nodes, those that can be sent to, those that can be received from.
    """

    message: pb.PipelineManifest
    graph: Pipeline
    node_ids: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def remote_plan(source: PipelineSource, config: ConfigSource) -> RemotePlan:
    """Raises ManifestError for a manifest of the wrong form; whether it can run, the service knows."""
    manifest = source.to_manifest() if isinstance(source, Pipeline) else read_manifest(source)
    graph = _graph_of(manifest)
    metadata = manifest.get("metadata", {})
    message = pb.PipelineManifest(
        version=manifest["version"],
        metadata=pb.ManifestMetadata(name=metadata.get("name", ""), description=metadata.get("description", "")),
        nodes=[_node(node) for node in manifest["nodes"]],
        connections=[pb.Connection(**connection) for connection in manifest.get("connections", ())],
        inputs=manifest.get("inputs", ()),
        outputs=manifest.get("outputs", ()),
    )
    settings = {**metadata.get("multiprocess", {}), **_settings(config)}
    if settings:
        message.metadata.multiprocess.update(settings)
    return RemotePlan(message, graph, tuple(graph.node_ids), tuple(graph.input_nodes), tuple(graph.output_nodes))


def _graph_of(manifest: Mapping[str, Any]) -> Pipeline:
    """The nodes and who feeds whom. Ports are left out: which are meant where none is named, the service knows."""
    graph = Pipeline()
    graph.nodes = [NodeConfig(node["node_type"], node["id"]) for node in manifest["nodes"]]
    node_ids = set(graph.node_ids)
    for connection in manifest.get("connections", ()):
        giver, taker = (node_and_port(connection[end], node_ids)[0] for end in ("from", "to"))
        graph.connections.append(Connection(giver, "", taker, ""))
    graph.extra_inputs = manifest.get("inputs", [])
    graph.extra_outputs = manifest.get("outputs", [])
    return graph


def _node(node: Mapping[str, Any]) -> pb.NodeManifest:
    # As text: a Struct would make one kind of number of 1 and 1.0.
    params = node.get("params")
    try:
        params_json = json.dumps(params, allow_nan=False) if params else ""
    except ValueError as error:
        raise PipelineError(f"params of node {node['id']!r} cannot be JSON: {error}") from None
    return pb.NodeManifest(
        id=node["id"],
        node_type=node["node_type"],
        params_json=params_json,
        memory_limit_bytes=node.get("memory_limit_bytes") or 0,
        python=pb.NodePython(**node["python"]) if node.get("python") else None,
        env=node.get("env", {}),
        retries=node.get("retries", 0),
        failure_marks=node.get("failure_marks", False),
    )


def _settings(config: ConfigSource) -> dict[str, Any]:
    if not isinstance(config, MultiprocessConfig):
        return dict(config or {})
    usual = MultiprocessConfig()
    values = {f.name: getattr(config, f.name) for f in fields(config)}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if value != getattr(usual, name)
    }
