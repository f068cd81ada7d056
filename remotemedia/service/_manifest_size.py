"""How large a manifest may be: it is checked on the event loop, where all other clients wait meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import remotemedia_v1_pb2 as pb

from remotemedia.errors import Problem, ResourceLimitError

__all__ = ["check_entries", "check_size", "check_values", "long_names"]

_MOST_BYTES = 1 << 20
_MOST_ENTRIES = {"nodes": 1000, "connections": 4000, "inputs": 1000, "outputs": 1000}
# One that is not known takes a search through all installed packages.
_MOST_TYPES = 50
# Each unknown one is reported with the nearest names.
_MOST_VALUES = 5000
_MOST_NAME_CHARS = 255
_NAMES = {"nodes": ("id", "node_type"), "connections": ("from", "to", "from_port", "to_port")}


def check_entries(message: pb.PipelineManifest | pb.ExecuteRequest) -> None:
    """ResourceLimitError for more nodes, or connections, than a manifest may have."""
    for key, most in _MOST_ENTRIES.items():
        if (count := len(getattr(message, key))) > most:
            raise ResourceLimitError(f"the manifest has {count} {key}; {most} are allowed")


def check_size(manifest: pb.PipelineManifest) -> None:
    """ResourceLimitError for a manifest that is too large."""
    check_entries(manifest)
    if (types := len({node.node_type for node in manifest.nodes})) > _MOST_TYPES:
        raise ResourceLimitError(f"the manifest has nodes of {types} types; {_MOST_TYPES} are allowed")
    if (size := manifest.ByteSize()) > _MOST_BYTES:
        raise ResourceLimitError(f"the manifest has {size} bytes; {_MOST_BYTES} are allowed")


def check_values(nodes: Iterable[Mapping[str, Any]], settings: Mapping[str, Any]) -> None:
    """ResourceLimitError for more params, of all nodes together, and settings than a manifest may have."""
    count = len(settings) + sum(len(node.get("params", ())) for node in nodes)
    if count > _MOST_VALUES:
        raise ResourceLimitError(f"the manifest has {count} params and settings; {_MOST_VALUES} are allowed")


def long_names(manifest: pb.PipelineManifest) -> Iterator[Problem]:
    """A problem for each name that is too long for errors, or for a process."""
    for key, names in _NAMES.items():
        for index, entry in enumerate(getattr(manifest, key)):
            for name in names:
                # An end of a connection may be "node.port".
                most = 2 * _MOST_NAME_CHARS + 1 if name in ("from", "to") else _MOST_NAME_CHARS
                yield from _too_long(getattr(entry, name), most, f"{key}[{index}].{name}")
    for key in ("inputs", "outputs"):
        for index, name in enumerate(getattr(manifest, key)):
            yield from _too_long(name, _MOST_NAME_CHARS, f"{key}[{index}]")


def _too_long(name: str, most: int, at: str) -> Iterator[Problem]:
    if len(name) > most:
        yield Problem(f"has {len(name)} characters; {most} are allowed", at)
