"""The extension's stub says what the built module is, and the channel layer is strictly typed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import remotemedia

ROOT = Path(remotemedia.__file__).parent
ALLOWED = Path(__file__).with_name("stubtest-allowed.txt")


def _run(tmp_path: Path, *command: str | Path) -> None:
    pytest.importorskip("mypy")
    done = subprocess.run(
        [sys.executable, "-m", *command],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT.parent,
        env={**os.environ, "MYPY_CACHE_DIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.watchdog(300)
def test_stub_is_true(tmp_path: Path) -> None:
    # The package's own names are all that it imports: so what the checker is told of those counts here, too.
    settings = ROOT.parent / "pyproject.toml"
    options = ("--mypy-config-file", settings, "--ignore-unused-allowlist", "--allowlist", ALLOWED)
    _run(tmp_path, "mypy.stubtest", "remotemedia._ring", *options)
