"""What a process and its surroundings hold at one moment; the leak check compares two of them."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from remotemedia.testing import leaks


@dataclass
class Holdings(leaks.Holdings):
    """What this process and its surroundings hold at one moment: files too."""

    files: set[str] = field(default_factory=set)

    @classmethod
    def now(cls) -> Self:
        held = super().now()
        held.files = files()
        return held

    def grown_since(self, before: Self) -> list[str]:
        """One line for each thing held now that was not held before."""
        grown = super().grown_since(before)
        return grown + [f"file {name}" for name in sorted(self.files - before.files) if made_here(Path(name))]


# --- files: where a test can leave any ---

_SHARED_MEMORY = Path("/dev/shm")
OUR_NAME = os.environ.get("REMOTEMEDIA_TEST_NAME", "remotemedia")
"""What remotemedia's files are called; the tests of this check have another name, and leave other runs in peace."""

RUN = "REMOTEMEDIA_TEST_RUN"
"""In the environment of all processes that a run starts, directly or not."""


def temporary_folder() -> Path:
    """The folder for temporary files that this run has to itself: ``pytest_configure`` makes it."""
    return Path(os.environ["TMPDIR"])


def files() -> set[str]:
    found = set(temporary_folder().iterdir())
    if _SHARED_MEMORY.is_dir():
        found |= set(_SHARED_MEMORY.iterdir())
    return {str(path) for path in found}


def made_here(path: Path) -> bool:
    """Whether this run can have left the file. All programs of the machine share one folder of shared memory: there the
    processes that hold the file decide. A file that nobody holds is ours if it has our name, or if we are alone."""
    if path.parent != _SHARED_MEMORY:
        return True
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_uid == os.geteuid():
            holders = _holders(path)
            if holders:
                return any(map(_of_this_run, holders))
            return path.name.startswith(OUR_NAME) or _alone()
    return False


def _holders(path: Path) -> list[int]:
    """The processes that have it open or mapped, of those that this user may look into."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended, or is another user's
            mapped = {line.split(None, 5)[-1] for line in (process / "maps").read_text().splitlines()}
            if str(path) in mapped or any(_target(fd) == path for fd in (process / "fd").iterdir()):
                found.append(int(process.name))
    return found


def _target(link: Path) -> Path | None:
    try:
        return link.readlink()
    except OSError:
        return None


def _alone() -> bool:
    """Whether no other program of this user runs here, as in a container, except those that started this run."""
    above, pid = set(), os.getpid()
    while pid > 0:
        above.add(pid)
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended, is another user's, or the kernel's: that runs no program
            (process / "exe").readlink()
            others = process.stat().st_uid == os.geteuid() and int(process.name) not in above
            if others and not _of_this_run(int(process.name)):
                return False
    return True


def _of_this_run(pid: int) -> bool:
    if pid == os.getpid():
        return True
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return f"{RUN}={os.environ[RUN]}".encode() in variables
