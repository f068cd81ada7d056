"""What a process and its surroundings hold at one moment; the leak check compares two of them."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Holdings:
    """What this process and its surroundings hold at one moment."""

    descriptors: Counter[str] = field(default_factory=Counter)
    threads: Counter[str] = field(default_factory=Counter)
    native_threads: int = 0
    mappings: Counter[str] = field(default_factory=Counter)
    children: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)

    @classmethod
    def now(cls) -> Holdings:
        gc.collect()
        held = cls(
            threads=Counter(thread.name for thread in threading.enumerate()),
            native_threads=_native_threads(),
            mappings=Counter(
                line.split(None, 5)[5].strip()
                for line in Path("/proc/self/maps").read_text().splitlines()
                if "memfd:remotemedia" in line
            ),
            children=_children(),
            files=files(),
        )
        for number in os.listdir("/proc/self/fd"):  # noqa: PTH208  Path.iterdir would have one open itself
            try:
                target = str(Path(f"/proc/self/fd/{number}").readlink())
            except OSError:
                continue  # the one listdir used
            held.descriptors[target.partition(":[")[0]] += 1
        return held

    def grow_by(self, now: Holdings, before: Holdings) -> None:
        """Adds what came between the two."""
        self.descriptors += now.descriptors - before.descriptors
        self.threads += now.threads - before.threads
        self.native_threads += now.native_threads - before.native_threads

    def grown_since(self, before: Holdings) -> list[str]:
        """One line for each thing held now that was not held before."""
        grown = [f"descriptor {name} (x{n})" for name, n in (self.descriptors - before.descriptors).items()]
        grown += [f"thread {name} (x{n})" for name, n in (self.threads - before.threads).items()]
        if self.native_threads > before.native_threads:
            grown.append(f"{self.native_threads - before.native_threads} native threads")
        grown += [f"mapping {name} (x{n})" for name, n in (self.mappings - before.mappings).items()]
        grown += [f"child process {child}" for child in sorted(self.children - before.children)]
        grown += [f"file {name}" for name in sorted(self.files - before.files) if made_here(Path(name))]
        return grown


# gRPC's pools have as many threads as they like.
_COME_AND_GO = ("event_engine", "lifeguard", "grpc_global_tim")


def _native_threads() -> int:
    count = 0
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # it ended
            count += not (task / "comm").read_text().startswith(_COME_AND_GO)
    return count


def _children() -> set[str]:
    found = set()
    for task in Path("/proc/self/task").iterdir():
        try:
            pids = (task / "children").read_text().split()
        except OSError:
            continue  # the thread ended
        for pid in pids:
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                command = ""
            found.add(f"{pid} {command.strip()[:120] or '(zombie)'}")
    return found


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
