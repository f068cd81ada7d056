"""What the README shows runs as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"


def _blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def _start(folder: Path, name: str, program: str) -> subprocess.Popen[str]:
    path = folder / name
    path.write_text(program)
    return subprocess.Popen([sys.executable, path.name], cwd=folder, stdout=subprocess.PIPE, text=True)


def test_the_pipeline(tmp_path: Path) -> None:
    with _start(tmp_path, "pipeline.py", _blocks()[0]) as program:
        assert program.communicate()[0] == "[0.5 0.5 0.5 0.5]\n"
    assert program.returncode == 0


def test_the_two_programs(tmp_path: Path) -> None:
    sender, receiver = _blocks()[1:3]
    # Under a name of this test's own: somebody may be trying the README at the same moment.
    name = f'"camera-{tmp_path}"'
    with (
        _start(tmp_path, "sender.py", sender.replace('"camera"', name)) as sending,
        _start(tmp_path, "receiver.py", receiver.replace('"camera"', name)) as receiving,
    ):
        assert receiving.communicate()[0] == "128.0\n"
    assert (sending.returncode, receiving.returncode) == (0, 0)
