"""Every error remotemedia raises, as one tree.

::

    MultiprocessError
    ├── ProcessSpawnError          a node process could not be started
    ├── ProcessCrashError          a node process ended on its own
    ├── InitializationTimeout      nodes were not ready before the deadline
    ├── NodeInitializationError    a node's class or initialize() failed
    ├── NodeProcessError           process() raised; reported, not fatal
    ├── ResourceLimitError         a configured limit was reached
    ├── ConfigurationError         runtime.toml or another setting is wrong (also ValueError)
    ├── PipelineError              the graph is wrong          (also ValueError)
    │   └── ManifestError          a manifest is wrong
    ├── SessionStateError          the call does not fit the session's state
    ├── ServiceError               a gRPC service failed, or sent a reply that makes no sense
    │   ├── ServiceUnavailableError  it cannot be reached, or is stopping
    │   └── AuthenticationError      it does not let this client in
    └── ChannelError
        ├── ChannelFullError       no room and no waiting allowed
        ├── ChannelClosedError     the other side is gone or this side closed
        ├── ChannelInUseError      the name already has such a side
        ├── ChannelCorruptedError  shared memory holds data that no peer would write
        └── PayloadError           this payload cannot travel   (also ValueError)

The names in docs/contract.md keep their signatures.
"""

from __future__ import annotations

import signal as _signal
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

__all__ = [
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
]


@dataclass(frozen=True)
class RemoteFailure:
    """What a gRPC service said of an error.

    Attributes:
        error_type: ``"VALIDATION"``, ``"NODE_EXECUTION"``, ``"RESOURCE_LIMIT"`` and so on.
        message: its text.
        failing_node_id: the node of the pipeline there; empty when none is at fault.
        context: more for programs, such as ``{"exception": "ProcessCrashError", "exit_code": 137, "signal": 9}``.
        traceback: of the process there, or the last lines on its stderr; may be empty.
    """

    error_type: str
    message: str
    failing_node_id: str = ""
    context: dict[str, Any] = field(default_factory=dict)
    traceback: str = ""


class MultiprocessError(Exception):
    """Base of everything remotemedia raises for its own reasons.

    Attributes:
        remote: what a gRPC service said, when the error happened there; else None.
    """

    remote: RemoteFailure | None = None


class ProcessSpawnError(MultiprocessError):
    """A node process could not be started: no such interpreter, no pids, no descriptors."""


class ProcessCrashError(MultiprocessError):
    """A node process ended without being asked to.

    Attributes:
        node_id: the node whose process ended.
        exit_code: its exit code; 128 + signal number when a signal ended it, as a shell shows it.
        signal: the number of the signal that ended it, or None.
        stderr_tail: the last lines the process wrote to stderr, oldest first.
        session_id: the session it belonged to.
        reason: why, such as a memory limit, if known; else empty.
    """

    def __init__(
        self,
        node_id: str,
        exit_code: int,
        signal: int | None = None,
        stderr_tail: tuple[str, ...] = (),
        session_id: str = "",
        reason: str = "",
    ) -> None:
        self.node_id = node_id
        self.exit_code = exit_code
        self.signal = signal
        self.stderr_tail = stderr_tail
        self.session_id = session_id
        self.reason = reason
        text = f"Process {node_id} crashed with code {exit_code}"
        if signal is not None:
            text += f" (killed by {_signal_name(signal)})"
        if reason:
            text += f": {reason}"
        if stderr_tail:
            text += "\nits last lines on stderr:\n" + "\n".join(f"  {line}" for line in stderr_tail)
        super().__init__(text)


class InitializationTimeout(MultiprocessError):
    """Some nodes were not ready within ``init_timeout_secs``; the message names each of them.

    Attributes:
        node_ids: those nodes.
    """

    def __init__(self, message: str, node_ids: tuple[str, ...] = ()) -> None:
        self.node_ids = node_ids
        super().__init__(message)


class NodeInitializationError(MultiprocessError):
    """A node's class could not be loaded, or its ``__init__`` or ``initialize()`` raised.

    Attributes:
        node_id: the node that failed.
        reason: type and message of the error in the node's process.
        remote_traceback: the traceback text from the node's process.
    """

    def __init__(self, node_id: str, reason: str, remote_traceback: str = "") -> None:
        self.node_id = node_id
        self.reason = reason
        self.remote_traceback = remote_traceback
        text = f"Node {node_id!r} failed to initialize: {reason}"
        if remote_traceback:
            text += f"\n\nin the process of node {node_id!r}:\n{remote_traceback.rstrip()}"
        super().__init__(text)


class NodeProcessError(MultiprocessError):
    """``process()`` of a node raised for one message; the node goes on with the next.

    Attributes:
        node_id: the node whose ``process()`` raised.
        reason: type and message of the error in the node's process.
        sequence: the sequence number of the input message, -1 when there was none (``finish()``).
        port: the input port that message came in on.
        remote_traceback: the traceback text from the node's process.
    """

    def __init__(
        self, node_id: str, reason: str, sequence: int = -1, port: str = "", remote_traceback: str = ""
    ) -> None:
        self.node_id = node_id
        self.reason = reason
        self.sequence = sequence
        self.port = port
        self.remote_traceback = remote_traceback
        super().__init__(f"Node {node_id!r} failed on message {sequence} of port {port!r}: {reason}")


class ResourceLimitError(MultiprocessError):
    """A configured limit (processes per session, memory) would be exceeded."""


class PipelineError(MultiprocessError, ValueError):
    """The pipeline's graph is wrong; the message names the node or connection and the valid choices."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a file, and where.

    Attributes:
        message: the mistake, and how to put it right.
        place: the key or value, such as ``nodes[2].params.chunk_size``; empty for the whole.
        file: the file; empty if there is none.
        line: from 1; None when it is not known.
    """

    message: str
    place: str = ""
    file: str = ""
    line: int | None = None

    def __str__(self) -> str:
        file = self.file if self.line is None else f"{self.file or 'line'}:{self.line}"
        return ": ".join(filter(None, (file, self.place, self.message)))


class ConfigurationError(MultiprocessError, ValueError):
    """Settings are wrong; the message has every problem, one a line.

    Attributes:
        problems: the same, one by one.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class ManifestError(PipelineError):
    """A manifest is wrong; the message has every problem, one a line.

    Attributes:
        problems: the same, one by one.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class SessionStateError(MultiprocessError):
    """The call does not fit the state the session is in; the message says which call would."""


class ServiceError(MultiprocessError):
    """A gRPC service failed in a way that no other error covers, or sent a reply that makes no sense.

    Attributes:
        code: the status of the call, such as ``"INTERNAL"``, or what kind of error the service called it.
    """

    def __init__(self, message: str, code: str = "UNKNOWN") -> None:
        self.code = code
        super().__init__(message)


class ServiceUnavailableError(ServiceError):
    """The service cannot be reached, went away, or is stopping."""


class AuthenticationError(ServiceError):
    """The service does not let this client in: no token, or a wrong one."""


class ChannelError(MultiprocessError):
    """Base of all channel errors."""


class ChannelFullError(ChannelError):
    """The channel or its payload pool has no room (within the time allowed)."""


class ChannelClosedError(ChannelError):
    """This side was closed, or the other side closed or died."""


class ChannelInUseError(ChannelError):
    """The channel name already has a publisher (or a subscriber)."""


class ChannelCorruptedError(ChannelError):
    """Shared memory holds values that no correct peer writes; nothing was read through them."""


class PayloadError(ChannelError, ValueError):
    """This payload cannot travel; the message says why (dtype, dimensions, size)."""


def _signal_name(number: int) -> str:
    try:
        return _signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
