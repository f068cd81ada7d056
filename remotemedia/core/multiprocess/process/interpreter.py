"""The command line of a node's interpreter: the program's flags, but never the program itself."""

from __future__ import annotations

import os
import site
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from remotemedia import _orphans
from remotemedia.core.multiprocess.process.control import NODE_MARK
from remotemedia.core.multiprocess.values.config import NO_EXECUTABLE
from remotemedia.errors import ProcessSpawnError

__all__ = ["command", "environment", "refuse_the_program_itself", "why_python_is_unfit"]

_RUNNER: Final = "remotemedia.core.multiprocess.runner"
# For an interpreter that ignores PYTHONPATH: does what -m does, and gets the folder of remotemedia as an argument.
_RUNNER_FROM: Final = f"import sys; sys.path.%ssys.argv.pop(1)); from {_RUNNER} import leave, main; leave(main())"
_STARTED_AGAIN: Final = "was started as a node's process"
_WHAT_TO_SET: Final = (
    "set python_executable to a Python interpreter that has remotemedia, such as "
    'MultiprocessConfig(python_executable="/usr/bin/python3"), or venv_path'
)


def command(python: str) -> list[str]:
    """The command that starts the runner, with this interpreter's flags if ``python`` is the same interpreter.

    The flags are those that the standard multiprocessing passes on. Under -I or -E the path of a checkout cannot be
    passed in the environment.
    """
    # Unbuffered: what a node prints reaches its logger line by line, not when a buffer is full.
    start = [python, *_flags(python), "-u", "-P"]
    if _flags(python) and (sys.flags.ignore_environment or sys.flags.no_site) and (root := _root()) is not None:
        # Its own site-packages come last, as usual.
        return [*start, "-c", _RUNNER_FROM % ("append(" if _is_installed(root) else "insert(0, "), root]
    return [*start, "-m", _RUNNER]


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """The program's own environment, without the variables that its interpreter ignores, and the node's ``own``."""
    found = dict(os.environ)
    if sys.flags.ignore_environment:
        found = {name: value for name, value in found.items() if not name.startswith("PYTHON")}
    found.update(own)
    found["PYTHONUNBUFFERED"] = "1"  # also for a Python that the node starts
    found[NODE_MARK] = "1"
    variable, mark = _orphans.host_mark()
    found[variable] = mark
    # The runner must be importable before it receives the search path, even from a checkout.
    root = _root()
    if root is not None and not _is_installed(root):
        found["PYTHONPATH"] = os.pathsep.join(filter(None, [found.get("PYTHONPATH"), root]))
    return found


def refuse_the_program_itself(python: str) -> None:
    """ProcessSpawnError if starting ``python`` would start this program again, and with it its nodes, without end."""
    if NODE_MARK in os.environ:
        raise ProcessSpawnError(
            f"this program {_STARTED_AGAIN} ({NODE_MARK} is set), but a node needs a Python interpreter: {_WHAT_TO_SET}"
        )
    if python not in (sys.executable, NO_EXECUTABLE) and not _is_own(python):
        return
    names = (Path(python).name.lower(), Path(python).resolve().name.lower())
    if getattr(sys, "frozen", False):
        raise ProcessSpawnError(f"this program is frozen, and sys.executable is the program itself: {_WHAT_TO_SET}")
    if not any("python" in name or "pypy" in name for name in names):
        raise ProcessSpawnError(
            f"sys.executable is {python}, a program that embeds Python and not a Python interpreter: {_WHAT_TO_SET}"
        )


def why_python_is_unfit(python: str, stderr_tail: Sequence[str]) -> str | None:
    """Why an interpreter ended before its node was loaded, from what it wrote; None if that does not tell."""
    if "Unknown option: -P" in stderr_tail:
        return f"{python} is too old: remotemedia needs Python 3.11 or newer"
    if any(_STARTED_AGAIN in line for line in stderr_tail):
        return f"{python} is not a Python interpreter but a program that starts its session again: {_WHAT_TO_SET}"
    said = stderr_tail[-1] if stderr_tail else ""
    if "ImportError: " not in said and "ModuleNotFoundError: " not in said:
        return None
    from remotemedia._install import install_advice

    return f"{python} cannot import remotemedia: {install_advice(python=python)} (it said: {said})"


def _flags(python: str) -> list[str]:
    # There is no public function for this; the standard multiprocessing uses this private one.
    return subprocess._args_from_interpreter_flags() if _is_own(python) else []  # type: ignore[attr-defined]


def _is_own(python: str) -> bool:
    """Whether ``python`` is this program's interpreter, in any environment."""
    try:
        return Path(python).samefile(sys.executable)
    except OSError:
        return False


def _root() -> str | None:
    """The folder of remotemedia, unless every interpreter of this environment finds it by itself."""
    root = str(Path(__file__).resolve().parents[4])
    if _is_installed(root):
        return root if sys.flags.no_site else None
    return root if root in map(os.path.abspath, sys.path) else None


def _is_installed(root: str) -> bool:
    return root in {*site.getsitepackages(), site.getusersitepackages()}
