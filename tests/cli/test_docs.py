"""docs/cli.md has every command, option and exit code, and none that does not exist."""

import re
from pathlib import Path

import click
import pytest

from remotemedia.cli._commands import _remotemedia

SECTIONS = dict(
    part.split("\n", 1)
    for part in ("remotemedia\n" + (Path(__file__).parents[2] / "docs" / "cli.md").read_text()).split("\n## ")
)


def commands(group, prefix=""):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


COMMANDS = dict(commands(_remotemedia))


def table(section, first):
    """The first cells of the rows of the table with this head."""
    for part in SECTIONS[section].split("\n\n"):
        head, *rows = part.splitlines()
        if head.startswith(f"| {first} |"):
            return [row.split(" | ")[0].removeprefix("| ") for row in rows[1:]]
    return []


def test_every_command_has_its_section():
    assert set(SECTIONS) - {"remotemedia"} == set(COMMANDS)


@pytest.mark.parametrize("name", ["remotemedia", *COMMANDS])
def test_every_option(name):
    command = COMMANDS.get(name, _remotemedia)
    expected = [
        {*parameter.opts, *parameter.secondary_opts}
        for parameter in command.params
        if isinstance(parameter, click.Option)
    ]
    documented = [set(re.findall(r"--?[a-zA-Z][a-z-]*", cell)) for cell in table(name, "option")]
    if name == "remotemedia":
        expected.append({"-h", "--help"})
    assert sorted(map(sorted, documented)) == sorted(map(sorted, expected))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_exit_code(name):
    codes = COMMANDS[name].help.partition("Exit codes:\n")[2]
    expected = re.findall(r"^\s*(\d+) |\((\d+):", codes, re.MULTILINE)
    documented = re.findall(r"\d+", " ".join(table(name, "exit code")))
    assert documented == [one or other for one, other in expected] != []
