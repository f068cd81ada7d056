"""MultiprocessConfig: the settings of an executor and its sessions (seed ``001``, "Configuration Options")."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

__all__ = ["MultiprocessConfig"]

_SMALLEST_SEGMENT_BYTES = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class MultiprocessConfig:
    """Settings; a wrong value raises TypeError or ValueError that names the field and what it may be.

    Attributes:
        max_processes_per_session: most nodes a session may have; None = no limit.
        channel_capacity: messages a channel holds before its publisher waits.
        init_timeout_secs: how long all nodes together may take to be ready.
        cleanup_grace_period_secs: how long a stopping node may drain and clean up before it is killed.
        enable_backpressure: True: a full channel makes its publisher wait. False: the message is dropped and counted.
        shm_segment_size: payload memory of each process in bytes; virtual, pages are used when touched.
        python_executable: the interpreter of the node processes.
        extra_paths: folders put in front of ``sys.path`` in the node processes.
        spin_us: how long a wait for a message, for room or for memory may spin before it sleeps in the kernel, in
            microseconds. Each waiter learns whether spinning pays, and spins less where it does not; 0 = never.
        use_uvloop: whether nodes run on uvloop where that is installed for ``python_executable``. It wakes faster than
            asyncio's own event loop.
    """

    max_processes_per_session: int | None = None
    channel_capacity: int = 100
    init_timeout_secs: float = 30.0
    cleanup_grace_period_secs: float = 5.0
    enable_backpressure: bool = True
    shm_segment_size: int = 256 * 1024 * 1024
    python_executable: str = field(default_factory=lambda: sys.executable)
    extra_paths: tuple[str, ...] = ()
    spin_us: int = 20
    use_uvloop: bool = True

    def __post_init__(self) -> None:
        if self.max_processes_per_session is not None:
            _check_int("max_processes_per_session", self.max_processes_per_session, 1, 1_000_000)
        _check_int("channel_capacity", self.channel_capacity, 1, 1 << 20)
        _check_secs("init_timeout_secs", self.init_timeout_secs)
        _check_secs("cleanup_grace_period_secs", self.cleanup_grace_period_secs)
        _check_bool("enable_backpressure", self.enable_backpressure)
        _check_bool("use_uvloop", self.use_uvloop)
        _check_int("shm_segment_size", self.shm_segment_size, _SMALLEST_SEGMENT_BYTES, 1 << 46)
        if not isinstance(self.python_executable, str) or not self.python_executable:
            raise TypeError(f"python_executable must be a path or a command name, not {self.python_executable!r}")
        _check_not_str("extra_paths", self.extra_paths)
        object.__setattr__(self, "extra_paths", tuple(str(path) for path in self.extra_paths))
        _check_int("spin_us", self.spin_us, 0, 1_000_000)


def _check_int(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be from {low} to {high}, not {value}")


def _check_bool(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r}")


def _check_not_str(name: str, value: object) -> None:
    if isinstance(value, str):
        raise TypeError(f"{name} must be a sequence of folders, not the str {value!r}")


def _check_secs(name: str, value: object) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number of seconds, not {value!r}")
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} must be a positive number of seconds, not {value}")
