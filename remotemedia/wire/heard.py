"""Heard and Position <-> what was heard of the outputs of a node."""

from __future__ import annotations

from collections.abc import Mapping

import remotemedia_v1_pb2 as pb

from remotemedia.core.multiprocessing import Heard, Interruption, Position

__all__ = ["heard_of", "interrupted_of"]


def interrupted_of(interruption: Interruption | None) -> pb.Interrupted:
    """The answer to a client; empty for one that found nothing to interrupt."""
    if interruption is None:
        return pb.Interrupted()
    heard = {
        node_id: pb.Heard(delivered=_message(found.delivered), played=_message(found.played))
        for node_id, found in interruption.heard.items()
    }
    return pb.Interrupted(epoch=interruption.epoch, nodes=interruption.nodes, heard=heard)


def heard_of(answer: pb.Interrupted, origins: Mapping[int, int]) -> dict[str, Heard]:
    """What the answer says, by output node; ``origins`` are those of the input chunks, by their numbers."""

    def position(at: pb.Position) -> Position:
        return Position(at.output_sequence, at.secs, origins.get(at.sequence, 0), at.timestamp_secs)

    return {
        node_id: Heard(
            position(found.delivered) if found.HasField("delivered") else None,
            position(found.played) if found.HasField("played") else None,
        )
        for node_id, found in answer.heard.items()
    }


def _message(at: Position | None) -> pb.Position | None:
    if at is None:
        return None
    return pb.Position(output_sequence=at.sequence, secs=at.secs, sequence=at.origin, timestamp_secs=at.timestamp)
