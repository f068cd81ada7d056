"""What all sessions of an executor did since it was made, by the names that stay when sessions go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import add
from typing import NamedTuple, Self, TypeVar

from remotemedia.core.multiprocess.values.statistics import ChannelStats, Durations, NodeStats, as_ns

__all__ = [
    "MOST_ENTRIES",
    "OTHER",
    "ChannelPlace",
    "ChannelTotals",
    "NodePlace",
    "NodeTotals",
    "PipelinePlace",
    "PipelineTotals",
    "Totals",
    "place_in",
]

MOST_ENTRIES = 1000
"""So many pipelines, nodes and channels have an entry of their own, each: clients may invent names without end."""

OTHER = "other"
"""Stands for every name of what came after those."""

UNNAMED = "unnamed"

SumT = TypeVar("SumT", bound="_Sum")
PlaceT = TypeVar("PlaceT", "PipelinePlace", "NodePlace", "ChannelPlace")


class PipelinePlace(NamedTuple):
    """The name of a pipeline: whose figures they are."""

    pipeline: str

    @classmethod
    def of(cls, name: str) -> PipelinePlace:
        """Of pipelines with this name; all that have none are one."""
        return cls(name or UNNAMED)


class NodePlace(NamedTuple):
    """A node of a pipeline."""

    pipeline: str
    node_id: str
    node_type: str


class ChannelPlace(NamedTuple):
    """A channel of a pipeline, and the nodes at its ends."""

    pipeline: str
    channel: str
    publisher: str
    subscriber: str


class _Sum:
    """Figures that can be added, one by one. Whole numbers: a sum that depended on the order could fall."""

    def __add__(self, other: Self) -> Self:
        mine, theirs = (vars(figures).values() for figures in (self, other))
        return type(self)(*map(add, mine, theirs))


@dataclass(frozen=True)
class PipelineTotals(_Sum):
    """Of the sessions of one pipeline.

    Attributes:
        sessions: sessions that were started.
        failures: those that failed: a node crashed, did not load, or broke the rules.
        first_output: from a turn's last input before its first output to that output's arrival.
    """

    sessions: int = 0
    failures: int = 0
    first_output: Durations = field(default_factory=Durations.none)


@dataclass(frozen=True)
class NodeTotals(_Sum):
    """Of one node in all sessions of its pipeline: what NodeStats has of one, and the processor time."""

    messages: int = 0
    published: int = 0
    failures: int = 0
    drops: int = 0
    unrouted: int = 0
    busy_ns: int = 0
    cpu_ns: int = 0
    latency: Durations = field(default_factory=Durations.none)
    first_output: Durations = field(default_factory=Durations.none)

    @classmethod
    def of(cls, stats: NodeStats, cpu_secs: float) -> NodeTotals:
        """What one session adds."""
        return cls(
            stats.messages,
            stats.published,
            stats.failures,
            stats.drops,
            stats.unrouted,
            as_ns(stats.busy_secs),
            as_ns(cpu_secs),
            stats.latency,
            stats.first_output,
        )

    @property
    def busy_secs(self) -> float:
        """As in NodeStats."""
        return self.busy_ns / 1e9

    @property
    def cpu_secs(self) -> float:
        """Processor time of the processes."""
        return self.cpu_ns / 1e9


@dataclass(frozen=True)
class ChannelTotals(_Sum):
    """Of one channel in all sessions of its pipeline: what ChannelStats has of one."""

    message_count: int = 0
    bytes_transferred: int = 0
    bytes_copied: int = 0
    drops: int = 0
    blocked_count: int = 0
    blocked_ns: int = 0
    blocked_memory_ns: int = 0

    @classmethod
    def of(cls, stats: ChannelStats) -> ChannelTotals:
        """What one session adds."""
        return cls(
            stats.message_count,
            stats.bytes_transferred,
            stats.bytes_copied,
            stats.drops,
            stats.blocked_count,
            as_ns(stats.blocked_secs),
            as_ns(stats.blocked_memory_secs),
        )

    @property
    def blocked_secs(self) -> float:
        """As in ChannelStats."""
        return self.blocked_ns / 1e9

    @property
    def blocked_memory_secs(self) -> float:
        """As in ChannelStats."""
        return self.blocked_memory_ns / 1e9


@dataclass(frozen=True)
class Totals:
    """What sessions did, those that have ended included: figures that only grow.

    Of pipelines, of nodes and of channels the first ``MOST_ENTRIES`` have an entry each. What comes later is counted in
    one more, whose place says ``OTHER`` throughout. An entry stays as long as its executor.
    """

    pipelines: dict[PipelinePlace, PipelineTotals] = field(default_factory=dict)
    nodes: dict[NodePlace, NodeTotals] = field(default_factory=dict)
    channels: dict[ChannelPlace, ChannelTotals] = field(default_factory=dict)

    def add(self, more: Totals) -> None:
        """Adds the figures of another one to these."""
        _add(self.pipelines, more.pipelines)
        _add(self.nodes, more.nodes)
        _add(self.channels, more.channels)

    def reserve(self, names: Totals) -> None:
        """Has entries for the places of another one; from now on no others can take them."""
        _reserve(self.pipelines, names.pipelines)
        _reserve(self.nodes, names.nodes)
        _reserve(self.channels, names.channels)

    def copy(self) -> Totals:
        """Another one with the same figures."""
        return Totals(self.pipelines.copy(), self.nodes.copy(), self.channels.copy())


def place_in(entries: Mapping[PlaceT, object], place: PlaceT) -> PlaceT:
    """Where the figures of ``place`` are, or would be, in entries of Totals."""
    if place in entries or len(entries) < MOST_ENTRIES:
        return place
    return place._replace(**dict.fromkeys(place._fields, OTHER))


def _add(entries: dict[PlaceT, SumT], more: Mapping[PlaceT, SumT]) -> None:
    for place, figures in more.items():
        found = place_in(entries, place)
        entries[found] = entries[found] + figures if found in entries else figures


def _reserve(entries: dict[PlaceT, SumT], names: Mapping[PlaceT, SumT]) -> None:
    for place, nothing in names.items():
        entries.setdefault(place_in(entries, place), nothing)
