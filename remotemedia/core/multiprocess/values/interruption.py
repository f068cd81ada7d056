"""What an interruption cut off, what was heard of it, and what an output came through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from remotemedia.core.multiprocess.values.turn import Origin

__all__ = ["Heard", "Interruption", "Position", "Provenance", "heard_from_json", "heard_to_json", "is_not_before"]


class Provenance(NamedTuple):
    """Where an output comes from.

    Attributes:
        epoch: counts the interruptions: that of the last one before the output was taken.
        lineage: the nodes that it came through, a bit each, in the order of the pipeline.
        origins: the turns that it is made of.
    """

    epoch: int
    lineage: int
    origins: tuple[Origin, ...] = ()


class Position(NamedTuple):
    """How far something is in the outputs of a node.

    Attributes:
        sequence: of the last message that was begun.
        secs: seconds of audio up to there, since the interruption before, or since the session began.
        origin, timestamp: of that message: what its sender gave it, and what nodes pass on.
    """

    sequence: int
    secs: float
    origin: int
    timestamp: float


class Heard(NamedTuple):
    """What had become of the outputs of one node when they were interrupted.

    Attributes:
        delivered: up to where the program had received them; None if it had received nothing since the interruption
            before.
        played: up to where the program said that they were played; None if it said nothing.
    """

    delivered: Position | None
    played: Position | None


class Interruption(NamedTuple):
    """One that was carried out.

    Attributes:
        epoch: its number.
        nodes: where it began, a bit each; 0 if everything was interrupted.
        heard: by output node that it reached, what had been delivered and played.
    """

    epoch: int
    nodes: int
    heard: Mapping[str, Heard] = {}

    def cuts(self, output: Provenance) -> bool:
        """Whether an output belongs to what was interrupted. Epochs are 32 bits, and may wrap."""
        is_earlier = not is_not_before(output.epoch, self.epoch)
        return is_earlier and (self.nodes == 0 or self.nodes & output.lineage != 0)


def is_not_before(one: int, epoch: int) -> bool:
    """Whether an epoch is another, or a later one. Epochs are 32 bits, and may wrap."""
    return (one - epoch) & 0x8000_0000 == 0


def heard_to_json(heard: Mapping[str, Heard]) -> dict[str, list[list[float] | None]]:
    """As JSON values."""
    return {node_id: [None if one is None else list(one) for one in found] for node_id, found in heard.items()}


def heard_from_json(raw: Mapping[str, Any]) -> dict[str, Heard]:
    """From what ``heard_to_json`` gave. ValueError, TypeError or OverflowError if it makes no sense."""
    return {str(node_id): Heard(_position(found[0]), _position(found[1])) for node_id, found in raw.items()}


def _position(raw: Any) -> Position | None:
    if raw is None:
        return None
    sequence, secs, origin, timestamp = raw
    return Position(int(sequence), float(secs), int(origin), float(timestamp))
