"""MultiprocessConfig: the settings of an executor and its sessions."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

from remotemedia._naming import place
from remotemedia._python_rules import NODE_TYPES, node_type_problems
from remotemedia._rules import (
    FLAG,
    MEMORY_LIMIT,
    PYTHONS_IN_FORCE,
    SECS,
    Rule,
    check,
    is_list_of_paths,
    is_text,
    whole_number,
)

__all__ = ["NO_EXECUTABLE", "MultiprocessConfig"]

# A program that embeds Python may not know its interpreter; it is an error only when it would be used.
NO_EXECUTABLE = "(unknown)"
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
        node_memory_limit_bytes: how much private memory each node's process may have; None = no limit. A node's own
            ``memory_limit_bytes`` wins.
        python_executable: the interpreter of the node processes, if ``venv_path`` is not set. A bare ``python`` or
            ``python3`` means the interpreter that would be used without it, and is not looked up in ``PATH``.
        venv_path: the folder of a virtual environment; its ``bin/python`` is the interpreter of the node processes.
        nodes: settings by node type, in force where the pipeline says nothing for the node: which Python such a node
            runs, as in ``Pipeline.add_node(python=...)``, and ``env``, the environment variables it has. No
            manifest has them.
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
    python_executable: str = field(default_factory=lambda: sys.executable or NO_EXECUTABLE)
    venv_path: str | None = None
    nodes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False, hash=False)
    extra_paths: tuple[str, ...] = ()
    spin_us: int = 20
    use_uvloop: bool = True

    RULES: ClassVar[Mapping[str, Rule]] = MappingProxyType(
        {
            "max_processes_per_session": whole_number(1, 1_000_000, optional=True),
            "channel_capacity": whole_number(1, 1 << 20),
            "init_timeout_secs": SECS,
            "cleanup_grace_period_secs": SECS,
            "enable_backpressure": FLAG,
            "shm_segment_size": whole_number(_SMALLEST_SEGMENT_BYTES, 1 << 46),
            "node_memory_limit_bytes": MEMORY_LIMIT,
            "python_executable": Rule("a path or a command name", is_text),
            "venv_path": Rule("the path of a folder", is_text, optional=True),
            "nodes": NODE_TYPES,
            "extra_paths": Rule("a list of folders", is_list_of_paths),
            "spin_us": whole_number(0, 1_000_000),
            "use_uvloop": FLAG,
        }
    )
    """What each field may be; settings from files follow the same rules."""

    PIPELINE_RULES: ClassVar[Mapping[str, Rule]] = MappingProxyType(
        {name: rule for name, rule in RULES.items() if name != "nodes"}
    )
    """What a manifest may set. Which Python the nodes of a type run, the operator of a machine says."""

    def __post_init__(self) -> None:
        for keys, message in node_type_problems(self.nodes):
            raise ValueError(f"{place('nodes', *keys)} {message}")
        check(self, self.RULES)
        object.__setattr__(self, "extra_paths", tuple(str(path) for path in self.extra_paths))
        if self.python_executable in PYTHONS_IN_FORCE and sys.executable:
            object.__setattr__(self, "python_executable", sys.executable)
