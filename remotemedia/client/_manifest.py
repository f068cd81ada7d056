"""What a user gives as a pipeline, as the wire has it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

import remotemedia_v1_pb2 as pb

from remotemedia.core.multiprocessing import MultiprocessConfig, NodeConfig, Pipeline
from remotemedia.errors import PipelineError
from remotemedia.manifest import read_manifest

__all__ = ["PipelineSource", "Plan", "Settings", "plan_of"]

PipelineSource: TypeAlias = "Pipeline | Mapping[str, Any] | Path | str"
Settings: TypeAlias = "MultiprocessConfig | Mapping[str, Any] | None"


@dataclass(frozen=True)
class Plan:
    """What is to run, and what of it a client has to know.

    Attributes:
        message: the manifest as it is sent.
        types: the nodes alone, with which their declarations are found if their types are known here.
        node_ids, inputs, outputs: all nodes, those that take what is sent, those whose outputs are received.
    """

    message: pb.PipelineManifest
    types: Pipeline
    node_ids: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def plan_of(source: PipelineSource, config: Settings) -> Plan:
    """Raises ManifestError for a manifest of the wrong form; whether it can run, the service knows."""
    manifest = source.to_manifest() if isinstance(source, Pipeline) else read_manifest(source)
    connections: list[dict[str, str]] = manifest.get("connections", [])
    node_ids = tuple(node["id"] for node in manifest["nodes"])
    fed = {_node_of(c["to"], node_ids) for c in connections}.difference(manifest.get("inputs", ()))
    read = {_node_of(c["from"], node_ids) for c in connections}.difference(manifest.get("outputs", ()))
    metadata = manifest.get("metadata", {})
    message = pb.PipelineManifest(
        version=manifest["version"],
        metadata=pb.ManifestMetadata(name=metadata.get("name", ""), description=metadata.get("description", "")),
        nodes=[_node(node) for node in manifest["nodes"]],
        connections=[pb.Connection(**connection) for connection in connections],
        inputs=manifest.get("inputs", ()),
        outputs=manifest.get("outputs", ()),
    )
    settings = {**metadata.get("multiprocess", {}), **_settings(config)}
    if settings:
        message.metadata.multiprocess.update(settings)
    types = Pipeline()
    types.nodes = [NodeConfig(node["node_type"], node["id"]) for node in manifest["nodes"]]
    return Plan(
        message,
        types,
        node_ids,
        tuple(n for n in node_ids if n not in fed),
        tuple(n for n in node_ids if n not in read),
    )


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
    )


def _node_of(end: str, node_ids: tuple[str, ...]) -> str:
    """Of ``"node.port"`` the node. Ids may have dots: the longest that is one wins."""
    while end not in node_ids and "." in end:
        end = end.rpartition(".")[0]
    return end


def _settings(config: Settings) -> dict[str, Any]:
    if not isinstance(config, MultiprocessConfig):
        return dict(config or {})
    usual = MultiprocessConfig()
    values = {f.name: getattr(config, f.name) for f in fields(config)}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if value != getattr(usual, name)
    }
