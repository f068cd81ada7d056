"""MultiprocessConfig: the settings of an executor and its sessions (seed ``001``, "Configuration Options")."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from types import MappingProxyType
from typing import Any, ClassVar

__all__ = ["MultiprocessConfig"]

_SMALLEST_SEGMENT_BYTES = 64 * 1024


@dataclass(frozen=True)
class Rule:
    """The values that a setting takes, wherever it is written.

    Attributes:
        says: the values in words, such as "a whole number from 1 to 10".
        has_type: whether a value is of the right type.
        allows: whether a value of that type is possible.
        optional: whether None is a value too.
    """

    says: str
    has_type: Callable[[object], bool]
    allows: Callable[[Any], bool] = lambda value: True
    optional: bool = False

    def refusal(self, value: object) -> type[TypeError] | type[ValueError] | None:
        """The exception that fits a wrong value; None for a right one."""
        if value is None and self.optional:
            return None
        if not self.has_type(value):
            return TypeError
        return None if self.allows(value) else ValueError


def _whole_number(low: int, high: int, *, optional: bool = False) -> Rule:
    return Rule(
        f"a whole number from {low} to {high}",
        lambda value: isinstance(value, int) and not isinstance(value, bool),
        lambda value: low <= value <= high,
        optional,
    )


_SECS = Rule(
    "a positive number of seconds",
    lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    lambda value: 0 < value < float("inf"),
)
_FLAG = Rule("True or False", lambda value: isinstance(value, bool))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != "" and "\0" not in value


def _is_list_of_paths(value: object) -> bool:
    return isinstance(value, list | tuple) and all(_is_text(path) or isinstance(path, PathLike) for path in value)


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
        node_memory_limit_bytes: how much private memory each node's process may have; None = no limit. A node's own
            ``memory_limit_bytes`` wins.
        python_executable: the interpreter of the node processes, where there is no ``venv_path``.
        venv_path: the folder of a virtual environment; its ``bin/python`` is the interpreter of the node processes.
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
    node_memory_limit_bytes: int | None = None
    python_executable: str = field(default_factory=lambda: sys.executable)
    venv_path: str | None = None
    extra_paths: tuple[str, ...] = ()
    spin_us: int = 20
    use_uvloop: bool = True

    RULES: ClassVar[Mapping[str, Rule]] = MappingProxyType(
        {
            "max_processes_per_session": _whole_number(1, 1_000_000, optional=True),
            "channel_capacity": _whole_number(1, 1 << 20),
            "init_timeout_secs": _SECS,
            "cleanup_grace_period_secs": _SECS,
            "enable_backpressure": _FLAG,
            "shm_segment_size": _whole_number(_SMALLEST_SEGMENT_BYTES, 1 << 46),
            "node_memory_limit_bytes": _whole_number(1 << 20, 1 << 60, optional=True),
            "python_executable": Rule("a path or a command name", _is_text),
            "venv_path": Rule("the path of a folder", _is_text, optional=True),
            "extra_paths": Rule("a list of folders", _is_list_of_paths),
            "spin_us": _whole_number(0, 1_000_000),
            "use_uvloop": _FLAG,
        }
    )
    """What each field may be; what reads settings from files has the same rules."""

    def __post_init__(self) -> None:
        for name, rule in self.RULES.items():
            value = getattr(self, name)
            if refusal := rule.refusal(value):
                raise refusal(f"{name} must be {rule.says}{' or None' if rule.optional else ''}, not {value!r}")
        object.__setattr__(self, "extra_paths", tuple(str(path) for path in self.extra_paths))
