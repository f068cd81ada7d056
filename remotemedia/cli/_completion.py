"""What a shell offers for the arguments of commands."""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem

__all__ = ["complete_manifest", "complete_node_type"]

_MANIFESTS = (".yaml", ".yml", ".json")


def complete_manifest(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Manifests in the folder named so far; any file or folder where there are none."""
    folder = begun[: begun.rfind("/") + 1]
    try:
        names = sorted(path.name for path in Path(folder or ".").iterdir() if path.suffix.lower() in _MANIFESTS)
    except OSError:
        names = []
    found = [CompletionItem(folder + name) for name in names if (folder + name).startswith(begun)]
    return found or [CompletionItem(begun, type="file")]


def complete_node_type(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """The node types that are built in or come with installed packages."""
    from remotemedia.core.multiprocessing import registered_nodes

    return [CompletionItem(name) for name in registered_nodes() if name.startswith(begun)]
