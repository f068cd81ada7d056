"""The models in proof/, searched to the end by spin; and each known mistake, planted in them, is found."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import remotemedia

PROOF = Path(__file__).parents[2] / "proof"
OPS = Path(remotemedia.__file__).parent / "_ring_ops.h"

EVERY_STATE = "-DSAFETY"
EVERY_CYCLE = "-DNP"  # a run that goes on for ever; there is none

PROVED = [
    ("ring.pml", EVERY_STATE, "CAPACITY=1 MESSAGES=3"),
    ("ring.pml", EVERY_STATE, "CAPACITY=2 MESSAGES=5"),
    ("ring.pml", EVERY_STATE, "DEATH=PRODUCER"),
    ("ring.pml", EVERY_STATE, "DEATH=CONSUMER"),
    ("ring.pml", EVERY_CYCLE, "CAPACITY=2 MESSAGES=3"),
    ("blocks.pml", EVERY_STATE, "BLOCKS=1 MESSAGES=3"),
    ("blocks.pml", EVERY_STATE, "BLOCKS=2 MESSAGES=2"),
    ("blocks.pml", EVERY_CYCLE, "BLOCKS=1 MESSAGES=2"),
    ("turns.pml", EVERY_STATE, "MESSAGES=3 TURNS=2"),
    ("turns.pml", EVERY_CYCLE, "MESSAGES=2 TURNS=3"),
]

SLEEPS_FOR_EVER = "invalid end state"
WRONG = "assertion violated"

MISTAKES = [
    ("ring.pml", "NO_LAST_LOOK=CONSUMER", SLEEPS_FOR_EVER),
    ("ring.pml", "NO_LAST_LOOK=PRODUCER", SLEEPS_FOR_EVER),
    ("ring.pml", "SEQUENCE_LATE", SLEEPS_FOR_EVER),
    ("ring.pml", "ARM_LATE", SLEEPS_FOR_EVER),
    ("ring.pml", "ARM_RELEASE", SLEEPS_FOR_EVER),
    ("ring.pml", "POLL_ACQUIRE", SLEEPS_FOR_EVER),
    ("ring.pml", "RING_EARLY", SLEEPS_FOR_EVER),
    ("ring.pml", "TAIL_RELEASE", SLEEPS_FOR_EVER),
    ("ring.pml", "TAIL_RELAXED", WRONG),
    ("ring.pml", "HEAD_RELEASE", SLEEPS_FOR_EVER),
    ("ring.pml", "HEAD_EARLY", WRONG),
    ("ring.pml", "NO_WANT_ROOM", SLEEPS_FOR_EVER),
    ("ring.pml", "CLOSED_LATE", WRONG),
    ("ring.pml", "CLOSED_EARLY", WRONG),
    ("ring.pml", "GONE_LATE DEATH=PRODUCER", SLEEPS_FOR_EVER),
    ("ring.pml", "GONE_UNARMED DEATH=PRODUCER", SLEEPS_FOR_EVER),
    ("ring.pml", "GONE_UNARMED DEATH=CONSUMER", SLEEPS_FOR_EVER),
    ("blocks.pml", "NO_LAST_LOOK=OWNER", SLEEPS_FOR_EVER),
    ("blocks.pml", "WANTED_EARLY", SLEEPS_FOR_EVER),
    ("blocks.pml", "DROP_SILENT", SLEEPS_FOR_EVER),
    ("blocks.pml", "COLLECT_SILENT", SLEEPS_FOR_EVER),
    ("blocks.pml", "PUSH_RELAXED", SLEEPS_FOR_EVER),
    ("blocks.pml", "HOLD_LATE", WRONG),
    ("blocks.pml", "DROP_EARLY BLOCKS=1", WRONG),
    ("blocks.pml", "WRITE_SHARED", WRONG),
    ("turns.pml", "NO_LAST_LOOK=SESSION", SLEEPS_FOR_EVER),
    ("turns.pml", "END_SILENT", SLEEPS_FOR_EVER),
    ("turns.pml", "END_RELAXED", WRONG),
    ("turns.pml", "SHARE_LATE", WRONG),
    ("turns.pml", "FREE_EARLY", WRONG),
]


@pytest.fixture
def search(tmp_path: Path) -> Callable[..., str]:
    """``search(model, kind, defines)`` is what the search of a model says; it stops at the first error."""
    if shutil.which("spin") is None:
        missing = "spin, the model checker, is not installed: apt-get install spin"
        if os.environ.get("REMOTEMEDIA_REQUIRE_PROOF"):
            pytest.fail(missing)
        pytest.skip(missing)

    def run(*command: str) -> str:
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    def search(model: str, kind: str, defines: str, optimise: str = "-O2") -> str:
        run("spin", *(f"-D{define}" for define in defines.split()), "-a", str(PROOF / model))
        # NOFAIR: fairness would excuse cycles, and without it there are none either.
        run("cc", optimise, "-w", kind, "-DNOFAIR", "-o", "pan", "pan.c")
        return run("./pan", "-m100000", *(["-l"] if kind == EVERY_CYCLE else []))

    return search


@pytest.mark.parametrize(("model", "kind", "defines"), PROVED)
def test_the_protocol_holds(search: Callable[..., str], model: str, kind: str, defines: str) -> None:
    said = search(model, kind, defines)
    assert "errors: 0" in said, said
    for truncated in ("Search not completed", "search depth too small", "out of memory", "Bit statespace"):
        assert truncated not in said, said
    assert int(re.search(r"(\d+) states, stored", said)[1]) > 100_000, said


@pytest.mark.parametrize(("model", "defines", "wrong"), MISTAKES)
def test_a_mistake_is_found(search: Callable[..., str], model: str, defines: str, wrong: str) -> None:
    said = search(model, EVERY_STATE, defines, "-O0")  # found early: compiling is what takes long
    assert f"pan:1: {wrong}" in said, said


def test_a_run_without_end_is_found(search: Callable[..., str], tmp_path: Path) -> None:
    """The search for cycles is not blind."""
    circle = tmp_path / "circle.pml"
    circle.write_text("bool on; active proctype circle() { do :: on = !on od }")
    assert "pan:1: non-progress cycle" in search(str(circle), EVERY_CYCLE, "", "-O0")


def test_every_mistake_in_the_models_is_tried() -> None:
    tests = re.compile(r"#\s*ifn?def (\w+)")
    sizes = {"CAPACITY", "MESSAGES", "BLOCKS", "DEATH", "TURNS"}
    planted = {name for model in PROOF.glob("*.pml") for name in tests.findall(model.read_text())} - sizes
    tried = {word.partition("=")[0] for _, defines, _ in MISTAKES for word in defines.split()} - sizes
    assert planted == tried


def test_the_models_speak_of_the_labels_in_the_code() -> None:
    """Each label but `epoch`, which orders nothing that the models know of, stands in a model; and no other does."""
    comment = re.compile(r"SYNC ([a-z]+(?:-[a-z]+)*(?:, [a-z]+-[a-z]+)*)")

    def labels(text: str) -> set[str]:
        return {label for found in comment.findall(text) for label in found.split(", ")}

    declared = set(re.findall(r"^ \*   ([a-z][a-z-]+)   +\S", OPS.read_text().partition("*/")[0], re.M))
    modelled = set().union(*(labels(model.read_text()) for model in PROOF.glob("*.pml")))
    assert modelled == declared - {"epoch"}
