"""A test that hangs is ended, and what each of its processes does is told: also one that is stuck in C code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


@pytest.fixture
def hanging(tmp_path: Path) -> Path:
    """A folder with our conftest and a test that hangs."""
    for name in ("conftest.py", "holdings.py", "watchdog.py"):
        shutil.copy(TESTS / name, tmp_path)
    shutil.copytree(TESTS / "session", tmp_path / "session", ignore=shutil.ignore_patterns("test_*"))
    shutil.copy(TESTS.parent / "pyproject.toml", tmp_path)
    (tmp_path / "test_hanging.py").write_text(
        textwrap.dedent("""
            import asyncio
            import pytest

            @pytest.mark.watchdog(3)
            def test_that_hangs(px):
                async def main():
                    async with px.session("t-echo", "t-do") as session:
                        print("pids", *session.pids.values())
                        await session.send("n0", px.text("stick"))
                        await asyncio.Event().wait()
                px.run(main())
        """)
    )
    return tmp_path


def test_all_stacks_are_told_and_nothing_lives_on(px, hanging: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-s", "-c", "pyproject.toml", "test_hanging.py"]
    # Who is killed leaves its folder.
    environment = {**os.environ, "TMPDIR": str(hanging)}
    done = subprocess.run(command, cwd=hanging, env=environment, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == -9
    assert "test_hanging.py::test_that_hangs' takes longer than 3 s" in said
    tests, first, second = said.partition("the stacks of all processes")[2].split("\n--- process ")[1:]
    assert "in test_that_hangs" in tests
    assert "--node-id n0" in first and "runner.py" in first
    assert "--node-id n1" in second and "in hold_the_gil" in second
    pids = [int(pid) for pid in said.partition("pids ")[2].splitlines()[0].split()]
    px.run(px.until(lambda: not any(map(px.lives, pids))))
