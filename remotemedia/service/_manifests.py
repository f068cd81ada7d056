"""From what a client asks for to a pipeline and its settings, or to everything that is wrong with it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import remotemedia_v1_pb2 as pb

from remotemedia._rules import LEAST_MEMORY_LIMIT_BYTES, MOST_MEMORY_LIMIT_BYTES, PYTHONS_IN_FORCE
from remotemedia._telling import clip
from remotemedia.core.multiprocessing import MultiprocessConfig, Pipeline, lookup_node
from remotemedia.errors import ManifestError, PipelineError, Problem
from remotemedia.manifest import load_manifest
from remotemedia.service._manifest_size import check_entries, check_size, check_values, long_names
from remotemedia.service._values import params_of, settings_of
from remotemedia.service.config import ServiceConfig

__all__ = ["BadRequest", "SessionPlan", "manifest_in_request", "session_plan"]

_AT_TOP_LEVEL = ("version", "metadata", "nodes", "connections", "inputs", "outputs")

_MOST_TOLD = 20
_MOST_RECEIVED_CHARS = 1000

_OPERATORS_OWN = {
    "python_executable": "allowed_pythons",
    "venv_path": "allowed_venvs",
    "extra_paths": "allowed_extra_paths",
}
"""Settings that choose what code runs on the service's machine, and the service's settings that allow them."""


class BadRequest(Exception):
    """A client's request cannot be carried out.

    Attributes:
        node_id: the one node that is to blame, or "".
        context: more for programs, or "".
    """

    def __init__(self, message: str, node_id: str = "", context: str = "") -> None:
        super().__init__(message)
        self.node_id = node_id
        self.context = context


@dataclass(frozen=True)
class SessionPlan:
    """A pipeline to run, and its settings."""

    pipeline: Pipeline
    config: MultiprocessConfig


def manifest_in_request(request: pb.ExecuteRequest) -> pb.PipelineManifest | None:
    """The manifest, whichever way it is written; None without one. ValueError for two."""
    check_entries(request)
    at_top = pb.PipelineManifest(**{name: getattr(request, name) for name in _AT_TOP_LEVEL if _is_set(request, name)})
    if not request.HasField("manifest"):
        return at_top if at_top.ByteSize() or request.HasField("metadata") else None
    if at_top.ByteSize() or request.HasField("metadata"):
        raise ValueError("the request has a manifest twice: in `manifest`, and in fields of its own")
    return request.manifest


def session_plan(
    manifest: pb.PipelineManifest, limits: pb.ResourceLimits, settings: MultiprocessConfig, service: ServiceConfig
) -> SessionPlan:
    """What to run for a manifest; ``settings`` hold where it says nothing. BadRequest with all that is wrong."""
    check_size(manifest)
    if long := [("", problem) for problem in long_names(manifest)]:
        raise _refusal(long)
    problems: list[tuple[str, Problem]] = []
    nodes = [_node(node, index, problems) for index, node in enumerate(manifest.nodes)]
    document: dict[str, Any] = {
        "version": manifest.version,
        "metadata": _metadata(manifest.metadata, problems),
        "nodes": nodes,
        "connections": [_connection(connection) for connection in manifest.connections],
        **{key: list(names) for key in ("inputs", "outputs") if (names := getattr(manifest, key))},
    }
    document["metadata"] = {key: value for key, value in document["metadata"].items() if value}
    check_values(nodes, document["metadata"].get("multiprocess", {}))
    if not problems:
        problems += _refused_here(document, settings, service)
    if problems:
        raise _refusal(problems, nodes)
    try:
        loaded = load_manifest(document)
    except ManifestError as error:
        raise _refusal([(_node_at(problem, nodes), problem) for problem in error.problems], nodes) from None
    return SessionPlan(loaded.pipeline, _merged(settings, loaded.settings, limits.max_memory_bytes, service))


def _is_set(request: pb.ExecuteRequest, name: str) -> bool:
    return request.HasField("metadata") if name == "metadata" else bool(getattr(request, name))


# --- parts of a manifest -------------------------------------------------------------------------------------------


def _node(node: pb.NodeManifest, index: int, problems: list[tuple[str, Problem]]) -> dict[str, Any]:
    found: dict[str, Any] = {"id": node.id, "node_type": node.node_type}
    try:
        if params := params_of(node):
            found["params"] = params
    except ValueError as error:
        problems.append((node.id, Problem(f"node {node.id!r}: {error}", f"nodes[{index}].params")))
    if node.memory_limit_bytes:
        found["memory_limit_bytes"] = node.memory_limit_bytes
    if node.HasField("python"):
        values = {field.name: getattr(node.python, field.name) for field in pb.NodePython.DESCRIPTOR.fields}
        found["python"] = {
            name: value if isinstance(value, str) else list(value) for name, value in values.items() if value
        }
    if node.env:
        found["env"] = dict(node.env)
    if node.retries:
        found["retries"] = node.retries
    if node.failure_marks:
        found["failure_marks"] = True
    if node.id.startswith("_"):
        message = f"node id {node.id!r} begins with '_': such ids are the service's own"
        problems.append((node.id, Problem(message, f"nodes[{index}].id")))
    return found


def _metadata(metadata: pb.ManifestMetadata, problems: list[tuple[str, Problem]]) -> dict[str, Any]:
    found: dict[str, Any] = {"name": metadata.name}
    try:
        found["multiprocess"] = settings_of(metadata)
    except ValueError as error:
        problems.append(("", Problem(str(error), "metadata.multiprocess")))
    return found


def _connection(connection: pb.Connection) -> dict[str, Any]:
    found = {"from": getattr(connection, "from"), "to": connection.to}
    return found | {key: port for key in ("from_port", "to_port") if (port := getattr(connection, key))}


# --- settings ------------------------------------------------------------------------------------------------------


def _refused_here(
    document: dict[str, Any], base: MultiprocessConfig, service: ServiceConfig
) -> Iterable[tuple[str, Problem]]:
    """What the operator does not leave to clients."""
    settings = document["metadata"].get("multiprocess", {})
    for name, option in _OPERATORS_OWN.items():
        allowed = getattr(service, option)
        asked = settings.get(name)
        for value in asked if isinstance(asked, list) else [] if asked is None else [asked]:
            if value not in allowed and value not in _in_force(base, name):
                # The value in force is a path of this machine, which clients need not know.
                told = ["python"] * (name == "python_executable") + [*allowed]
                known = f" (allowed: {', '.join(told)})" if told else ""
                message = f"{value!r} is not allowed by this service{known}"
                yield "", Problem(message, f"metadata.multiprocess.{name}")
    for index, node in enumerate(document["nodes"]):
        for key, message in _python_refused(node, service):
            yield node["id"], Problem(f"node {node['id']!r}: {message}", f"nodes[{index}].{key}")
        if node["node_type"] in service.refused_node_types:
            message = f"node {node['id']!r}: node type {node['node_type']!r} is not offered by this service"
            yield node["id"], Problem(message, f"nodes[{index}].node_type")
        for name in node.get("params", {}):
            if f"{node['node_type']}.{name}" in service.refused_node_types:
                message = f"node {node['id']!r}: param {name!r} may not be given to this service"
                yield node["id"], Problem(message, f"nodes[{index}].node_type")


def _python_refused(node: Mapping[str, Any], service: ServiceConfig) -> Iterator[tuple[str, str]]:
    """Key and message of what a client says of a node's Python and may not."""
    python = node.get("python", {})
    for key, allowed in (("executable", service.allowed_pythons), ("venv_path", service.allowed_venvs)):
        if key in python and python[key] not in allowed:
            known = f" (allowed: {', '.join(allowed)})" if allowed else ""
            yield f"python.{key}", f"{key} {python[key]!r} is not allowed by this service{known}"
    if "requirements" in python and not service.allow_requirements:
        yield "python.requirements", "this service makes no environments for clients"
    for name in sorted(node.get("env", {}).keys() - set(service.allowed_env)):
        known = f" (allowed: {', '.join(service.allowed_env)})" if service.allowed_env else ""
        yield "env", f"the environment variable {name!r} is not allowed by this service{known}"


