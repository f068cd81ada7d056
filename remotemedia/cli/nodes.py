"""``remotemedia nodes``: which node types there are, and what each takes and gives."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from remotemedia.cli._errors import Mistake, complain, guarded
from remotemedia.cli._manifests import config_option, know_node_types, nodes_option
from remotemedia.cli.completion import complete_node_type

if TYPE_CHECKING:
    from remotemedia.core.multiprocessing import MultiprocessNode, Param

__all__ = ["nodes"]


@click.group(invoke_without_command=True)
@click.pass_context
def nodes(context: click.Context) -> int:
    """Show the node types there are: built-in, of installed packages, and your own."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
    return 0


@nodes.command("list", context_settings={"max_content_width": 100})
@nodes_option
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def list_(node_modules: tuple[str, ...], config_path: Path | None, as_json: bool) -> int:
    """List the node types, one a line.

    \b
    Examples:
      remotemedia nodes list
      remotemedia nodes list --nodes my_nodes.py   with node types of your own
      remotemedia nodes list --json | jq -r '.nodes[].node_type'

    \b
    Exit codes:
      0    the types are listed
      2    something to put right in runtime.toml or a module
    """

    def run() -> int:
        know_node_types(node_modules, config_path)
        known = _registered()
        if as_json:
            _print_json({"nodes": [_described(name, cls) for name, cls in known.items()]})
            return 0
        width = max(map(len, known))
        for name, cls in known.items():
            click.echo(f"{name:{width}}  {_summary(cls)}".rstrip())
        return 0

    return guarded(run, debug=False, engine=True)


@nodes.command(context_settings={"max_content_width": 100})
@click.argument("node_type", metavar="TYPE", shell_complete=complete_node_type)
@nodes_option
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def show(node_type: str, node_modules: tuple[str, ...], config_path: Path | None, as_json: bool) -> int:
    """Show what a node type does, its params, ports and data types.

    \b
    Examples:
      remotemedia nodes show AudioChunkerNode
      remotemedia nodes show my_node --nodes my_nodes.py
      remotemedia nodes show AudioChunkerNode --json | jq .params

    \b
    Exit codes:
      0    the type is shown
      2    there is no such type, or something to put right elsewhere
    """

    def run() -> int:
        from remotemedia._naming import offer

        know_node_types(node_modules, config_path)
        known = _registered()
        cls = known.get(node_type)
        if cls is None:
            hint = offer(node_type, known, "the types are")
            raise Mistake(f"there is no node type {node_type!r}; {hint} (--nodes makes those of a module known)")
        if as_json:
            _print_json(_described(node_type, cls))
        else:
            _print(node_type, cls)
        return 0

    return guarded(run, debug=False, engine=True)


def _registered() -> dict[str, type[MultiprocessNode]]:
    import warnings

    from remotemedia.core.multiprocessing import registered_nodes

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        known = registered_nodes()
    for warning in caught:
        complain(str(warning.message))
    return known


def _doc(cls: type[MultiprocessNode]) -> str:
    import inspect

    return inspect.cleandoc(cls.__doc__ or "").replace("``", "")


def _summary(cls: type[MultiprocessNode]) -> str:
    return " ".join(_doc(cls).partition("\n\n")[0].split())


# --- as text -----------------------------------------------------------------------------------------------------


def _print(node_type: str, cls: type[MultiprocessNode]) -> None:
    click.echo(f"{node_type} ({cls.__module__}.{cls.__qualname__})\n")
    if doc := _doc(cls):
        click.echo("".join(f"  {line}".rstrip() + "\n" for line in doc.splitlines()))
    for title, ports in (("Inputs", cls.inputs), ("Outputs", cls.outputs)):
        rows = None if ports is None else [(p, _types(types) + _also(cls, p)) for p, types in ports.items()]
        _print_rows(title, rows)
    rows = None if cls.params is None else [(key, _param(param)) for key, param in cls.params.items()]
    _print_rows("Params", rows)
    if cls.requirements:
        click.echo(f"Requires: {', '.join(cls.requirements)}")


def _print_rows(title: str, rows: list[tuple[str, str]] | None) -> None:
    if rows is None:
        click.echo(f"{title}: not declared, anything goes")
    elif not rows:
        click.echo(f"{title}: none")
    else:
        click.echo(f"{title}:")
        width = max(len(name) for name, _ in rows)
        for name, text in rows:
            click.echo(f"  {name:{width}}  {text}")


def _types(types: Any) -> str:
    return "any type" if types is None else " or ".join(name.upper() for name in _names(types))


def _also(cls: type[MultiprocessNode], port: str) -> str:
    others = [alias for alias, meant in cls.port_aliases.items() if meant == port]
    return f", also called {', '.join(others)}" if others else ""


def _names(types: Any) -> list[str]:
    return [entry.value for entry in (types if isinstance(types, tuple) else (types,))]


def _param(param: Param) -> str:
    import json

    default = "required" if param.required else f"default {json.dumps(param.default)}"
    return f"{param.rule}, {default}" + (f": {param.help}" if param.help else "")


# --- as JSON -----------------------------------------------------------------------------------------------------


def _print_json(value: object) -> None:
    import json

    click.echo(json.dumps(value, indent=2))


def _described(node_type: str, cls: type[MultiprocessNode]) -> dict[str, Any]:
    """Anything undeclared is null, and a port of any type as well."""
    return {
        "node_type": node_type,
        "class": f"{cls.__module__}.{cls.__qualname__}",
        "summary": _summary(cls),
        "requirements": list(cls.requirements),
        "inputs": _ports(cls.inputs),
        "outputs": _ports(cls.outputs),
        "optional_outputs": list(cls.optional_outputs),
        "port_aliases": dict(cls.port_aliases),
        "params": None if cls.params is None else {key: _param_json(param) for key, param in cls.params.items()},
    }


def _ports(ports: Any) -> dict[str, list[str] | None] | None:
    if ports is None:
        return None
    return {port: None if types is None else _names(types) for port, types in ports.items()}


def _param_json(param: Param) -> dict[str, Any]:
    found = {
        "type": param.kind.__name__,
        "required": param.required,
        "default": None if param.required else param.default,
        "low": param.low,
        "high": param.high,
        "choices": list(param.choices) or None,
        "help": param.help,
    }
    return {key: value for key, value in found.items() if key == "default" or value not in (None, "")}
