"""Node.js with gRPC's packages, installed once into build/; what needs it is skipped where there is none."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

HERE = Path(__file__).parent
BUILD = HERE.parents[2] / "build"


class Finished(NamedTuple):
    """A script that has ended."""

    out: str
    err: str
    code: int


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The folder with the packages that package-lock.json names; one for each state of it."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    lock = (HERE / "package-lock.json").read_bytes()
    modules = BUILD / f"node-{hashlib.sha256(lock).hexdigest()[:16]}" / "node_modules"
    if not modules.is_dir():
        _install(modules.parent)
    return modules


def _install(folder: Path) -> None:
    # Elsewhere first: what is there is whole, also after Ctrl-C and beside another run.
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="npm-") as name:
        draft = Path(name, "whole")
        draft.mkdir()
        for file in ("package.json", "package-lock.json"):
            shutil.copy(HERE / file, draft)
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--fetch-retries=0"]
        done = subprocess.run(["npm", "ci", *options], cwd=draft, capture_output=True, text=True)
        if done.returncode:
            why = [line for line in done.stderr.splitlines() if line.startswith("npm error")]
            pytest.skip(f"npm cannot install the packages: {' '.join(why)[:200]}")
        if not folder.is_dir():
            draft.rename(folder)


@pytest.fixture
def run_node(node_modules: Path, tmp_path: Path) -> Callable[..., Finished]:
    """``run_node(script, *arguments, env={...})`` runs a script, its text or its path, in ``tmp_path`` to its end.

    It finds the packages with ``require``; ``process.argv`` begins with node and the script. A text is written beside
    what else is in ``tmp_path``, so that ``require('./manifest.json')`` finds it there.
    """

    def run(script: str | Path, *arguments: str | Path, env: dict[str, str] | None = None) -> Finished:
        if isinstance(script, str):
            text, script = script, tmp_path / "script.js"
            script.write_text(text)
        done = subprocess.run(
            ["node", script, *arguments],
            cwd=tmp_path,
            env=os.environ | {"NODE_PATH": str(node_modules)} | (env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        return Finished(done.stdout, done.stderr, done.returncode)

    return run
