"""The soak, briefly: with what it finds when something is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SEED = "13"  # its first rounds have an interruption, a channel, and a node killed


def soak(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "proof.soak", "--seed", SEED, "--nodes", "4", *args]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)


def test_soak() -> None:
    done = soak("--messages", "900")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"seed {SEED}\n")
    for kind in ("sessions", "interruptions", "channels", "crashes"):
        assert f" {kind} " in done.stdout


@pytest.mark.parametrize(
    ("plant", "found"),
    [
        ("flip", "is not what was sent"),
        ("lose", "0 times, not"),
        ("leak", "left behind: descriptor"),
    ],
)
def test_a_planted_bug_is_found(plant: str, found: str) -> None:
    done = soak("--messages", "1", "--plant", plant)
    assert done.returncode == 1
    assert found in done.stderr
    assert f"--seed {SEED} --nodes 4 begins with it" in done.stdout
