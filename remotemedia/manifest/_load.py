"""From a source to a pipeline, or to the list of everything that is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from remotemedia._naming import node_and_port, place
from remotemedia.core.multiprocessing import Connection, NodeConfig, Pipeline
from remotemedia.errors import ManifestError, Problem
from remotemedia.manifest._document import Document
from remotemedia.manifest._shape import shape_problems

__all__ = ["Manifest", "find_problems", "load_manifest", "read_manifest", "read_settings"]


@dataclass(frozen=True)
class Manifest:
    """A manifest that has been checked.

    Attributes:
        name: its ``metadata.name``, or None.
        metadata: all of its metadata.
        settings: ``metadata.multiprocess`` as it stands there; each value fits MultiprocessConfig.
        path: the file it came from, or None.
        pipeline: the graph, ready for a session.
    """

    name: str | None
    metadata: Mapping[str, Any]
    settings: Mapping[str, Any]
    path: Path | None
    pipeline: Pipeline


def load_manifest(source: Path | str | Mapping[str, Any]) -> Manifest:
    """Reads and checks a manifest: a path, a text in JSON or YAML, or a mapping, which is copied.

    A str with a line break, or one that begins with ``{``, is a text; any other is a path. A file that ends in
    ``.json``, and a text that begins with ``{``, is JSON; any other is YAML.

    Raises:
        ManifestError: with every problem, its place and, where there is a text, its line.
        TypeError: the source is something else.
    """
    document = Document(source)
    build = _Build(document)
    if build.problems:
        raise ManifestError(build.problems)
    metadata = build.root.get("metadata", {})
    build.pipeline.name = metadata.get("name", "")
    return Manifest(metadata.get("name"), metadata, metadata.get("multiprocess", {}), document.path, build.pipeline)


def find_problems(source: Path | str | Mapping[str, Any]) -> list[Problem]:
    """What ``load_manifest`` would raise, in the order of the lines; empty for a manifest that is right."""
    return _Build(Document(source)).problems


def read_manifest(source: Path | str | Mapping[str, Any]) -> dict[str, Any]:
    """The manifest as it stands there, as JSON values; a copy. Only its form is checked, not whether it can run.

    For a pipeline that runs elsewhere: only that place knows its node types, their declarations and so the mistakes.
    Raises like ``load_manifest``.
    """
    document = Document(source)
    problems = document.problems or list(shape_problems(document.value))
    if problems:
        raise ManifestError(document.located(problems))
    assert isinstance(document.value, dict)
    return document.value


def read_settings(source: Path | str | Mapping[str, Any]) -> Mapping[str, Any]:
    """``metadata.multiprocess`` as it stands there, unchecked; empty if there is none to be found.

    Needed before a manifest can be checked: it says where the modules of its node types are.
    """
    found = Document(source).value
    for key in ("metadata", "multiprocess"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


class _Build:
    """The pipeline, made of all usable parts, so that one mistake does not hide another."""

    def __init__(self, document: Document) -> None:
        self.pipeline = Pipeline()
        self.root: dict[str, Any] = {}
        self._found = list(document.problems)
        # Where in the manifest each item of the pipeline is: a malformed node or connection has none in the pipeline.
        self._places: dict[str, list[int]] = {"nodes": [], "connections": [], "inputs": [], "outputs": []}
        if document.value is not None:
            self._check(document.value)
        self.problems = document.located(self._found)
        self.problems.sort(key=lambda problem: problem.line or 0)

    def _check(self, value: object) -> None:
        self._add(shape_problems(value))
        if not isinstance(value, dict):
            return
        self.root = value
        self._add_nodes()
        self._add_connections()
        for key, node_ids in (("inputs", self.pipeline.extra_inputs), ("outputs", self.pipeline.extra_outputs)):
            for _, item in self._items(key, lambda item: _is_name(item)):
                node_ids.append(item)
        if self.pipeline.nodes:
            self._add(self._in_manifest(problem) for problem in self.pipeline.find_problems())

    def _add(self, problems: Any) -> None:
        """Problems of one more kind of check; of what an earlier kind refused, nothing more is said."""
        refused = {problem.place for problem in self._found if problem.place}
        self._found += [p for p in problems if not any(_within(p.place, at) for at in refused) and p not in self._found]

    def _items(self, key: str, usable: Any) -> list[tuple[int, Any]]:
        items = self.root.get(key)
        found = [(n, item) for n, item in enumerate(items) if usable(item)] if isinstance(items, list) else []
        self._places[key] = [n for n, _ in found]
        return found

    def _add_nodes(self) -> None:
        for _, item in self._items("nodes", lambda item: _has_names(item, "id", "node_type")):
            params = item.get("params")
            config = params if isinstance(params, dict) else {}
            env = item.get("env")
            own = (item.get("memory_limit_bytes"), item.get("python"), env if isinstance(env, dict) else {})
            failing = item.get("retries", 0), item.get("failure_marks", False)
            self.pipeline.nodes.append(NodeConfig(item["node_type"], item["id"], config, *own, *failing))

    def _add_connections(self) -> None:
        node_ids = set(self.pipeline.node_ids)
        for index, item in self._items("connections", lambda item: _has_names(item, "from", "to")):
            ends = []
            for end, port_meant in (("from", self.pipeline.output_port), ("to", self.pipeline.input_port)):
                node_id, port = node_and_port(item[end], node_ids)
                own = item.get(f"{end}_port")
                if port and own:
                    message = f"{item[end]!r} names the port {port!r}, and {end}_port {own!r}: one of them is enough"
                    self._found.append(Problem(message, place("connections", index, end)))
                ends += [node_id, port or (own if _is_name(own) else port_meant(node_id))]
            self.pipeline.connections.append(Connection(*ends))

    def _in_manifest(self, problem: Problem) -> Problem:
        """The problem of the pipeline at its place in the manifest."""
        match = re.match(r"(\w+)\[(\d+)\](.*)", problem.place, re.DOTALL)
        if match is None:
            return problem
        key, rest = match[1], match[3]
        index = self._places[key][int(match[2])]
        if rest in (".from_port", ".to_port") and rest[1:] not in self.root[key][index]:
            rest = rest.removesuffix("_port")
        return Problem(problem.message, f"{key}[{index}]{rest}")


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _has_names(item: object, *keys: str) -> bool:
    return isinstance(item, dict) and all(_is_name(item.get(key)) for key in keys)


def _within(at: str, other: str) -> bool:
    return at == other or at.startswith((other + ".", other + "["))
