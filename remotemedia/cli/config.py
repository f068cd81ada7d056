"""``remotemedia config``: the settings in force, and where each comes from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from remotemedia.cli._errors import Mistake, guarded
from remotemedia.cli._manifests import config_option
from remotemedia.cli.completion import complete_manifest
from remotemedia.errors import ConfigurationError

if TYPE_CHECKING:
    from remotemedia.settings import ServiceSettings, Settings

__all__ = ["config"]

_GRAPH = ("nodes", "connections", "inputs", "outputs")

# The reader of a pipe wants one line for each setting.
_PIPE_COLUMNS = 400


@click.command(context_settings={"max_content_width": 100})
@click.argument("manifest", required=False, type=click.Path(path_type=Path), shell_complete=complete_manifest)
@config_option
@click.option("--service", "of_service", is_flag=True, help="Show the settings of `remotemedia serve` itself.")
@click.option("--json", "as_json", is_flag=True, help="Print the settings as JSON.")
def config(manifest: Path | None, config_path: Path | None, of_service: bool, as_json: bool) -> int:
    """Show each setting in force, where it comes from, and what it means.

    With MANIFEST, those of its pipeline: its metadata.multiprocess overrides runtime.toml. Its graph is
    not checked.

    \b
    Examples:
      remotemedia config                        the defaults and ./runtime.toml
      remotemedia config speech.yaml            those that this pipeline runs with
      remotemedia config --config service.toml  another file
      remotemedia config --service              those of the gRPC service
      remotemedia config --json | jq .settings.channel_capacity

    \b
    Exit codes:
      0    the settings are right
      2    something to put right: each wrong line of the files is named
    """

    def run() -> int:
        settings: Settings | ServiceSettings
        if of_service:
            from remotemedia.settings import resolve_service_settings

            if manifest is not None:
                raise Mistake("--service takes no MANIFEST: the service's settings do not come from one")
            settings = resolve_service_settings(config_path=config_path)
        else:
            settings = _resolve(manifest, config_path)
        (_print_json if as_json else _print_table)(settings)
        return 0

    return guarded(run, debug=False)


def _resolve(manifest: Path | None, config_path: Path | None) -> Settings:
    from remotemedia.settings import resolve_settings

    if manifest is None:
        return resolve_settings(config_path=config_path)
    from remotemedia.manifest import find_problems, read_settings

    # Its graph does not matter here, and the modules of its node types are not imported.
    wrong = [problem for problem in find_problems(manifest) if not problem.place.startswith(_GRAPH)]
    own = {} if wrong else read_settings(manifest)
    try:
        settings = resolve_settings(manifest_settings=own, manifest_path=manifest, config_path=config_path)
    except ConfigurationError as error:
        raise ConfigurationError([*wrong, *error.problems]) from None
    if wrong:
        raise ConfigurationError(wrong)
    return settings


def _print_json(settings: Settings | ServiceSettings) -> None:
    import json

    from remotemedia.settings import setting_meanings

    meanings = setting_meanings(type(settings.config))
    table = {
        name: {"value": _shown(settings, name), "origin": origin, "meaning": meanings.get(name, "")}
        for name, origin in settings.origins.items()
    }
    click.echo(json.dumps({"file": settings.file and str(settings.file), "settings": table}, indent=2))


def _shown(settings: Settings | ServiceSettings, name: str) -> Any:
    """The value, but never a secret."""
    value = getattr(settings.config, name)
    if name == "nodes":
        hidden = "(not shown)"
        return {
            node_type: dict(own) | ({"env": dict.fromkeys(own["env"], hidden)} if "env" in own else {})
            for node_type, own in value.items()
        }
    return ("(not shown)",) * len(value) if name == "tokens" else value


def _print_table(settings: Settings | ServiceSettings) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    from remotemedia.settings import setting_meanings

    meanings = setting_meanings(type(settings.config))
    table = Table(Column("setting", no_wrap=True), "value", "from", "meaning", box=box.SIMPLE_HEAD, show_edge=False)
    for name, origin in settings.origins.items():
        value = _shown(settings, name)
        many = ", ".join(value) if isinstance(value, tuple) else value
        shown = "none" if many in (None, "", {}) else str(many)
        row = Text(name), Text(shown, overflow="fold"), Text(origin), Text(meanings.get(name, "").partition(". ")[0])
        table.add_row(*row, style="dim" if origin == "default" else "")
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _PIPE_COLUMNS
    console.print(table)
