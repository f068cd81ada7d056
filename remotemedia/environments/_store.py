"""Which environments there are: a folder for each, named by a hash of what was asked for."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from remotemedia import __version__, _cache
from remotemedia._install import source
from remotemedia.errors import ConfigurationError, Problem

__all__ = ["Environment", "Wanted", "all_made", "cache_folder", "find", "locked", "note", "remove"]

_NOTE = "environment.json"
_KEY_CHARS = 16


@dataclass(frozen=True)
class Wanted:
    """What an environment is asked to be.

    Attributes:
        requirements: what pip installs, as it takes it; neither order nor repetition matters.
        version: of Python, such as "3.12"; "" for the version of this program's.
    """

    requirements: tuple[str, ...]
    version: str = ""

    @property
    def python_version(self) -> str:
        """The version of Python, such as "3.12"."""
        return self.version or "{}.{}".format(*sys.version_info)

    @property
    def key(self) -> str:
        """The name of its folder: another remotemedia, or one from elsewhere, is another environment."""
        asked = [sorted(set(self.requirements)), self.python_version, __version__, source()]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:_KEY_CHARS]

    @property
    def folder(self) -> Path:
        """Where it is, or will be."""
        return cache_folder() / self.key

    def __str__(self) -> str:
        return f"{', '.join(self.requirements)} (Python {self.python_version})"


@dataclass(frozen=True)
class Environment:
    """One that is made.

    Attributes:
        folder: the virtual environment.
        wanted: what it was asked to be.
        size_bytes: of its files when it was made.
        made_at: when that was, ISO 8601.
    """

    folder: Path
    wanted: Wanted
    size_bytes: int
    made_at: str

    @property
    def python(self) -> str:
        """The path of its interpreter."""
        return str(self.folder / "bin" / "python")

    def users(self) -> list[int]:
        """The processes that run on it, as far as ``/proc`` shows them to this user."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    program = (entry / "cmdline").read_bytes().partition(b"\0")[0]
                except OSError:
                    continue  # it ended, or is not ours to look at
                if program.startswith(os.fsencode(self.folder) + b"/"):
                    found.append(int(entry.name))
        return sorted(found)


def cache_folder() -> Path:
    """Where they are kept."""
    return _cache.cache_folder("environments")


def find(wanted: Wanted) -> Environment | None:
    """The environment that was made for this, or None; None also for one that is half made."""
    return _read(wanted.folder)


def all_made() -> list[Environment]:
    """Every environment there is, the newest last."""
    folders = cache_folder().iterdir() if cache_folder().is_dir() else iter(())
    found = [made for folder in folders if (made := _read(folder)) is not None]
    return sorted(found, key=lambda made: made.made_at)


def note(folder: Path, wanted: Wanted, made_at: str) -> Environment:
    """Says that an environment is made: the last thing done for it."""
    size_bytes = sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_symlink())
    content = {
        "requirements": sorted(set(wanted.requirements)),
        "version": wanted.python_version,
        "size_bytes": size_bytes,
        "made_at": made_at,
    }
    draft = folder / f"{_NOTE}.draft"
    draft.write_text(json.dumps(content, indent=2) + "\n")
    draft.rename(folder / _NOTE)
    made = _read(folder)
    assert made is not None
    return made


def remove(names: Sequence[str], *, force: bool = False) -> list[Environment]:
    """Removes the environments whose keys begin with one of these; what was removed.

    ConfigurationError, and nothing is removed, for a name that matches no environment or several, and without
    ``force`` for one that processes run on.
    """
    made = all_made()
    chosen: dict[Path, Environment] = {}
    problems = []
    for name in names:
        found = [one for one in made if one.folder.name.startswith(name)]
        if len(found) != 1:
            what = "there is no environment of that name" if not found else f"{len(found)} environments begin with that"
            problems.append(Problem(f"{what}; `remotemedia env list` shows them", name))
        elif not force and (pids := found[0].users()):
            problems.append(Problem(f"processes run on it: {', '.join(map(str, pids))}; --force removes it", name))
        else:
            chosen[found[0].folder] = found[0]
    if problems:
        raise ConfigurationError(problems)
    for folder in chosen:
        with locked(folder):
            (folder / _NOTE).unlink(missing_ok=True)  # first: without it, the rest is just files
            shutil.rmtree(folder, ignore_errors=True)
    return list(chosen.values())


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Only one process at a time makes or removes an environment; waits for the other one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # given back by the kernel, whatever becomes of this process
        yield


def _read(folder: Path) -> Environment | None:
    try:
        content: Any = json.loads((folder / _NOTE).read_text())
        wanted = Wanted(tuple(map(str, content["requirements"])), str(content["version"]))
        return Environment(folder, wanted, int(content["size_bytes"]), str(content["made_at"]))
    except (OSError, ValueError, LookupError, TypeError):
        return None
