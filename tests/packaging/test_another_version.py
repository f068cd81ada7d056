"""Two versions of Python in one session: the environment of one is made of requirements, remotemedia built for it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.test_node_pythons import another_python

REPOSITORY = Path(__file__).parents[2]

PROGRAM = """
import asyncio, json, sys
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode, Pipeline, ProcessCrashError, Session, register_node

@register_node("versions")
class Versions(MultiprocessNode):
    async def process(self, data):
        import numpy, os, packaging, platform
        if data.payload == "die":
            os._exit(7)
        if data.payload == "wait":
            await asyncio.sleep(3600)
        said = [*data.payload.split(), platform.python_version_tuple()[1], packaging.__version__]
        return RuntimeData.text(" ".join(said))

async def main():
    python = {"requirements": ["packaging==24.0"], "version": sys.argv[1]}
    pipeline = Pipeline().add_node("versions", "own", python=python).add_node("versions", "usual")
    async with Session("s", pipeline.connect("own", "output", "usual", "input")) as session:
        await session.send("own", RuntimeData.text("x"))
        print((await session.receive("usual")).payload)
        await session.send("own", RuntimeData.text("wait"))
        await session.interrupt()
        await session.send("own", RuntimeData.text("y"))
        print((await session.receive("usual")).payload)
        await session.send("own", RuntimeData.text("die"))
        try:
            await session.receive("usual")
        except ProcessCrashError as error:
            print(error.node_id, error.exit_code)

asyncio.run(main())
"""


@pytest.mark.watchdog(300)
def test_data_interruption_and_crash(tmp_path: Path) -> None:
    other = another_python()
    if other is None:
        pytest.skip("there is no other Python 3.11 or newer here")
    # A checkout of its own: remotemedia is built in it for the other Python.
    checkout = tmp_path / "checkout"
    shutil.copytree(REPOSITORY / "remotemedia", checkout / "remotemedia", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "NOTICE", "MANIFEST.in"):
        shutil.copy(REPOSITORY / name, checkout / name)
    for built in (checkout / "remotemedia").glob("*.so"):
        if f"cpython-3{sys.version_info.minor}-" not in built.name:
            built.unlink()
    (tmp_path / "program.py").write_text(PROGRAM)
    minor = other.rpartition("python3.")[2]
    variables = {
        "PATH": f"{Path(other).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(checkout),
        "REMOTEMEDIA_CACHE": str(tmp_path / "cache"),
        "REMOTEMEDIA_INSTALLER": "pip",
    }
    done = subprocess.run(
        [sys.executable, "program.py", f"3.{minor}"],
        cwd=tmp_path,
        env=os.environ | variables,
        capture_output=True,
        text=True,
    )
    import packaging

    usual = f"{sys.version_info.minor} {packaging.__version__}"
    expected = [f"x {minor} 24.0 {usual}", f"y {minor} 24.0 {usual}", "own 7"]
    assert (done.returncode, done.stdout.splitlines()) == (0, expected), done.stderr
    (note,) = (tmp_path / "cache").glob("environments/*/environment.json")
    assert json.loads(note.read_text())["version"] == f"3.{minor}"
