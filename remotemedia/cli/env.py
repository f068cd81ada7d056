"""``remotemedia env``: the environments that nodes with requirements of their own run in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from remotemedia.cli._errors import Mistake, guarded
from remotemedia.cli._manifests import config_option, know_node_types, nodes_option
from remotemedia.cli.completion import complete_node_type

if TYPE_CHECKING:
    from remotemedia.environments import Environment, Wanted

__all__ = ["env"]

_python_option = click.option(
    "--python", "version", default="", metavar="VERSION", help="Version of Python, such as 3.12; else this one's."
)
_type_option = click.option(
    "--node-type", metavar="TYPE", shell_complete=complete_node_type, help="Also what this node type requires."
)


@click.group(invoke_without_command=True)
@click.pass_context
def env(context: click.Context) -> int:
    """Keep the environments that nodes with requirements of their own run in.

    A session makes what it needs by itself; `make` does it beforehand.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
    return 0


@env.command("list", context_settings={"max_content_width": 100})
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def list_(as_json: bool) -> int:
    """List the environments there are: name, size, Python, and what was asked for.

    \b
    Examples:
      remotemedia env list
      remotemedia env list --json | jq -r '.environments[].folder'

    \b
    Exit codes:
      0    the environments are listed
    """

    def run() -> int:
        from remotemedia.environments import all_made, cache_folder

        made = all_made()
        if as_json:
            _print_json({"folder": str(cache_folder()), "environments": [_described(one) for one in made]})
        elif not made:
            click.echo(f"there are no environments in {cache_folder()}")
        else:
            for one in made:
                click.echo(f"{one.folder.name}  {one.size_bytes / 1e6:7.0f} MB  {one.made_at[:10]}  {one.wanted}")
            total_bytes = sum(one.size_bytes for one in made)
            click.echo(f"{total_bytes / 1e6:.0f} MB in {cache_folder()}")
        return 0

    return guarded(run, debug=False)


@env.command(context_settings={"max_content_width": 100})
@click.argument("requirements", nargs=-1, metavar="[REQUIREMENT]...")
@_type_option
@_python_option
@nodes_option
@config_option
def make(
    requirements: tuple[str, ...],
    node_type: str | None,
    version: str,
    node_modules: tuple[str, ...],
    config_path: Path | None,
) -> int:
    """Make an environment of requirements, as pip takes them. If it is there, nothing happens.

    uv makes it where that is in PATH, pip otherwise; REMOTEMEDIA_INSTALLER=pip says pip.

    \b
    Examples:
      remotemedia env make "faster-whisper>=1.1,<2"
      remotemedia env make --node-type WhisperNode
      remotemedia env make liquid-audio --python 3.12

    \b
    Exit codes:
      0    the environment is there; its folder is printed
      1    it cannot be made
      2    something to put right in the arguments
    """

    def run() -> int:
        from remotemedia.environments import find

        wanted = _wanted(requirements, node_type, version, node_modules, config_path)
        made = find(wanted) or _make(wanted)
        click.echo(str(made.folder))
        return 0

    return guarded(run, debug=False, engine=True)


