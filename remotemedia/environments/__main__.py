"""``python -m remotemedia.environments VERSION REQUIREMENT...``: makes an environment; ``_maker`` starts it.

What it does it says on stdout, a JSON string per line; the last line of a failure is an object with ``error``. It ends
with all that it has started when stdin ends: that is its parent's end of a pipe, closed when the parent is gone.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from remotemedia import __version__
from remotemedia._install import source
from remotemedia.environments._store import Wanted, find, locked, note

_INSTALLERS = "REMOTEMEDIA_INSTALLER"
_WHEELS = "REMOTEMEDIA_WHEELS"
_MOST_SAID = 3
_NO_NETWORK = re.compile(
    r"name resolution|NameResolution|Connection|Failed to fetch|unreachable|timed out|ProxyError|network was disabled"
    r"|error sending request"
)
# pip's, and uv's, which has had several forms.
_ERROR = re.compile(r"(?!ERROR: Ignored)(ERROR: *|error: *|cause: *|Caused by: *|×|╰─▶)")


class _Failed(Exception):
    """Why it cannot be made."""


def main() -> int:
    """Makes it, unless somebody else has; the exit code."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    version, *requirements = sys.argv[1:]
    wanted = Wanted(tuple(requirements), version)
    try:
        with locked(wanted.folder):
            if find(wanted) is None:
                _make(wanted)
    except (_Failed, OSError) as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return 1
    return 0


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGKILL)


def _make(wanted: Wanted) -> None:
    folder = wanted.folder
    if folder.exists():
        _say("removing what was half made")
        shutil.rmtree(folder)
    uv = _uv()
    os.environ.setdefault("UV_HTTP_RETRIES", "1")
    _say(f"making a virtual environment of Python {wanted.python_version}")
    python = folder / "bin" / "python"
    if uv:
        _run([uv, "venv", "--quiet", "--python", _base(wanted) or wanted.version, str(folder)])
        install = [uv, "pip", "install", "--python", str(python)]
    else:
        # The pip of this Python installs into the other one. Without it, the other one gets its own.
        pip_here = importlib.util.find_spec("pip") is not None
        base = _base(wanted)
        if base is None:
            name = f"python{wanted.version}"
            raise _Failed(f"there is no {name} in PATH: install Python {wanted.version}, or uv, which fetches it")
        _run([base, "-m", "venv", *(["--without-pip"] if pip_here else []), str(folder)])
        start = [sys.executable, "-m", "pip", "--python", str(python)] if pip_here else [str(python), "-m", "pip"]
        install = [*start, "--disable-pip-version-check", "--no-input", "install", "--retries", "1"]
    # What an installer that is killed leaves goes with the environment that is half made.
    temporary = folder / "tmp"
    temporary.mkdir()
    os.environ["TMPDIR"] = str(temporary)
    if wheels := os.environ.get(_WHEELS):
        install += ["--find-links", str(Path(wheels).absolute())]
    _run([*install, *_ours(), *sorted(set(wanted.requirements))])
    if (root := _checkout()) and not _is_built_for(root, python):
        _say(f"building remotemedia for Python {wanted.python_version}")
        _run([*install, "--no-deps", "--editable", root])
    shutil.rmtree(temporary)
    _say("checking it")
    _run([str(python), "-P", "-c", "import remotemedia._ring"], {"PYTHONPATH": root} if root else None)
    made = note(folder, wanted, datetime.now(UTC).isoformat(timespec="seconds"))
    _say(f"made, {made.size_bytes / 1e6:.0f} MB")


def _uv() -> str | None:
    """uv, where it is there and ``REMOTEMEDIA_INSTALLER`` does not say pip."""
    chosen = os.environ.get(_INSTALLERS, "")
    if chosen not in ("", "uv", "pip"):
        raise _Failed(f"{_INSTALLERS} must be uv or pip, not {chosen!r}")
    found = None if chosen == "pip" else shutil.which("uv")
    if chosen == "uv" and found is None:
        raise _Failed(f"{_INSTALLERS} is uv, and there is no uv in PATH")
    return found


def _base(wanted: Wanted) -> str | None:
    """The interpreter that the environment is made with, if it is here."""
    if wanted.python_version == "{}.{}".format(*sys.version_info):
        return sys.executable
    found = shutil.which(f"python{wanted.version}")
    # What is in the path may only be a launcher of what is not installed.
    if found is None or subprocess.run([found, "-V"], capture_output=True).returncode:
        return None
    return found


# --- our own package ---


def _checkout() -> str | None:
    """The checkout that this package runs from, if it does: every Python that is started from here finds it there."""
    found, root = source(), str(Path(__file__).resolve().parents[2])
    return root if found == root else None


def _ours() -> list[str]:
    """What is installed so that remotemedia runs there: itself at this version, or, from a checkout, what it needs."""
    root = _checkout()
    if root is None:
        if os.environ.get(_WHEELS):
            return [f"remotemedia=={__version__}"]
        if (found := source()) is not None:
            return [found if found.startswith("/") else f"remotemedia @ {found}"]
        raise _Failed(f"nobody knows where this remotemedia came from: set {_WHEELS} to a folder with its wheel")
    with (Path(root) / "pyproject.toml").open("rb") as file:
        needed: list[str] = tomllib.load(file)["project"]["dependencies"]
    return needed


def _is_built_for(root: str, python: Path) -> bool:
    code = "import sysconfig; print(sysconfig.get_config_var('EXT_SUFFIX'))"
    suffix = subprocess.run([str(python), "-c", code], capture_output=True, text=True).stdout.strip()
    return bool(suffix) and (Path(root) / "remotemedia" / f"_ring{suffix}").exists()


# --- programs ---


def _run(command: list[str], env: dict[str, str] | None = None) -> None:
    """Runs a program, saying what it says; _Failed with its last words."""
    said: list[str] = []
    # What is in the search path of this Python is not installed in the other one.
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=clean | (env or {}),
    )
    assert process.stdout is not None
    with process:
        for line in process.stdout:
            if line := line.strip():
                said.append(line)
                if step := re.match(r"(Collecting|Downloading|Building|Installing|Resolved|Prepared) .*", line):
                    _say(step[0])
    if process.returncode:
        raise _Failed("; ".join(_why(said)) or f"{command[0]} ended with {process.returncode}")


def _why(said: list[str]) -> Iterator[str]:
    """The lines of an installer that tell why it failed."""
    if any(map(_NO_NETWORK.search, said)):
        yield "the package index cannot be reached"
    errors = [line for line in said if _ERROR.match(line)] or said[-1:]
    yield from dict.fromkeys(_ERROR.sub("", line) for line in errors[:_MOST_SAID])


def _say(text: str) -> None:
    print(json.dumps(text), flush=True)


if __name__ == "__main__":
    sys.exit(main())
