"""Opening a manifest as commands do: with its settings, and with the node types of the user's own modules.

And the options that say which those are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from remotemedia.cli._errors import Mistake
from remotemedia.errors import ConfigurationError, ManifestError, Problem

if TYPE_CHECKING:
    from remotemedia.manifest import Manifest
    from remotemedia.settings import Settings

__all__ = ["check_manifest", "config_option", "know_node_types", "nodes_option", "parse_settings"]

_CommandT = TypeVar("_CommandT", bound=Callable[..., object])


def nodes_option(command: _CommandT) -> _CommandT:
    """``--nodes``, as the argument ``node_modules``."""
    return click.option(
        "--nodes",
        "node_modules",
        multiple=True,
        metavar="MODULE_OR_FILE",
        help="Import this module or .py file, whose node types are then known. May be repeated.",
    )(command)


def config_option(command: _CommandT) -> _CommandT:
    """``--config``, as the argument ``config_path``."""
    return click.option(
        "--config",
        "config_path",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The runtime.toml to read.  [default: the one beside the manifest, or in the current folder]",
    )(command)


def parse_settings(settings: Iterable[str]) -> dict[str, object]:
    """``--set KEY=VALUE``, the value as in runtime.toml, where a text may go without quotes."""
    import tomllib

    found: dict[str, object] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise Mistake(f"--set {setting}: write KEY=VALUE")
        try:
            found[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[key] = value
    return found


def know_node_types(node_modules: Sequence[str], config_path: Path | None) -> None:
    """Imports the modules, and those in the ``extra_paths`` of runtime.toml. ConfigurationError lists the mistakes."""
    from remotemedia.settings import import_node_modules, resolve_settings

    import_node_modules(node_modules, resolve_settings(config_path=config_path).config.extra_paths)


def check_manifest(
    path: Path, node_modules: Sequence[str], config_path: Path | None
) -> tuple[Manifest | None, Settings | None, list[Problem]]:
    """A manifest and the settings it runs with, or None and everything that is wrong with them and the modules."""
    from remotemedia.manifest import load_manifest, read_settings
    from remotemedia.settings import find_setting_problems, import_node_modules, resolve_settings

    own = read_settings(path)
    if find_setting_problems(own):
        own = {}  # the manifest's own check reports them, with their lines
    manifest, settings = None, None
    problems: list[Problem] = []
    try:
        settings = resolve_settings(manifest_settings=own, manifest_path=path, config_path=config_path)
    except ConfigurationError as error:
        problems += error.problems
    try:
        import_node_modules(node_modules, settings.config.extra_paths if settings is not None else ())
    except ConfigurationError as error:
        problems += error.problems
    try:
        manifest = load_manifest(path)
    except ManifestError as error:
        problems += error.problems
    return manifest, settings, problems
