"""What calls without a stream give back."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import remotemedia_v1_pb2 as pb

from remotemedia.core.data import RuntimeData
from remotemedia.wire.buffers import data_of
from remotemedia.wire.payload import Envelope

__all__ = ["ExecutionResult", "ServiceVersion", "result_of"]


@dataclass(frozen=True)
class ExecutionResult:
    """What a pipeline made of its inputs.

    Attributes:
        outputs: by output node, in order; arrays are read-only views of the bytes received.
        metrics: the message ExecutionMetrics as it came, such as ``metrics.wall_time_ms``.
        node_results: by node ``"SUCCESS"``, ``"SKIPPED"`` or ``"FAILED"``.
    """

    outputs: dict[str, list[RuntimeData]]
    metrics: pb.ExecutionMetrics
    node_results: dict[str, str]


@dataclass(frozen=True)
class ServiceVersion:
    """The version of a service.

    Attributes:
        runtime: the version of the service's remotemedia.
        protocol: such as ``"v1"``.
        node_types: what a manifest may name.
    """

    runtime: str
    protocol: str
    node_types: tuple[str, ...]


def result_of(response: Envelope[pb.ExecuteResponse], node_ids: Collection[str]) -> ExecutionResult:
    """The outputs under ``ID``, ``ID.1``, ``ID.2`` in order; ValueError for malformed data."""
    result = response.message.result
    found: dict[str, list[tuple[int, RuntimeData]]] = {}
    for key, buffer in result.data_outputs.items():
        node_id, number = key, 0
        if key not in node_ids:
            node_id, _, digits = key.rpartition(".")
            if node_id not in node_ids or not digits.isdecimal():
                continue  # the same once more, under a name for other clients
            number = int(digits)
        found.setdefault(node_id, []).append((number, data_of(buffer, response.payloads)))
    return ExecutionResult(
        {node_id: [data for _, data in sorted(entries, key=_first)] for node_id, entries in found.items()},
        result.metrics,
        {node.node_id: pb.NodeStatus.Name(node.status).removeprefix("NODE_STATUS_") for node in result.node_results},
    )


def _first(entry: tuple[int, RuntimeData]) -> int:
    return entry[0]
