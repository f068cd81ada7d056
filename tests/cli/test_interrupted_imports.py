"""Ctrl-C before a command has come to do anything."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

# numpy is not ours, and the moment in which its C code is interrupted cannot be hit from outside: this stands in for
# it, signals when a module of numpy's is looked for, and does what numpy does then.
INTERRUPTED = """
import os, signal, sys, traceback

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == AT and "--node-id" not in sys.argv:
            try:
                for _ in range(TIMES):
                    os.kill(os.getpid(), signal.SIGINT)
            except KeyboardInterrupt:
                traceback.print_exc()
                raise ImportError("numpy._core.multiarray failed to import") from None

sys.meta_path.insert(0, Finder)
"""


@pytest.mark.parametrize("command", [["run", "m.json"], ["validate", "m.json"], ["nodes", "list"]], ids=lambda c: c[0])
def test_ctrl_c_while_the_first_modules_load(tmp_path, environment, command):
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTED.replace("AT", "'numpy.linalg'").replace("TIMES", "1"))
    done = subprocess.run(
        [sys.executable, "-m", "remotemedia", *command],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": f"{tmp_path}:{environment.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "remotemedia: interrupted\n")


def test_ctrl_c_twice_while_the_first_modules_load(tmp_path, environment):
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTED.replace("AT", "'numpy.linalg'").replace("TIMES", "2"))
    done = subprocess.run(
        [sys.executable, "-m", "remotemedia", "validate", "m.json"],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": f"{tmp_path}:{environment.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")
