"""The group of commands, and what becomes of wrong options."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from remotemedia import __version__
from remotemedia.cli._errors import EXIT_INTERRUPTED, EXIT_MISTAKE, complain, guarded
from remotemedia.cli.completion import completion
from remotemedia.cli.config import config
from remotemedia.cli.demo import demo
from remotemedia.cli.env import env
from remotemedia.cli.models import models
from remotemedia.cli.nodes import nodes
from remotemedia.cli.proto import proto
from remotemedia.cli.run import run as run_command
from remotemedia.cli.serve import serve
from remotemedia.cli.validate import validate

__all__ = ["run"]


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="remotemedia", message="%(prog)s %(version)s")
@click.pass_context
def _remotemedia(context: click.Context) -> int:
    """Media and AI pipelines: each node in a process of its own, wired by shared memory.

    Start with `remotemedia demo`.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
    return 0


for _command in (completion, config, demo, env, models, nodes, proto, run_command, serve, validate):
    _remotemedia.add_command(_command)


def run(arguments: Sequence[str] | None) -> int:
    """Runs the command line; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        _tolerate_any_text(stream)
    try:
        # A command guards itself, as it knows its --debug; help and the version are printed here.
        return guarded(
            lambda: int(_remotemedia.main(arguments, prog_name="remotemedia", standalone_mode=False) or 0), debug=False
        )
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx is not None else "remotemedia"
        complain(f"{error.format_message()} (see {where} --help)")
        return EXIT_MISTAKE
    except click.ClickException as error:
        complain(error.format_message())
        return EXIT_MISTAKE
    except click.Abort:
        return EXIT_INTERRUPTED


def _tolerate_any_text(stream: Any) -> None:
    # A terminal that cannot show a character is not a reason to fail. A stream put there by a test may be anything.
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")
