"""The memory limit of one node's process: which mechanism holds it, and what an error says of it."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from remotemedia.core.multiprocess.kernel.cgroup import MemoryGroup

__all__ = ["HeldLimit", "MemoryLimit"]

# A library whose allocation fails aborts or runs into a null pointer. SIGKILL and SIGTERM come from elsewhere.
_SIGNALS_OF_ITS_OWN = (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGTRAP, signal.SIGFPE)


@dataclass(frozen=True)
class MemoryLimit:
    """How much memory a node may have, in bytes, and the name of the setting that says so."""

    size_bytes: int
    setting: str

    @classmethod
    def of(cls, node_bytes: int | None, every_node_bytes: int | None) -> MemoryLimit | None:
        """The node's own limit, else that of every node."""
        if node_bytes is not None:
            return cls(node_bytes, "memory_limit_bytes")
        if every_node_bytes is not None:
            return cls(every_node_bytes, "node_memory_limit_bytes")
        return None

    def __str__(self) -> str:
        megabytes = f"{self.size_bytes / 1e6:.1f}".removesuffix(".0")
        return f"memory limit of {megabytes} MB ({self.setting})"


class HeldLimit:
    """A limit on a process that does not know yet what to run.

    A control group holds it where the system lets this process make one. Elsewhere the node's process sets RLIMIT_DATA
    for itself (``rlimit_bytes``) before it loads the user's code.

    Attributes:
        mechanism: how the limit is held, in words.
        group: the control group that holds the limit, if one does; to be removed once the process has exited.
        rlimit_bytes: what the node's process is to set RLIMIT_DATA to; None when a control group holds the limit.
    """

    def __init__(self, limit: MemoryLimit, pid: int) -> None:
        self._limit = limit
        self.group: MemoryGroup | None = None
        self.rlimit_bytes: int | None = None
        try:
            self.group = MemoryGroup(limit.size_bytes, pid)
            self.mechanism = f"control group {self.group.path}"
        except OSError as error:
            self.rlimit_bytes = limit.size_bytes
            self.mechanism = f"RLIMIT_DATA (no control group: {error})"

    def __str__(self) -> str:
        return f"{self._limit}, held by {self.mechanism}"

    def explain_crash(self, exit_code: int, number: int | None, *, loaded: bool) -> str:
        """The words about the limit when the process has ended this way; may be empty.

        ``loaded``: whether the process had come to the user's code.
        """
        if self.group is not None:
            if not self.group.oom_killed():
                return ""
            return f"{self._limit} reached" + ("" if loaded else "; Python and numpy alone need more")
        failed_by_itself = exit_code > 0 if number is None else number in _SIGNALS_OF_ITS_OWN
        return f"it had a {self._limit}" if failed_by_itself else ""

    def explain_error(self, reason: str) -> str:
        """The reason of an error that says "out of memory", with the limit if that may have caused it."""
        # In a control group an allocation never fails: the process is killed when it touches what it got.
        return reason if self.group is not None else f"{reason} (the node has a {self._limit})"
