"""A run as plain objects: its inputs, the takers of its outputs, and its outcome."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import ChannelStats, MultiprocessConfig, NodeStats, Pipeline

__all__ = ["Feed", "Job", "Sink", "Source", "Summary"]


class Source(Protocol):
    """Messages to be fed; one owner closes it.

    Attributes:
        name: of the file, for messages.
        unit: what ``total`` and the amounts are in: "s" or "B".
        total: all there is to feed, or None.
    """

    name: str
    unit: str
    total: float | None

    @property
    def warning(self) -> str | None:
        """A warning about the input, or None; valid when all of it has been fed."""

    def messages(self) -> AsyncGenerator[tuple[RuntimeData, float], None]:
        """Each message, and how much that makes so far. Mistake for unreadable input."""

    def close(self) -> None:
        """May be repeated."""


class Sink:
    """Takes what comes out of a node; one owner closes it.

    It does nothing: others override what they need. The methods stand in the order in which they are called.

    Attributes:
        node_id: the node.
        port: the only output port that it takes; None: all of them.
        file: where the data goes, as the user gave it; "" if into no file.
        messages: how many have been written.
        secs: of audio written.
        warning: once it has finished, what there is to say of what was written.
    """

    def __init__(self, node_id: str, port: str | None = None, file: str = "") -> None:
        self.node_id = node_id
        self.port = port
        self.file = file
        self.messages = 0
        self.secs = 0.0
        self.warning: str | None = None

    def takes(self, port: str) -> bool:
        """Whether this is where an output on ``port`` goes; what a node puts out on no port goes to all of them."""
        return self.port is None or not port or self.port == port

    async def take(self, data: RuntimeData) -> None:
        """One message. Mistake for one that does not fit, BrokenPipeError when nobody reads on."""

    async def finish(self) -> bool:
        """Completes the file; False if it should be audio and none came."""
        return True

    def keep(self) -> None:
        """All has ended well: a draft becomes the file."""

    def close(self) -> None:
        """May be repeated; a draft that was not kept is removed."""


@dataclass(eq=False)
class Feed:
    """A source on its way into a node.

    Attributes:
        messages: how many have been sent.
        fed: how much, in the unit of its source.
        dropped: how many found the channel full, where ``enable_backpressure`` is off.
    """

    node_id: str
    source: Source
    messages: int = 0
    fed: float = 0.0
    dropped: int = 0


@dataclass(frozen=True, kw_only=True)
class Job:
    """A session to run. Its sources and sinks stay the caller's to close.

    Attributes:
        title: a line that says what is being started.
        realtime: audio is fed at the pace it is heard.
        keep_going: a message that fails is reported; otherwise it ends the run.
        drains: the first signal ends the input, and the nodes finish what they have; otherwise it ends the run.
    """

    pipeline: Pipeline
    config: MultiprocessConfig
    session_id: str
    feeds: Sequence[Feed]
    sinks: Sequence[Sink]
    title: str = "starting one process per node"
    realtime: bool = False
    keep_going: bool = False
    drains: bool = True


@dataclass(eq=False)
class Summary:
    """What has come of a job so far.

    Attributes:
        began: of ``time.monotonic``: every time that is shown of a run is counted from here.
        unwritten: messages that no sink took.
        failures: messages that failed.
        empty: sinks of audio that got none.
    """

    job: Job
    began: float = field(default_factory=time.monotonic)
    unwritten: int = 0
    failures: int = 0
    warnings: list[str] = field(default_factory=list)
    empty: list[Sink] = field(default_factory=list)
    init_secs: float = 0.0
    run_secs: float = 0.0
    pids: dict[str, int] = field(default_factory=dict)
    nodes: list[NodeStats] = field(default_factory=list)
    channels: list[ChannelStats] = field(default_factory=list)

    @property
    def secs(self) -> float:
        """Since it began."""
        return time.monotonic() - self.began

    def figures(self) -> dict[str, Any]:
        """What ``--json`` says of every run."""
        return {
            "warnings": self.warnings,
            "init_secs": self.init_secs,
            "run_secs": self.run_secs,
            "nodes": [asdict(node) | {"pid": self.pids[node.node_id]} for node in self.nodes],
            "channels": [asdict(channel) for channel in self.channels],
        }