@env.command(context_settings={"max_content_width": 100})
@click.argument("node_type", metavar="TYPE", shell_complete=complete_node_type)
@click.argument("venv_path", required=False, metavar="[FOLDER]", type=click.Path(path_type=Path))
@click.option("-r", "--require", "requirements", multiple=True, metavar="REQUIREMENT", help="Make one of this; repeat.")
@_python_option
@nodes_option
@config_option
def bind(
    node_type: str,
    venv_path: Path | None,
    requirements: tuple[str, ...],
    version: str,
    node_modules: tuple[str, ...],
    config_path: Path | None,
) -> int:
    """Run the nodes of TYPE in the environment in FOLDER, or in one of requirements.

    Written into ./runtime.toml, or the file that --config names. Pipelines that say nothing for their
    nodes need no change.

    \b
    Examples:
      remotemedia env bind LFM2AudioNode /opt/lfm2
      remotemedia env bind WhisperNode -r "faster-whisper>=1.1,<2"
      remotemedia env bind LFM2AudioNode -r liquid-audio --python 3.12 --config service.toml

    \b
    Exit codes:
      0    it is written
      1    the environment cannot be made
      2    something to put right
    """

    def run() -> int:
        from remotemedia.core.multiprocessing import MultiprocessConfig
        from remotemedia.settings import RUNTIME_FILE, bind_node_type

        if (venv_path is None) == (not requirements):
            raise Mistake("name the FOLDER of an environment, or requirements with -r, and not both")
        file = config_path or Path(RUNTIME_FILE)
        if venv_path is not None:
            python: dict[str, Any] = {"venv_path": str(venv_path.absolute())}
            if not (venv_path / "bin" / "python").exists():
                raise Mistake(f"{venv_path} is not a virtual environment: there is no bin/python in it")
        else:
            python = {"requirements": list(requirements)} | ({"version": version} if version else {})
        try:
            MultiprocessConfig(nodes={node_type: python})
        except ValueError as error:
            raise Mistake(str(error)) from None
        if venv_path is None:
            wanted = _wanted(requirements, None, version, node_modules, None)
            _make(wanted)
        try:
            bind_node_type(file, node_type, python)
        except OSError as error:
            raise Mistake(f"{file} cannot be written: {error.strerror}") from None
        click.echo(f"{file}: nodes of type {node_type} run in {venv_path or wanted.folder}")
        return 0

    return guarded(run, debug=False, engine=True)


@env.command(context_settings={"max_content_width": 100})
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--force", is_flag=True, help="Also where processes run on it.")
def remove(names: tuple[str, ...], force: bool) -> int:
    """Remove environments by name, as `env list` shows them; the first characters are enough.

    \b
    Examples:
      remotemedia env remove 6d7648
      remotemedia env remove --force 6d7648 c4d158

    \b
    Exit codes:
      0    they are removed
      2    no environment has that name, or processes run on it: then nothing is removed
    """

    def run() -> int:
        from remotemedia import environments

        for one in environments.remove(names, force=force):
            click.echo(f"removed {one.folder.name}, {one.size_bytes / 1e6:.0f} MB: {one.wanted}")
        return 0

    return guarded(run, debug=False)


def _wanted(
    requirements: tuple[str, ...],
    node_type: str | None,
    version: str,
    node_modules: tuple[str, ...],
    config_path: Path | None,
) -> Wanted:
    """What is asked for; Mistake if that is nothing, or not what it may be."""
    from remotemedia._python_rules import python_problems
    from remotemedia.core.multiprocessing import lookup_node
    from remotemedia.environments import Wanted
    from remotemedia.errors import PipelineError

    if node_type is not None:
        know_node_types(node_modules, config_path)
        try:
            declared = lookup_node(node_type).requirements
        except PipelineError as error:
            raise Mistake(str(error)) from None
        if not declared and not requirements:
            raise Mistake(f"node type {node_type!r} declares no requirements")
        requirements = (*declared, *requirements)
    if not requirements:
        raise Mistake("name a requirement, such as numpy, or a --node-type that declares some")
    python = {"requirements": list(requirements)} | ({"version": version} if version else {})
    for _, message in python_problems(python):
        raise Mistake(f"what is asked for {message}")
    return Wanted(requirements, version)


def _make(wanted: Wanted) -> Environment:
    import asyncio

    from remotemedia import environments

    return asyncio.run(environments.make(wanted, lambda text: click.echo(text, err=True)))


def _described(one: Environment) -> dict[str, Any]:
    return {
        "name": one.folder.name,
        "folder": str(one.folder),
        "python": one.wanted.python_version,
        "requirements": list(one.wanted.requirements),
        "size_bytes": one.size_bytes,
        "made_at": one.made_at,
        "pids": one.users(),
    }


def _print_json(value: object) -> None:
    import json

    click.echo(json.dumps(value, indent=2))
