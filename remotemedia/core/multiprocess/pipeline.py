"""Pipeline: the graph of nodes (seed ``000``, "Session Creation"), and the checks on it before anything starts."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, Self

from remotemedia.core.multiprocess.registry import lookup_node
from remotemedia.errors import PipelineError

__all__ = ["SESSION_NAME", "Connection", "NodeConfig", "Pipeline"]

SESSION_NAME = "session"
"""What the names of channels call the session: ``session_to_asr``."""


@dataclass(frozen=True)
class NodeConfig:
    """One node of a pipeline: its registered type, its id, and the JSON values given to it."""

    node_type: str
    node_id: str
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Connection:
    """One edge: what ``from_node`` puts out on ``from_port`` arrives at ``to_node`` with ``data.port == to_port``."""

    from_node: str
    from_port: str
    to_node: str
    to_port: str

    def __str__(self) -> str:
        return f"{self.from_node}.{self.from_port} -> {self.to_node}.{self.to_port}"


class Pipeline:
    """Nodes and connections. Methods return the pipeline, so that calls can be chained.

    Nodes without a connection into them take what ``session.send`` sends; nodes without one out of them are what
    ``session.receive`` reads. ``add_input`` and ``add_output`` open further nodes to the session.
    """

    def __init__(self) -> None:
        self.nodes: list[NodeConfig] = []
        self.connections: list[Connection] = []
        self.extra_inputs: list[str] = []
        self.extra_outputs: list[str] = []

    def add_node(self, node_type: str, node_id: str, config: dict[str, Any] | None = None) -> Self:
        """Adds a node of a registered type. PipelineError for a wrong id, an id already used, or a config not JSON."""
        for name, value in (("node_type", node_type), ("node_id", node_id)):
            if not isinstance(value, str) or not value or "\0" in value:
                raise PipelineError(f"{name} must be a non-empty str, not {value!r}")
        if node_id == SESSION_NAME:
            raise PipelineError(f"node id {node_id!r} is what channels call the session itself; choose another")
        if any(node.node_id == node_id for node in self.nodes):
            raise PipelineError(f"node id {node_id!r} is used twice; ids must differ")
        config = {} if config is None else config
        if not isinstance(config, dict):
            raise PipelineError(f"config of node {node_id!r} must be a dict, not {type(config).__name__}")
        try:
            _check_json(config, f"config of node {node_id!r}")
            config = json.loads(json.dumps(config))  # a copy: what the caller changes afterwards was not checked
        except (ValueError, RecursionError) as error:
            if isinstance(error, PipelineError):
                raise
            raise PipelineError(f"config of node {node_id!r} cannot be JSON: {error}") from None
        self.nodes.append(NodeConfig(node_type, node_id, config))
        return self

    def connect(self, from_node: str, from_port: str, to_node: str, to_port: str) -> Self:
        """Adds a connection. The nodes may be added later; ``validate`` checks that they were."""
        connection = Connection(from_node, from_port, to_node, to_port)
        for name in (from_node, from_port, to_node, to_port):
            if not isinstance(name, str) or not name:
                raise PipelineError(f"connection {connection}: node ids and ports must be non-empty str, not {name!r}")
        if connection in self.connections:
            raise PipelineError(f"connection {connection} is made twice")
        self.connections.append(connection)
        return self

    def add_input(self, node_id: str) -> Self:
        """Lets ``session.send`` send to this node although other nodes feed it too."""
        self.extra_inputs.append(node_id)
        return self

    def add_output(self, node_id: str) -> Self:
        """Lets ``session.receive`` read this node's output although other nodes take it too; then it must be read."""
        self.extra_outputs.append(node_id)
        return self

    # --- what the graph says ---

    @property
    def node_ids(self) -> list[str]:
        """In the order they were added."""
        return [node.node_id for node in self.nodes]

    @property
    def input_nodes(self) -> list[str]:
        """Nodes that take what the session sends."""
        fed = {connection.to_node for connection in self.connections}
        return [n for n in self.node_ids if n not in fed or n in self.extra_inputs]

    @property
    def output_nodes(self) -> list[str]:
        """Nodes whose output the session receives."""
        read = {connection.from_node for connection in self.connections}
        return [n for n in self.node_ids if n not in read or n in self.extra_outputs]

    def ancestors(self, node_id: str) -> set[str]:
        """All nodes whose output can reach this one."""
        found: set[str] = set()
        todo = [node_id]
        while todo:
            at = todo.pop()
            for connection in self.connections:
                if connection.to_node == at and connection.from_node not in found:
                    found.add(connection.from_node)
                    todo.append(connection.from_node)
        return found

    def channel_names(self) -> dict[Connection, str]:
        """The name of each connection's channel: ``asr_to_tts``, with ports where that name would not be its alone."""
        plain = {c: f"{c.from_node}_to_{c.to_node}" for c in self.connections}
        uses = Counter(plain.values())
        uses.update(f"{SESSION_NAME}_to_{node_id}" for node_id in self.input_nodes)
        uses.update(f"{node_id}_to_{SESSION_NAME}" for node_id in self.output_nodes)
        names: dict[Connection, str] = {}
        for c, name in plain.items():
            if uses[name] > 1:
                name = f"{c.from_node}.{c.from_port}_to_{c.to_node}.{c.to_port}"
                # Ids and ports may hold dots and "_to_" themselves.
                while name in uses:
                    name += "'"
                uses[name] += 1
            names[c] = name
        return names

    def validate(self) -> None:
        """Raises PipelineError for an empty pipeline, an unknown node or node type, or a cycle; names the place."""
        if not self.nodes:
            raise PipelineError("the pipeline has no nodes; add_node() adds one")
        known = set(self.node_ids)
        choices = f"the nodes are: {', '.join(self.node_ids)}"
        for connection in self.connections:
            for node_id in (connection.from_node, connection.to_node):
                if node_id not in known:
                    raise PipelineError(f"connection {connection}: there is no node {node_id!r}; {choices}")
        for name, node_ids in (("add_input", self.extra_inputs), ("add_output", self.extra_outputs)):
            for node_id in node_ids:
                if node_id not in known:
                    raise PipelineError(f"{name}({node_id!r}): there is no such node; {choices}")
        self._check_cycles()
        both = {f"{SESSION_NAME}_to_{n}" for n in self.input_nodes} & {
            f"{n}_to_{SESSION_NAME}" for n in self.output_nodes
        }
        if both:
            raise PipelineError(f"two channels would both be called {min(both)!r}; rename a node")
        for node in self.nodes:
            try:
                lookup_node(node.node_type)
            except PipelineError as error:
                raise PipelineError(f"node {node.node_id!r}: {error}") from None

    def _check_cycles(self) -> None:
        after: dict[str, list[str]] = defaultdict(list)
        for connection in self.connections:
            after[connection.from_node].append(connection.to_node)
        done: set[str] = set()
        for start in self.node_ids:
            # Depth first, with the path kept by hand: a graph may be deeper than Python's stack.
            path: list[str] = []
            stack: list[tuple[str, bool]] = [(start, False)]
            while stack:
                node_id, leaving = stack.pop()
                if leaving:
                    path.pop()
                    done.add(node_id)
                    continue
                if node_id in path:
                    circle = [*path[path.index(node_id) :], node_id]
                    raise PipelineError(f"the connections form a cycle: {' -> '.join(circle)}; remove one of them")
                if node_id in done:
                    continue
                path.append(node_id)
                stack.append((node_id, True))
                stack.extend((following, False) for following in after[node_id])


def _check_json(value: Any, where: str) -> None:
    """PipelineError naming the key whose value would not arrive as it is."""
    if value is None or isinstance(value, bool | int | float | str):
        return
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise PipelineError(f"{where}: key {key!r} must be a str")
            _check_json(item, f"{where}[{key!r}]")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check_json(item, f"{where}[{index}]")
    else:
        raise PipelineError(
            f"{where} is a {type(value).__name__}; a config holds JSON values only "
            f"(None, bool, int, float, str, list, dict)"
        )