def _in_force(base: MultiprocessConfig, name: str) -> tuple[str | None, ...]:
    """The values that change nothing: the client would get the same without them."""
    if name == "extra_paths":
        return base.extra_paths
    return (base.python_executable, *PYTHONS_IN_FORCE) if name == "python_executable" else (base.venv_path,)


def _merged(
    base: MultiprocessConfig, given: Mapping[str, Any], asked_bytes: int, service: ServiceConfig
) -> MultiprocessConfig:
    values = dict(given)
    python = values.get("python_executable")
    if python in PYTHONS_IN_FORCE or (python == base.python_executable and python not in service.allowed_pythons):
        del values["python_executable"]  # so that it does not override the service's own venv_path
    if "python_executable" in values and "venv_path" not in values:
        values["venv_path"] = None  # the service's own would win over it
    # How long its own event loop may spin, which all clients share, is not for one of them to say.
    values["spin_us"] = min(values.get("spin_us", base.spin_us), base.spin_us)
    config = dataclasses.replace(base, **values)
    limits = [config.node_memory_limit_bytes, service.max_node_memory_bytes]
    if asked_bytes:
        limits.append(min(max(asked_bytes, LEAST_MEMORY_LIMIT_BYTES), MOST_MEMORY_LIMIT_BYTES))
    lowest = min((limit for limit in limits if limit is not None), default=None)
    return dataclasses.replace(config, node_memory_limit_bytes=lowest)


