"""The public door: everything a user of remotemedia imports, by its fixed name.

Names are loaded on first use, so that a node's process, which needs two of them, does not pay for the rest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from remotemedia.audio import load_audio_file, save_audio_file
    from remotemedia.core.multiprocess.channel import Publisher, Subscriber
    from remotemedia.core.multiprocess.config import MultiprocessConfig
    from remotemedia.core.multiprocess.declaration import Param
    from remotemedia.core.multiprocess.events import (
        EventsLost,
        EventStream,
        ExitReason,
        NodeFailed,
        ProcessEvent,
        ProcessExited,
        ProcessProgress,
        ProcessReady,
        ProcessStarted,
    )
    from remotemedia.core.multiprocess.executor import MultiprocessExecutor, NodeHandle, default_executor
    from remotemedia.core.multiprocess.node import MultiprocessNode, NodeStatus
    from remotemedia.core.multiprocess.pipeline import Connection, NodeConfig, Pipeline
    from remotemedia.core.multiprocess.progress import InitProgress
    from remotemedia.core.multiprocess.registry import lookup_node, register_node, registered_nodes
    from remotemedia.core.multiprocess.session import Session, SessionStatus
    from remotemedia.core.multiprocess.statistics import ChannelStats, NodeStats
    from remotemedia.core.multiprocess.status import Metrics, NodeMetrics, NodeReport, StatusReport
    from remotemedia.errors import (
        AuthenticationError,
        ChannelClosedError,
        ChannelCorruptedError,
        ChannelError,
        ChannelFullError,
        ChannelInUseError,
        ConfigurationError,
        InitializationTimeout,
        ManifestError,
        MultiprocessError,
        NodeInitializationError,
        NodeProcessError,
        PayloadError,
        PipelineError,
        Problem,
        ProcessCrashError,
        ProcessSpawnError,
        RemoteFailure,
        ResourceLimitError,
        ServiceError,
        ServiceUnavailableError,
        SessionStateError,
    )

_HOMES = {
    "remotemedia.audio": ("load_audio_file", "save_audio_file"),
    "remotemedia.core.multiprocess.channel": ("Publisher", "Subscriber"),
    "remotemedia.core.multiprocess.config": ("MultiprocessConfig",),
    "remotemedia.core.multiprocess.declaration": ("Param",),
    "remotemedia.core.multiprocess.events": (
        "EventStream",
        "EventsLost",
        "ExitReason",
        "NodeFailed",
        "ProcessEvent",
        "ProcessExited",
        "ProcessProgress",
        "ProcessReady",
        "ProcessStarted",
    ),
    "remotemedia.core.multiprocess.executor": ("MultiprocessExecutor", "NodeHandle", "default_executor"),
    "remotemedia.core.multiprocess.node": ("MultiprocessNode", "NodeStatus"),
    "remotemedia.core.multiprocess.pipeline": ("Connection", "NodeConfig", "Pipeline"),
    "remotemedia.core.multiprocess.progress": ("InitProgress",),
    "remotemedia.core.multiprocess.registry": ("lookup_node", "register_node", "registered_nodes"),
    "remotemedia.core.multiprocess.session": ("Session", "SessionStatus"),
    "remotemedia.core.multiprocess.statistics": ("ChannelStats", "NodeStats"),
    "remotemedia.core.multiprocess.status": ("Metrics", "NodeMetrics", "NodeReport", "StatusReport"),
    "remotemedia.errors": (
        "AuthenticationError",
        "ChannelClosedError",
        "ChannelCorruptedError",
        "ChannelError",
        "ChannelFullError",
        "ChannelInUseError",
        "ConfigurationError",
        "InitializationTimeout",
        "ManifestError",
        "MultiprocessError",
        "NodeInitializationError",
        "NodeProcessError",
        "PayloadError",
        "PipelineError",
        "Problem",
        "ProcessCrashError",
        "ProcessSpawnError",
        "RemoteFailure",
        "ResourceLimitError",
        "ServiceError",
        "ServiceUnavailableError",
        "SessionStateError",
    ),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AuthenticationError",
    "ChannelClosedError",
    "ChannelCorruptedError",
    "ChannelError",
    "ChannelFullError",
    "ChannelInUseError",
    "ChannelStats",
    "ConfigurationError",
    "Connection",
    "EventStream",
    "EventsLost",
    "ExitReason",
    "InitProgress",
    "InitializationTimeout",
    "ManifestError",
    "Metrics",
    "MultiprocessConfig",
    "MultiprocessError",
    "MultiprocessExecutor",
    "MultiprocessNode",
    "NodeConfig",
    "NodeFailed",
    "NodeHandle",
    "NodeInitializationError",
    "NodeMetrics",
    "NodeProcessError",
    "NodeReport",
    "NodeStats",
    "NodeStatus",
    "Param",
    "PayloadError",
    "Pipeline",
    "PipelineError",
    "Problem",
    "ProcessCrashError",
    "ProcessEvent",
    "ProcessExited",
    "ProcessProgress",
    "ProcessReady",
    "ProcessSpawnError",
    "ProcessStarted",
    "Publisher",
    "RemoteFailure",
    "ResourceLimitError",
    "ServiceError",
    "ServiceUnavailableError",
    "Session",
    "SessionStateError",
    "SessionStatus",
    "StatusReport",
    "Subscriber",
    "default_executor",
    "load_audio_file",
    "lookup_node",
    "register_node",
    "registered_nodes",
    "save_audio_file",
]


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
