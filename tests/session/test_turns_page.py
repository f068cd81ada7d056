"""docs/turns.md: its program does what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("leak_check")

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "turns.md").read_text()


def test_the_program(tmp_path: Path) -> None:
    program = tmp_path / "turns.py"
    program.write_text(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0])
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=60)
    assert (done.stdout.split("\n"), done.stderr) == (["good", "morning", "world", "that was all", ""], "")
