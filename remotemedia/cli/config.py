"""``remotemedia config``: the settings in force, and where each comes from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from remotemedia.cli._completion import complete_manifest
from remotemedia.cli._errors import guarded
from remotemedia.errors import ConfigurationError

if TYPE_CHECKING:
    from remotemedia.settings import Settings

__all__ = ["config"]

_GRAPH = ("nodes", "connections", "inputs", "outputs")

# What reads a pipe wants one line for each setting.
_PIPE_COLUMNS = 400


@click.command(context_settings={"max_content_width": 100})
@click.argument("manifest", required=False, type=click.Path(path_type=Path), shell_complete=complete_manifest)
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The runtime.toml to read.  [default: the one beside the manifest, or in the current folder]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the settings as JSON.")
def config(manifest: Path | None, config_path: Path | None, as_json: bool) -> int:
    """Show each setting in force, where it comes from, and what it means.

    With MANIFEST, those of its pipeline: its metadata.multiprocess goes before runtime.toml. Its graph is
    not looked at.

    \b
    Examples:
      remotemedia config                        the defaults and ./runtime.toml
      remotemedia config speech.yaml            those that this pipeline runs with
      remotemedia config --config service.toml  another file
      remotemedia config --json | jq .settings.channel_capacity

    \b
    Exit codes:
      0    the settings are right
      2    something to put right: each wrong line of the files is named
    """

    def run() -> int:
        (_print_json if as_json else _print_table)(_resolve(manifest, config_path))
        return 0

    return guarded(run, debug=False)


def _resolve(manifest: Path | None, config_path: Path | None) -> Settings:
    from remotemedia.settings import resolve_settings

    if manifest is None:
        return resolve_settings(config_path=config_path)
    from remotemedia.manifest import find_problems, read_settings

    # Its graph is no matter here, and the modules of its node types are not imported.
    wrong = [problem for problem in find_problems(manifest) if not problem.place.startswith(_GRAPH)]
    own = {} if wrong else read_settings(manifest)
    try:
        settings = resolve_settings(manifest_settings=own, manifest_path=manifest, config_path=config_path)
    except ConfigurationError as error:
        raise ConfigurationError([*wrong, *error.problems]) from None
    if wrong:
        raise ConfigurationError(wrong)
    return settings


def _print_json(settings: Settings) -> None:
    import json

    from remotemedia.settings import setting_meanings

    meanings = setting_meanings()
    table = {
        name: {"value": getattr(settings.config, name), "origin": origin, "meaning": meanings.get(name, "")}
        for name, origin in settings.origins.items()
    }
    click.echo(json.dumps({"file": settings.file and str(settings.file), "settings": table}, indent=2))


def _print_table(settings: Settings) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    from remotemedia.settings import setting_meanings

    meanings = setting_meanings()
    table = Table(Column("setting", no_wrap=True), "value", "from", "meaning", box=box.SIMPLE_HEAD, show_edge=False)
    for name, origin in settings.origins.items():
        value = getattr(settings.config, name)
        shown = ", ".join(value) or "none" if isinstance(value, tuple) else "none" if value is None else str(value)
        row = Text(name), Text(shown, overflow="fold"), Text(origin), Text(meanings.get(name, "").partition(". ")[0])
        table.add_row(*row, style="dim" if origin == "default" else "")
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _PIPE_COLUMNS
    console.print(table)
