"""The memory limits of the program and its nodes together, and the kills that they caused.

A container's limit belongs to a control group: the program's own group, or one above it. Only the kernel's counters
there tell such a kill from any other.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from remotemedia.core.multiprocess.values.logs import about

__all__ = ["KillWatch"]

_PROC = Path("/proc/self")
_UNLIMITED_BYTES = 1 << 62
"""Version 1 states "no limit" as a number above this, which depends on the page size."""
_CHARGED_AT_ONCE_BYTES = 1 << 20
"""More than the kernel charges to a group at a time: a group closer to its limit than this has reached it."""

_logger = logging.getLogger("remotemedia.session")

# For each group, how many of the kernel's kills have already explained a crash.
_told: dict[Path, int] = {}
_warned: set[tuple[Path, int]] = set()


@dataclass(frozen=True)
class _Group:
    """A control group with a memory controller, at one moment.

    Attributes:
        kills: how many of its processes the kernel has killed for lack of memory, for whichever limit.
        hits: how often its own limit was hit.
        full: whether it ever used as much memory as its limit allows; for kernels that do not count hits.
    """

    folder: Path
    limit_bytes: int | None
    kills: int
    hits: int
    full: bool = False

    @property
    def limit(self) -> str:
        assert self.limit_bytes is not None
        return f"memory limit of {_megabytes(self.limit_bytes)} of control group {self.folder}"


class KillWatch:
    """Tells, from its creation on, which processes that ended by SIGKILL were killed for lack of memory.

    It does not watch anything: it reads the counters now, and again when such a process has ended.
    """

    def __init__(self) -> None:
        self._before = {group.folder: group for group in _own_groups()}

    def explain_kill(self, group: Path | None = None) -> str:
        """The limit that was reached, once for each kill that the kernel has counted; else empty.

        ``group`` is the control group of the process, if that was not the program's own.
        """
        groups = _own_groups() if group is None else list(_groups_from(group, None))
        if not groups:
            return ""
        own, before = groups[0], self._before.get(groups[0].folder)
        told = max(0 if before is None else before.kills, _told.get(own.folder, 0))
        if own.kills <= told:
            return ""
        _told[own.folder] = told + 1
        limited = [group for group in groups if group.limit_bytes is not None]
        reached = [group for group in limited if self._was_hit(group)] or [group for group in limited if group.full]
        if reached:
            return " or ".join(group.limit for group in reached) + " reached"
        return (
            "the kernel killed it for lack of memory: the machine is out of memory, or a control group above "
            f"{groups[-1].folder} has a limit"
        )

    def _was_hit(self, group: _Group) -> bool:
        before = self._before.get(group.folder)
        return group.hits > (0 if before is None else before.hits)

    def warn_of(self, shared_bytes: int, nodes: int, session_id: str) -> None:
        """Warns, once for each limit, if a session's shared memory of that size does not fit below it."""
        limited = [group for group in self._before.values() if group.limit_bytes is not None]
        if not limited:
            return
        tightest = min(limited, key=lambda group: group.limit_bytes or 0)
        assert tightest.limit_bytes is not None
        if shared_bytes <= tightest.limit_bytes or (tightest.folder, tightest.limit_bytes) in _warned:
            return
        _warned.add((tightest.folder, tightest.limit_bytes))
        _logger.warning(
            "session %r: messages may take up to %s of shared memory (shm_segment_size, once for the session and once "
            "for each of %d nodes), which does not fit below the %s; where that is reached, the kernel kills a process",
            session_id,
            _megabytes(shared_bytes),
            nodes,
            tightest.limit,
            extra=about(session_id),
        )


def _own_groups() -> list[_Group]:
    """The group of this program and those above it, as far as they are visible and have a memory controller."""
    try:
        found = _find(_text(_PROC / "cgroup"), _PROC)
    except OSError:
        return []
    return [] if found is None else list(_groups_from(*found))


@lru_cache(maxsize=8)
def _find(cgroup: str, proc: Path) -> tuple[Path, Path] | None:
    """The folder of the group, and that of the highest visible one; OSError without mountinfo."""
    own = {names: path for _, names, path in (line.split(":", 2) for line in cgroup.splitlines())}
    version_1 = next((path for names, path in own.items() if "memory" in names.split(",")), None)
    path = own.get("") if version_1 is None else version_1
    if path is None or ".." in path:
        return None
    for line in (proc / "mountinfo").read_text().splitlines():
        mount, _, file_system = line.partition(" - ")
        kind, *_, options = file_system.split()
        if kind != "cgroup2" if version_1 is None else (kind != "cgroup" or "memory" not in options.split(",")):
            continue
        root, point = (_unescaped(word) for word in mount.split()[3:5])
        if Path(path).is_relative_to(root):
            return Path(point) / Path(path).relative_to(root), Path(point)
    return None


def _groups_from(folder: Path, top: Path | None) -> Iterator[_Group]:
    """The groups of ``folder`` and of its parents, up to ``top`` or the last one that is a group."""
    for level in (folder, *folder.parents):
        group = _read(level)
        if group is not None:
            yield group
        elif top is None:
            return
        if level == top:
            return


def _read(folder: Path) -> _Group | None:
    try:
        return _read_version_1(folder) if (folder / "memory.oom_control").exists() else _read_version_2(folder)
    except (OSError, ValueError):
        return None


def _read_version_1(folder: Path) -> _Group:
    limit_bytes = int(_text(folder / "memory.limit_in_bytes"))
    kills = _counters(folder / "memory.oom_control").get("oom_kill", 0)
    if limit_bytes >= _UNLIMITED_BYTES:
        return _Group(folder, None, kills, 0)
    most_bytes = int(_text(folder / "memory.max_usage_in_bytes"))
    hits = int(_text(folder / "memory.failcnt"))
    with_swap = folder / "memory.memsw.failcnt"  # the limit with swap is often the same, and the kernel checks it first
    if with_swap.exists():
        hits += int(_text(with_swap))
    return _Group(folder, limit_bytes, kills, hits, most_bytes >= limit_bytes - _CHARGED_AT_ONCE_BYTES)


def _read_version_2(folder: Path) -> _Group:
    limit = _text(folder / "memory.max").strip()
    local = folder / "memory.events.local"  # without the groups below
    events = _counters(local if local.exists() else folder / "memory.events")
    return _Group(folder, None if limit == "max" else int(limit), events.get("oom_kill", 0), events.get("oom", 0))


def _text(file: Path) -> str:
    """The content of a small file of the kernel; several are read for each session, so without the layers of open()."""
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 1 << 16).decode()
    finally:
        os.close(fd)


def _counters(file: Path) -> dict[str, int]:
    return {name: int(value) for name, value in (line.split() for line in _text(file).splitlines())}


def _unescaped(word: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), word)


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f}".removesuffix(".0") + " MB"
