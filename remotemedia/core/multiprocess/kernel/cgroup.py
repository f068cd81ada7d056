"""A control group (version 2) with a memory limit around one process and all that it starts."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import secrets
import select
from pathlib import Path

__all__ = ["MemoryGroup"]

_PATIENCE_SECS = 1.0
"""How long killed processes may take to be gone before their group is left to the system."""

_logger = logging.getLogger("remotemedia.session")


class MemoryGroup:
    """A group made for process ``pid``, with that in it; OSError says why there is none, and then nothing is left.

    When the group reaches its limit, the kernel kills every process in it.
    """

    def __init__(self, limit_bytes: int, pid: int) -> None:
        self.path = _delegated_group() / f"remotemedia-{os.getpid()}-{secrets.token_hex(4)}"
        self.path.mkdir()
        try:
            _write(self.path / "memory.max", str(limit_bytes))
            _write(self.path / "memory.oom.group", "1")
            with contextlib.suppress(FileNotFoundError):  # a kernel that does not account swap
                _write(self.path / "memory.swap.max", "0")
            _write(self.path / "cgroup.procs", str(pid))
        except BaseException:
            self.path.rmdir()
            raise

    def oom_killed(self) -> bool:
        """Whether the kernel has killed a process of the group for the limit; False once the group is removed.

        A kill for the limit of a group above, or for the whole machine, counts as oom_kill only.
        """
        try:
            events = (self.path / "memory.events").read_text().splitlines()
        except OSError:
            return False
        happened = {line.split()[0] for line in events if not line.endswith(" 0")}
        return {"oom", "oom_kill"} <= happened

    def remove(self) -> None:
        """Kills every process left in the group and removes it, once the kernel says that it is empty."""
        try:
            with contextlib.suppress(FileNotFoundError):  # kernels before 5.14
                _write(self.path / "cgroup.kill", "1")
            with (self.path / "cgroup.events").open() as events:
                emptied = select.poll()
                emptied.register(events, select.POLLPRI)
                while True:
                    events.seek(0)
                    events.read()  # arms the next notification
                    try:
                        self.path.rmdir()
                    except OSError as error:
                        if error.errno != errno.EBUSY or not emptied.poll(_PATIENCE_SECS * 1e3):
                            raise
                    else:
                        return
        except FileNotFoundError:
            return  # removed before
        except OSError as error:
            _logger.warning("control group %s cannot be removed: %s", self.path, error)


def _delegated_group() -> Path:
    """The group in which this process may make others.

    A group other than the root has members or limits below it, never both, so new groups go beside this process's own.
    That is done in the root of what this process can see, or where the manager of the groups has said that others may:
    systemd marks what it delegates.
    """
    own = next((line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line[:3] == "0::"), None)
    if own is None or ".." in own:
        raise OSError(errno.ENOENT, "this process is in no cgroup2 hierarchy that it can see")
    root = _mount_point()
    parent = (root / own.lstrip("/")).parent if own != "/" else root
    if parent != root and not _marked_delegated(parent):
        raise OSError(errno.EPERM, "not delegated", str(parent))
    if "memory" not in (parent / "cgroup.controllers").read_text().split():
        raise OSError(errno.ENOTSUP, "no memory controller", str(parent))
    if "memory" not in (parent / "cgroup.subtree_control").read_text().split():
        _write(parent / "cgroup.subtree_control", "+memory")
    return parent


def _mount_point() -> Path:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, kind = line.partition(" - ")
        root, path = mount.split()[3:5]
        if kind.split()[0] == "cgroup2" and root == "/":
            return Path(path)
    raise OSError(errno.ENOENT, "no cgroup2 file system is mounted")


def _marked_delegated(group: Path) -> bool:
    for name in ("user.delegate", "trusted.delegate"):
        with contextlib.suppress(OSError):
            if os.getxattr(group, name) == b"1":
                return True
    return False


def _write(file: Path, value: str) -> None:
    # Not write_text(): that would make an ordinary file where there is none.
    fd = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)
