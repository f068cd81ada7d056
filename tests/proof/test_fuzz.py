"""The fuzzer, for a short while: nothing is found in the product, and what is planted is found."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
# Where PyPI has wheels of atheris, as pyproject.toml has it.
HAS_WHEEL = sys.version_info < (3, 15) and platform.machine() == "x86_64" and sys.implementation.name == "cpython"

PLANTED = {
    "the bounds of a block are not checked": (
        "ring",
        "_ring_ops.h",
        ("if (offset > length || bytes > length - offset) return NULL;", ""),
    ),
}


def _missing() -> str | None:
    if importlib.util.find_spec("atheris") is None:
        return "atheris is not installed" if HAS_WHEEL else "atheris has no wheel for this interpreter"
    return None if shutil.which("gcc") else "the instrumented build needs gcc"


@pytest.fixture(scope="module")
def proof() -> ModuleType:
    """``proof.fuzz_ring``; skips, or fails where proofs are required, when the fuzzer cannot run here."""
    missing = _missing()
    if missing is not None:
        if HAS_WHEEL and os.environ.get("REMOTEMEDIA_REQUIRE_PROOF"):
            pytest.fail(missing)
        pytest.skip(missing)
    if str(REPOSITORY) not in sys.path:
        sys.path.append(str(REPOSITORY))
    from proof import fuzz_ring

    return fuzz_ring


@pytest.fixture
def fuzz(proof: ModuleType, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``fuzz(edits, *arguments)`` builds the product with ``edits`` and runs the fuzzer on it."""

    def run(edits: dict[str, Any], *arguments: str) -> subprocess.CompletedProcess[str]:
        built, found = tmp_path / "built", tmp_path / "found"
        found.mkdir()
        proof.build(built, edits)
        options = {"cwd": found, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        done: subprocess.CompletedProcess[str] = proof.fuzz(built, ["-seed=1", *arguments], **options)
        return done

    return run


@pytest.mark.watchdog(400)
def test_nothing_is_found(fuzz: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = fuzz({}, "-runs=2000")
    assert done.returncode == 0, done.stdout[-6000:]
    # Without coverage of the extension the fuzzer would search in the dark, and still find nothing.
    assert "32768 inline 8-bit counters" in done.stdout  # 16384 of each module
    assert "Done 2000 runs" in done.stdout


@pytest.mark.watchdog(400)
@pytest.mark.parametrize("what", PLANTED)
def test_what_is_planted_is_found(fuzz: Callable[..., subprocess.CompletedProcess[str]], what: str) -> None:
    target, name, edit = PLANTED[what]
    done = fuzz({name: edit}, target, "-runs=20000")
    assert done.returncode != 0, f"not found: {what}"
    assert "Test unit written to" in done.stdout, done.stdout[-6000:]
