"""``remotemedia validate``: is a manifest right, and if not, what is wrong where?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from remotemedia.cli._errors import EXIT_MISTAKE, guarded
from remotemedia.cli._manifests import check_manifest, config_option, nodes_option
from remotemedia.cli.completion import complete_manifest

if TYPE_CHECKING:
    from remotemedia.errors import Problem
    from remotemedia.manifest import Manifest

__all__ = ["validate"]


@click.command(context_settings={"max_content_width": 100})
@click.argument(
    "manifests",
    metavar="MANIFEST...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
    shell_complete=complete_manifest,
)
@nodes_option
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def validate(
    manifests: tuple[Path, ...], node_modules: tuple[str, ...], config_path: Path | None, as_json: bool
) -> int:
    """Check manifests, in JSON or YAML, without running them.

    Prints every problem, one a line, as FILE:LINE: PLACE: MESSAGE; or a summary when all is right. Modules with
    node types are imported: those of --nodes, and those in the extra_paths of the settings.

    \b
    Examples:
      remotemedia validate speech.yaml
      remotemedia validate --nodes my_nodes.py *.yaml   with node types of your own
      remotemedia validate --json a.json | jq -r '.manifests[].problems[].message'

    \b
    Exit codes:
      0    all manifests are right
      2    something to put right, in a manifest, runtime.toml or a module
    """

    def run() -> int:
        checked = [(path, *check_manifest(path, node_modules, config_path)) for path in manifests]
        if as_json:
            import json

            findings = [_as_json(path, manifest, problems) for path, manifest, _, problems in checked]
            click.echo(json.dumps({"manifests": findings}, indent=2))
        else:
            for path, manifest, _, problems in checked:
                _print(path, manifest, problems)
        return EXIT_MISTAKE if any(problems for *_, problems in checked) else 0

    return guarded(run, debug=False, engine=True)


def _print(path: Path, manifest: Manifest | None, problems: list[Problem]) -> None:
    from remotemedia.cli._picture import draw

    for problem in problems:
        click.echo(str(problem))
    if manifest is None or problems:
        return
    nodes, connections = len(manifest.pipeline.nodes), len(manifest.pipeline.connections)
    title = f" {manifest.name!r}," if manifest.name else ""
    click.echo(f"{path} is right:{title} {_count(nodes, 'node')}, {_count(connections, 'connection')}")
    for line in draw(manifest.pipeline):
        click.echo(f"  {line}".rstrip())


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _as_json(path: Path, manifest: Manifest | None, problems: list[Problem]) -> dict[str, Any]:
    import dataclasses

    return {
        "file": str(path),
        "valid": not problems,
        "name": None if manifest is None else manifest.name,
        "nodes": None if manifest is None else len(manifest.pipeline.nodes),
        "connections": None if manifest is None else len(manifest.pipeline.connections),
        "problems": [dataclasses.asdict(problem) for problem in problems],
    }