# --- what to say ---------------------------------------------------------------------------------------------------


def _node_at(problem: Problem, nodes: list[dict[str, Any]]) -> str:
    """The id of the node whose entry in the manifest a problem is about, or ""."""
    head, _, rest = problem.place.partition("]")
    if not (head.startswith("nodes[") and head[6:].isdigit() and rest.startswith(".")):
        return ""
    return str(nodes[int(head[6:])]["id"])


def _refusal(problems: list[tuple[str, Problem]], nodes: Iterable[dict[str, Any]] = ()) -> BadRequest:
    to_blame = {node_id for node_id, _ in problems}
    node_id = to_blame.pop() if len(to_blame) == 1 else ""
    by_id = {node["id"]: node for node in nodes}
    if by_id and all(".params." in problem.place for _, problem in problems):
        reports = [_param_report(by_id[owner], problem) for owner, problem in problems[:_MOST_TOLD]]
        context = f"{len(problems)} validation error(s) in node parameters"
        return BadRequest(json.dumps(reports, ensure_ascii=False), node_id, context)
    messages = [_said(problem, by_id.get(owner)) for owner, problem in problems[:_MOST_TOLD]]
    if len(problems) > _MOST_TOLD:
        messages.append(f"and {len(problems) - _MOST_TOLD} more problems")
    return BadRequest("Manifest validation error: " + "\n".join(messages), node_id)


def _said(problem: Problem, node: Mapping[str, Any] | None) -> str:
    if node is not None and problem.place.endswith(".node_type"):
        unknown, text = f"Unknown node type {node['node_type']!r}", problem.message
        if unknown in text:
            return f"{unknown} for node {node['id']!r}{text.partition(unknown)[2].partition(' (register')[0]}"
    names_it = node is not None and node["id"] and repr(node["id"]) in problem.message
    return problem.message if names_it or not problem.place else f"{problem.place}: {problem.message}"


def _param_report(node: Mapping[str, Any], problem: Problem) -> dict[str, Any]:
    key = problem.place.partition(".params.")[2]
    declared = _declared(node["node_type"]).get(key)
    received = node.get("params", {}).get(key)
    if declared is None:
        constraint, expected = "unknown", "no such param"
    elif key in node.get("params", {}):
        constraint, expected = "value", declared.rule
    else:
        constraint, expected = "required", declared.rule
    return {
        "node_id": node["id"],
        "node_type": node["node_type"],
        "path": key,
        "constraint": constraint,
        "expected": expected,
        "received": _brief(received),
        "message": _brief(problem.message),
    }


def _brief(value: object) -> object:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return value if len(text) <= _MOST_RECEIVED_CHARS else clip(text, _MOST_RECEIVED_CHARS)


def _declared(node_type: str) -> Mapping[str, Any]:
    try:
        return lookup_node(node_type).params or {}
    except PipelineError:
        return {}
