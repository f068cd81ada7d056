"""What keeps a pipeline from running: the one list of checks for pipelines and for manifests."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator
from typing import TYPE_CHECKING

from remotemedia._naming import few, offer, place
from remotemedia._python_rules import ENV, python_problems
from remotemedia._rules import FLAG, MEMORY_LIMIT, NAME, RETRIES
from remotemedia._telling import shown
from remotemedia.core.multiprocess.classes.registry import lookup_node
from remotemedia.core.multiprocess.node.declaration import data_types, param_problems, port_meant
from remotemedia.errors import PipelineError, Problem

if TYPE_CHECKING:
    from remotemedia.core.multiprocess.graph.pipeline import Connection, NodeConfig, Pipeline
    from remotemedia.core.multiprocess.node.declaration import Ports
    from remotemedia.core.multiprocess.node.node import MultiprocessNode

__all__ = ["SESSION_NAME", "made_twice", "node_problems", "pipeline_problems"]

SESSION_NAME = "session"
"""What the names of channels call the session: ``session_to_asr``."""

_MOST_NAMED = 20


def pipeline_problems(pipeline: Pipeline) -> Iterator[Problem]:
    """Every problem with its place, as a manifest would name it; the first kinds first."""
    if not pipeline.nodes:
        yield Problem("the pipeline has no nodes; add_node() adds one", "nodes")
        return
    yield from _wrong_parts(pipeline)
    yield from _unknown_ids(pipeline)
    yield from _cycles(pipeline)
    yield from _names_of_channels(pipeline)
    classes: dict[str, type[MultiprocessNode]] = {}
    unknown: dict[str, PipelineError] = {}  # each takes a search through all installed packages
    for index, node in enumerate(pipeline.nodes):
        try:
            if node.node_type in unknown:
                raise unknown[node.node_type].with_traceback(None)
            cls = classes[node.node_id] = lookup_node(node.node_type)
        except PipelineError as error:
            unknown[node.node_type] = error
            yield Problem(f"node {node.node_id!r}: {error}", place("nodes", index, "node_type"))
            continue
        for key, message in param_problems(cls.params, node.config) if cls.params is not None else ():
            yield Problem(f"node {node.node_id!r}: {message}", place("nodes", index, "params", key))
    for index, connection in enumerate(pipeline.connections):
        yield from _wrong_ports(connection, index, classes)


def node_problems(node: NodeConfig, others: Container[str]) -> Iterator[tuple[str, str]]:
    """Key in a manifest and message of what is wrong with a node, whatever its type: with what it is called beside the
    ``others``, with the form of its config, with its limit, its Python, its variables, what it does when it fails."""
    names = {"node_type": ("node_type", node.node_type), "id": ("node_id", node.node_id)}
    wrong_names = {key: f"{name} {wrong}" for key, (name, value) in names.items() if (wrong := NAME.wrong(value))}
    yield from wrong_names.items()
    if node.node_id == SESSION_NAME:
        yield "id", f"node id {node.node_id!r} is what channels call the session itself; choose another"
    elif "id" not in wrong_names and node.node_id in others:
        yield "id", f"node id {node.node_id!r} is used twice; ids must differ"
    if wrong := _not_json_object(node.config, f"config of node {node.node_id!r}"):
        yield "params", wrong
    if wrong := MEMORY_LIMIT.wrong(node.memory_limit_bytes):
        yield "memory_limit_bytes", f"memory_limit_bytes of node {node.node_id!r} {wrong}"
    for key, wrong in () if node.python is None else python_problems(node.python):
        yield f"python.{key}".rstrip("."), f"python{key and f'.{key}'} of node {node.node_id!r}: {wrong}"
    if ENV.refusal(node.env):
        yield "env", f"env of node {node.node_id!r} must be {ENV.words()}"  # what was given may be secret
    for key, rule in (("retries", RETRIES), ("failure_marks", FLAG)):
        if wrong := rule.wrong(getattr(node, key)):
            yield key, f"{key} of node {node.node_id!r} {wrong}"


def _not_json_object(config: object, where: str) -> str | None:
    if not isinstance(config, dict):
        return f"{where} must be a dict, not {type(config).__name__}"  # what was given may be secret
    try:
        found = _not_json(config)
    except RecursionError as error:
        return f"{where} cannot be JSON: {error}"
    return f"{where}{found[0]}{found[1]}" if found else None


def _not_json(value: object) -> tuple[str, str] | None:
    """Where in a value something would not arrive as it is, and what is said of it; None when all would."""
    if value is None or isinstance(value, bool | int | float | str):
        return None
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                return "", f": key {shown(key)} must be a str"
    elif not isinstance(value, list | tuple):
        kinds = "(None, bool, int, float, str, list, dict)"
        return "", f" is a {type(value).__name__}; a config holds JSON values only {kinds}"
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        if found := _not_json(item):
            return f"[{key!r}]{found[0]}", found[1]
    return None


def made_twice(connection: Connection) -> str:
    """The message for a connection that already exists."""
    return f"connection {connection} is made twice"


def _wrong_parts(pipeline: Pipeline) -> Iterator[Problem]:
    known: set[str] = set()
    for index, node in enumerate(pipeline.nodes):
        for key, message in node_problems(node, known):
            yield Problem(message, f"{place('nodes', index)}.{key}")
        known.add(node.node_id)
    made: set[Connection] = set()
    for index, connection in enumerate(pipeline.connections):
        if connection in made:
            yield Problem(made_twice(connection), place("connections", index))
        made.add(connection)


def _unknown_ids(pipeline: Pipeline) -> Iterator[Problem]:
    known = set(pipeline.node_ids)
    nodes = f"the nodes are: {', '.join(few(pipeline.node_ids, _MOST_NAMED))}"
    for index, connection in enumerate(pipeline.connections):
        for end, node_id in (("from", connection.from_node), ("to", connection.to_node)):
            if node_id not in known:
                message = f"connection {connection}: there is no node {node_id!r}; {nodes}"
                yield Problem(message, place("connections", index, end))
    for kind, node_ids in (("input", pipeline.extra_inputs), ("output", pipeline.extra_outputs)):
        for index, node_id in enumerate(node_ids):
            if node_id not in known:
                message = f"{kind} node {node_id!r}: there is no such node; {nodes}"
                yield Problem(message, place(f"{kind}s", index))


def _cycles(pipeline: Pipeline) -> Iterator[Problem]:
    after: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for index, connection in enumerate(pipeline.connections):
        after[connection.from_node].append((connection.to_node, index))
    done: set[str] = set()
    for start in pipeline.node_ids:
        # Depth first, with the path kept by hand: a graph may be deeper than Python's stack.
        path: dict[str, None] = {}
        stack: list[tuple[str, int, bool]] = [(start, 0, False)]
        while stack:
            node_id, index, leaving = stack.pop()
            if leaving:
                path.popitem()
                done.add(node_id)
            elif node_id in path:
                order = list(path)
                circle = " -> ".join([*few(order[order.index(node_id) :], _MOST_NAMED), node_id])
                message = f"the connections form a cycle: {circle}; remove one of them"
                yield Problem(message, place("connections", index))
            elif node_id not in done:
                path[node_id] = None
                stack.append((node_id, index, True))
                stack.extend((following, edge, False) for following, edge in after[node_id])


def _names_of_channels(pipeline: Pipeline) -> Iterator[Problem]:
    into = {f"{SESSION_NAME}_to_{node_id}" for node_id in pipeline.input_nodes if node_id != SESSION_NAME}
    for name in sorted(into & {f"{node_id}_to_{SESSION_NAME}" for node_id in pipeline.output_nodes}):
        yield Problem(f"two channels would both be called {name!r}; rename a node", "nodes")


def _wrong_ports(connection: Connection, index: int, classes: dict[str, type[MultiprocessNode]]) -> Iterator[Problem]:
    giver, taker = classes.get(connection.from_node), classes.get(connection.to_node)
    outputs = None if giver is None else giver.outputs
    inputs = None if taker is None else taker.inputs
    from_port = connection.from_port if giver is None else port_meant(outputs, giver.port_aliases, connection.from_port)
    to_port = connection.to_port if taker is None else port_meant(inputs, taker.port_aliases, connection.to_port)
    ends = (
        ("output", "from_port", connection.from_node, from_port, outputs),
        ("input", "to_port", connection.to_node, to_port, inputs),
    )
    for kind, key, node_id, port, ports in ends:
        if ports is not None and port not in ports:
            hint = _ports(kind, port, ports)
            yield Problem(
                f"connection {connection}: node {node_id!r} has no {kind} port {port!r}; {hint}",
                place("connections", index, key),
            )
    given, taken = data_types(outputs, from_port), data_types(inputs, to_port)
    if given is not None and taken is not None and not given & taken:
        yield Problem(
            f"connection {connection}: {_names(given)} cannot go to {connection.to_node!r}, "
            f"whose port {to_port!r} takes {_names(taken)}",
            place("connections", index),
        )


def _ports(kind: str, port: str, ports: Ports) -> str:
    return offer(port, ports, f"its {kind} ports are") if ports else f"it has no {kind} ports"


def _names(types: frozenset[object]) -> str:
    return " or ".join(sorted(str(getattr(entry, "name", entry)) for entry in types))
