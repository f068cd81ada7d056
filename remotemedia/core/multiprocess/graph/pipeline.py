"""Pipeline: the graph of nodes, and the checks on it before anything starts."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from remotemedia._naming import offer
from remotemedia._rules import NAME
from remotemedia._telling import shown
from remotemedia.core.multiprocess.classes.registry import lookup_node
from remotemedia.core.multiprocess.graph.checks import SESSION_NAME, made_twice, node_problems, pipeline_problems
from remotemedia.core.multiprocess.node.declaration import Ports, data_types, port_meant
from remotemedia.errors import PipelineError, Problem

if TYPE_CHECKING:
    from remotemedia.core.data import DataType, RuntimeData
    from remotemedia.core.multiprocess.node.node import MultiprocessNode

__all__ = ["SESSION_NAME", "Connection", "NodeConfig", "Pipeline"]


@dataclass(frozen=True)
class NodeConfig:
    """One node of a pipeline: its registered type, its id, the JSON values given to it, its own memory limit, its own
    Python and environment variables, and what it does when it fails for a message.

    Its config and its variables may be secret: ``repr`` leaves them out.
    """

    node_type: str
    node_id: str
    config: dict[str, Any] = field(default_factory=dict, repr=False)
    memory_limit_bytes: int | None = None
    python: Mapping[str, Any] | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    retries: int = 0
    failure_marks: bool = False


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

    Args:
        name: by which metrics tell it from others; a manifest's ``metadata.name``.
    """

    def __init__(self, name: str = "") -> None:
        if not isinstance(name, str):
            raise TypeError(f"the name of a pipeline must be a str, not {type(name).__name__}")
        self.name = name
        self.nodes: list[NodeConfig] = []
        self.connections: list[Connection] = []
        self.extra_inputs: list[str] = []
        self.extra_outputs: list[str] = []

    def add_node(
        self,
        node_type: str,
        node_id: str,
        config: dict[str, Any] | None = None,
        *,
        memory_limit_bytes: int | None = None,
        python: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        retries: int = 0,
        failure_marks: bool = False,
    ) -> Self:
        """Adds a node of a registered type. PipelineError for a wrong id, an id already used, a config not JSON, or
        one of the others that is wrong.

        Args:
            memory_limit_bytes: without it, ``node_memory_limit_bytes`` of the session's settings holds.
            python: which Python the node's process runs; without it, the session's settings say so. One of
                ``executable``, a path or a command; ``venv_path``, the folder of a virtual environment; and
                ``requirements``, a list of what pip installs, made into an environment once and kept in the user's
                cache. With ``requirements``, ``version`` (such as "3.12") names another Python than this program's.
            env: environment variables that the node's process has beside this program's.
            retries: how often a message is given to the node again when ``process()`` or ``on_mark()`` raises, before
                it counts as failed; from 0 to 100.
            failure_marks: whether a mark, ``FAILURE``, goes on in the place of a message that failed
                (docs/lifecycle.md).
        """
        own = (memory_limit_bytes, python, {} if env is None else env, retries, failure_marks)
        node = NodeConfig(node_type, node_id, {} if config is None else config, *own)
        for _, message in node_problems(node, self.node_ids):
            raise PipelineError(message)
        try:
            copied = json.loads(json.dumps(node.config))  # what the caller changes afterwards was not checked
        except ValueError as error:
            raise PipelineError(f"config of node {node_id!r} cannot be JSON: {error}") from None
        self.nodes.append(replace(node, config=copied, python=copy.deepcopy(python), env=dict(node.env)))
        return self

    def connect(self, from_node: str, from_port: str, to_node: str, to_port: str) -> Self:
        """Adds a connection. The nodes may be added later; ``validate`` checks that they were."""
        names = (from_node, from_port, to_node, to_port)
        for name in names:
            if wrong := NAME.wrong(name):
                given = Connection(*(other if isinstance(other, str) else shown(other) for other in names))
                raise PipelineError(f"connection {given}: a node id or port {wrong}")
        connection = Connection(*names)
        if connection in self.connections:
            raise PipelineError(made_twice(connection))
        self.connections.append(connection)
        return self

    def add_input(self, node_id: str) -> Self:
        """Lets ``session.send`` send to this node although other nodes also feed it."""
        self.extra_inputs.append(node_id)
        return self

    def add_output(self, node_id: str) -> Self:
        """Lets ``session.receive`` read this node's output although other nodes also take it; then it must be read."""
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

    def input_port(self, node_id: str) -> str:
        """The port that is meant where none is named: the only input port the node declares, else ``"input"``."""
        return self._only_port(node_id, "inputs") or "input"

    def output_port(self, node_id: str) -> str:
        """The port that is meant where none is named: the only output port the node declares, else ``"output"``."""
        return self._only_port(node_id, "outputs") or "output"

    def declared_output_port(self, node_id: str) -> str:
        """The node's declared output port; "" if it declares none, or several."""
        return self._only_port(node_id, "outputs")

    def as_message(self, node_id: str, value: object, port: str = "") -> RuntimeData:
        """The message that a plain value stands for on an input port, if the node's declaration leaves one meaning.

        Arrays and bytes are not copied. A str can be sent where the port takes TEXT, a dict where it takes JSON, a list
        where it takes JSON and no arrays, an array or bytes where it takes TENSOR and nothing else that could be meant.
        Elsewhere the TypeError says how to make a message. A message is returned unchanged.
        """
        from remotemedia.core.data import RuntimeData  # here: making a pipeline does not need numpy
        from remotemedia.core.multiprocess.graph.meant import message_meant

        if isinstance(value, RuntimeData):
            return value
        port = self.input_port_meant(node_id, port) if port else self.input_port(node_id)
        return message_meant(value, self.input_types(node_id, port), node_id, port)

    def input_types(self, node_id: str, port: str = "") -> frozenset[DataType] | None:
        """The data types that an input port declares; None = any, or nothing is declared."""
        port = self._port_meant(node_id, "inputs", port) if port else self.input_port(node_id)
        return data_types(self._ports(node_id, "inputs"), port)

    def input_port_meant(self, node_id: str, port: str) -> str:
        """The input port's declared name, where ``port`` may be another name of it (``port_aliases``).

        PipelineError with the choices when the node declares its input ports and this is not one of them.
        """
        ports = self._ports(node_id, "inputs")
        meant = self._port_meant(node_id, "inputs", port)
        if ports is not None and meant not in ports:
            hint = offer(port, ports, "its input ports are") if ports else "it has no input ports"
            raise PipelineError(f"node {node_id!r} has no input port {port!r}; {hint}")
        return meant

    def output_port_meant(self, node_id: str, port: str) -> str:
        """The output port's declared name, where ``port`` may be another name of it; else ``port`` itself."""
        return self._port_meant(node_id, "outputs", port)

    def ports_meant(self, connection: Connection) -> tuple[str, str]:
        """The declared names of a connection's two ports, for which it may have other names."""
        return (
            self._port_meant(connection.from_node, "outputs", connection.from_port),
            self._port_meant(connection.to_node, "inputs", connection.to_port),
        )

    def _only_port(self, node_id: str, declared: str) -> str:
        ports = self._ports(node_id, declared)
        return next(iter(ports)) if ports is not None and len(ports) == 1 else ""

    def _port_meant(self, node_id: str, declared: str, port: str) -> str:
        cls = self._class_of(node_id)
        return port if cls is None else port_meant(getattr(cls, declared), cls.port_aliases, port)

    def _ports(self, node_id: str, declared: str) -> Ports | None:
        cls = self._class_of(node_id)
        ports: Ports | None = None if cls is None else getattr(cls, declared)
        return ports

    def _class_of(self, node_id: str) -> type[MultiprocessNode] | None:
        node_type = next((node.node_type for node in self.nodes if node.node_id == node_id), None)
        try:
            return None if node_type is None else lookup_node(node_type)
        except PipelineError:
            return None  # the checks say so

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

    def reached_from(self, node_ids: Collection[str]) -> set[str]:
        """These nodes and all that their output can reach. PipelineError, with the choices, for one there is not."""
        named, known = set(node_ids), self.node_ids
        if unknown := sorted(named.difference(known)):
            raise PipelineError(f"there is no node {unknown[0]!r}; {offer(unknown[0], known, 'the nodes are')}")
        return {one for one in known if one in named or not self.ancestors(one).isdisjoint(named)}

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

    # --- checks ---

    def validate(self) -> None:
        """Raises PipelineError with the first of ``find_problems()``, if there is one."""
        for problem in pipeline_problems(self):
            raise PipelineError(problem.message)

    def find_problems(self) -> list[Problem]:
        """Everything that keeps the pipeline from running, each with its place (``nodes[2].params.chunk_size``).

        Ids used twice or not known, connections made twice, cycles, unknown node types; and configs, ports and data
        types that the node classes do not declare. Starts nothing; imports the packages that provide node types.
        """
        return list(pipeline_problems(self))

    # --- manifests ---

    @staticmethod
    def from_manifest(source: Path | str | Mapping[str, Any]) -> Pipeline:
        """The pipeline of a manifest: a path, a text in JSON or YAML, or a mapping as ``json.load`` gives.

        Raises ManifestError with every problem and its place. Node types must be registered before.
        """
        from remotemedia.manifest import load_manifest

        return load_manifest(source).pipeline

    def to_manifest(self, name: str | None = None) -> dict[str, Any]:
        """The manifest, as JSON values, that ``from_manifest`` makes an equal pipeline of; copies the configs.

        ``name`` replaces the pipeline's own.
        """
        from remotemedia.manifest import manifest_of

        return manifest_of(self, name)
