"""The public door: everything a user of remotemedia imports, by its fixed name.

Names are loaded on first use, so that a node's process, which needs two of them, does not pay for the rest.
"""

# May import: session, graph, classes, node, channel, values, audio, core.marks, errors

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from remotemedia.audio import load_audio_file, save_audio_file
    from remotemedia.core.marks import EAGER_END_OF_UTTERANCE, END_OF_ANSWER, END_OF_TURN, END_OF_UTTERANCE, FAILURE
    from remotemedia.core.multiprocess.channel.publisher import Publisher
    from remotemedia.core.multiprocess.channel.subscriber import Subscriber
    from remotemedia.core.multiprocess.classes.registry import lookup_node, register_node, registered_nodes
    from remotemedia.core.multiprocess.graph.pipeline import Connection, NodeConfig, Pipeline
    from remotemedia.core.multiprocess.node.declaration import Param
    from remotemedia.core.multiprocess.node.held import Held
    from remotemedia.core.multiprocess.node.node import MultiprocessNode, NodeStatus
    from remotemedia.core.multiprocess.session.executor import MultiprocessExecutor, NodeHandle, default_executor
    from remotemedia.core.multiprocess.session.session import Session
    from remotemedia.core.multiprocess.session.status import (
        Metrics,
        NodeMetrics,
        NodeReport,
        SessionStatus,
        StatusReport,
    )
    from remotemedia.core.multiprocess.session.turns import Turn
    from remotemedia.core.multiprocess.values.config import MultiprocessConfig
    from remotemedia.core.multiprocess.values.events import (
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
    from remotemedia.core.multiprocess.values.interruption import Heard, Interruption, Position, Provenance
    from remotemedia.core.multiprocess.values.progress import InitProgress
    from remotemedia.core.multiprocess.values.statistics import ChannelStats, Durations, NodeStats
    from remotemedia.core.multiprocess.values.totals import (
        ChannelPlace,
        ChannelTotals,
        NodePlace,
        NodeTotals,
        PipelinePlace,
        PipelineTotals,
        Totals,
        place_in,
    )
    from remotemedia.core.multiprocess.values.turn import Origin
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
    "remotemedia.core.marks": ("EAGER_END_OF_UTTERANCE", "END_OF_ANSWER", "END_OF_TURN", "END_OF_UTTERANCE", "FAILURE"),
    "remotemedia.core.multiprocess.channel.publisher": ("Publisher",),
    "remotemedia.core.multiprocess.channel.subscriber": ("Subscriber",),
    "remotemedia.core.multiprocess.values.config": ("MultiprocessConfig",),
    "remotemedia.core.multiprocess.node.declaration": ("Param",),
    "remotemedia.core.multiprocess.values.events": (
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
    "remotemedia.core.multiprocess.session.executor": ("MultiprocessExecutor", "NodeHandle", "default_executor"),
    "remotemedia.core.multiprocess.node.held": ("Held",),
    "remotemedia.core.multiprocess.session.turns": ("Turn",),
    "remotemedia.core.multiprocess.values.turn": ("Origin",),
    "remotemedia.core.multiprocess.node.node": ("MultiprocessNode", "NodeStatus"),
    "remotemedia.core.multiprocess.graph.pipeline": ("Connection", "NodeConfig", "Pipeline"),
    "remotemedia.core.multiprocess.values.progress": ("InitProgress",),
    "remotemedia.core.multiprocess.classes.registry": ("lookup_node", "register_node", "registered_nodes"),
    "remotemedia.core.multiprocess.session.session": ("Session",),
    "remotemedia.core.multiprocess.values.interruption": ("Heard", "Interruption", "Position", "Provenance"),
    "remotemedia.core.multiprocess.values.statistics": ("ChannelStats", "Durations", "NodeStats"),
    "remotemedia.core.multiprocess.values.totals": (
        "ChannelPlace",
        "ChannelTotals",
        "NodePlace",
        "NodeTotals",
        "PipelinePlace",
        "PipelineTotals",
        "Totals",
        "place_in",
    ),
    "remotemedia.core.multiprocess.session.status": (
        "Metrics",
        "NodeMetrics",
        "NodeReport",
        "SessionStatus",
        "StatusReport",
    ),
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
    "EAGER_END_OF_UTTERANCE",
    "END_OF_ANSWER",
    "END_OF_TURN",
    "END_OF_UTTERANCE",
    "FAILURE",
    "AuthenticationError",
    "ChannelClosedError",
    "ChannelCorruptedError",
    "ChannelError",
    "ChannelFullError",
    "ChannelInUseError",
    "ChannelPlace",
    "ChannelStats",
    "ChannelTotals",
    "ConfigurationError",
    "Connection",
    "Durations",
    "EventStream",
    "EventsLost",
    "ExitReason",
    "Heard",
    "Held",
    "InitProgress",
    "InitializationTimeout",
    "Interruption",
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
    "NodePlace",
    "NodeProcessError",
    "NodeReport",
    "NodeStats",
    "NodeStatus",
    "NodeTotals",
    "Origin",
    "Param",
    "PayloadError",
    "Pipeline",
    "PipelineError",
    "PipelinePlace",
    "PipelineTotals",
    "Position",
    "Problem",
    "ProcessCrashError",
    "ProcessEvent",
    "ProcessExited",
    "ProcessProgress",
    "ProcessReady",
    "ProcessSpawnError",
    "ProcessStarted",
    "Provenance",
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
    "Totals",
    "Turn",
    "default_executor",
    "load_audio_file",
    "lookup_node",
    "place_in",
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
