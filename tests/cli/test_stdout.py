"""A stdout that takes nothing: one line, and no traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = [
    "--help",
    "--version",
    "run --help",
    "nodes list",
    "nodes show ReplyNode",
    "config",
    "config --json",
    "proto",
]


@pytest.mark.parametrize("command", [*COMMANDS, "completion bash"])
def test_the_disk_is_full(command: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "remotemedia", *command.split()], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert (done.returncode, done.stderr) == (1, "remotemedia: cannot write to stdout: No space left on device\n")
