"""Hours of operation, in minutes: every byte right, and nothing grows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.usefixtures("leak_check"),
    pytest.mark.watchdog(3000 if os.environ.get("REMOTEMEDIA_PROMISES") == "long" else 600),
]

REPOSITORY = Path(__file__).parents[2]


def hours(*options: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, account, and what else was said, of a program of its own: what pytest keeps is no leak."""
    # Its stderr is a pipe, as the watchdog reads it there.
    done = subprocess.run(
        [sys.executable, "-m", "proof.hours", *options], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout), done.stderr


@pytest.mark.promise(
    "SC-006",
    "every byte is right, and the orchestrator's memory, descriptors, threads, mappings and shared memory stay as "
    "they were",
    "50 Hz speech through one session, beside it sessions of random graphs and named channels that start, stop and "
    "crash; held views, interruptions; a line fitted to each figure after every round",
)
def test_nothing_grows(ledger: Any, scale: Any) -> None:
    code, account, said = hours(*scale(["--hours=0.2", "--rounds=10", "--sessions=5"], ["--hours=8", "--rounds=60"]))
    counts = account["counts"]
    for what, number in counts.items():
        ledger.count(what, number)
    for name in ("resident kB", "kB of the heap", "pages of shared memory", "shared kB of the machine"):
        ledger.took(f"growth, {name}", account["growth"][name])
    ledger.took("hours of 50 Hz audio", counts["speech messages"] / 50 / 3600)
    assert counts["starts"] >= scale(100, 2000)
    assert counts["crashes"] >= scale(10, 300)
    assert counts["interruptions"] and counts["channels"]
    assert not account["leaks"], said
    assert code == 0


@pytest.mark.promise(
    "SC-006",
    "one leak a session of any kind is found by the slope of its figure",
    "planted on purpose: a descriptor, a thread, a mapping, a page of shared memory, a kilobyte, a block of a pool",
)
def test_planted_leaks_are_found(ledger: Any) -> None:
    code, account, said = hours("--plant", "--hours=0.02", "--rounds=9", "--sessions=3")
    kinds = {
        "descriptors",
        "threads",
        "mappings of shared memory",
        "pages of shared memory",
        "kB of payload in use",
        "kB of the heap",
        "resident kB",
    }
    assert set(account["leaks"]) == kinds, said
    assert code == 1
    ledger.count("planted leaks", len(kinds))
