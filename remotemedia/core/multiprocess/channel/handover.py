"""What a node's process gets to work with: its segment, its neighbours' and its rings, as JSON and descriptors.

The orchestrator writes a Handover and sends it beside the descriptors; ``attach`` turns both into channels.
"""

import os
from typing import Any, NamedTuple

from remotemedia import _ring
from remotemedia.core.multiprocess.channel.doorbell import Doorbell
from remotemedia.core.multiprocess.channel.form import FORM
from remotemedia.core.multiprocess.channel.publisher import Publisher
from remotemedia.core.multiprocess.channel.subscriber import Subscriber

__all__ = ["Attached", "Edge", "Handover", "OutputChannel", "attach"]


class Edge(NamedTuple):
    """One channel from the node's point of view.

    Attributes:
        name: the channel's name.
        port: the node's own port; empty on an output to the session, where the message says which.
        peer: the pool id of the segment at the other end.
        fed_by: of an input, the input nodes of the session that it descends from.
    """

    name: str
    port: str
    peer: int
    fed_by: list[str] = []  # noqa: RUF012 - a field's default, never changed


class Handover(NamedTuple):
    """One node's share; ``bit`` and ``ancestry`` as ``Segment.place`` takes them.

    Its descriptors come in this order: memfd and eventfd of the node's own segment, those
    of each of ``segments``, then the rings of ``inputs`` and of ``outputs``."""

    session_id: str
    segments: list[int]
    inputs: list[Edge]
    outputs: list[Edge]
    backpressure: bool = True
    spin_us: int = 0
    bit: int = 0
    ancestry: int = 0

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        edges = {
            "inputs": [edge._asdict() for edge in self.inputs],
            "outputs": [edge._asdict() for edge in self.outputs],
        }
        return {**self._asdict(), **edges}

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> "Handover":
        """From what ``to_json`` gave; TypeError for anything else."""
        return cls(
            **{
                **raw,
                "inputs": [Edge(**edge) for edge in raw["inputs"]],
                "outputs": [Edge(**edge) for edge in raw["outputs"]],
            }
        )


# The next two are read for every message, and made in every node's start: plain classes are the fastest at both.
class OutputChannel:
    """A publisher and the output port it serves; an empty port serves every one and sends its name along."""

    __slots__ = ("port", "publisher")

    def __init__(self, port: str, publisher: Publisher) -> None:
        self.port = port
        self.publisher = publisher


class Attached:
    """A node's ends of its channels."""

    __slots__ = ("cuts", "doorbell", "inputs", "outputs", "segment")

    def __init__(
        self,
        segment: _ring.Segment,
        cuts: _ring.Segment,
        doorbell: Doorbell,
        inputs: list[Subscriber],
        outputs: list[OutputChannel],
    ) -> None:
        self.segment = segment
        self.cuts = cuts
        self.doorbell = doorbell
        self.inputs = inputs
        self.outputs = outputs


ORCHESTRATOR = 0
"""The pool id of the orchestrator's segment, which also counts the interruptions."""


def attach(handover: Handover, fds: list[int]) -> Attached:
    """Maps everything; takes over and closes ``fds``, also on failure. ChannelCorruptedError, ValueError or OSError."""
    expected = 2 + 2 * len(handover.segments) + len(handover.inputs) + len(handover.outputs)
    left = list(reversed(fds))
    try:
        if len(fds) != expected:
            raise ValueError(f"the handover needs {expected} descriptors, {len(fds)} came")
        own = _ring.Segment(left.pop(), left.pop(), True)
        own.place(handover.bit, handover.ancestry)
        peers = {pool: _ring.Segment(left.pop(), left.pop(), False) for pool in handover.segments}
        own.count_turns(peers)
        cuts = peers[ORCHESTRATOR]
        doorbell = Doorbell(own)
        inputs = [
            Subscriber._over(
                edge.name,
                _ring.Consumer(left.pop(), FORM, own, peers[edge.peer], peers, cuts, edge.port),
                own,
                doorbell,
                port=edge.port,
                spin_us=handover.spin_us,
                fed_by=edge.fed_by,
            )
            for edge in handover.inputs
        ]
        outputs = [
            OutputChannel(
                edge.port,
                Publisher._over(
                    edge.name,
                    _ring.Producer(left.pop(), FORM, own, peers[edge.peer], peers.values(), handover.session_id, cuts),
                    own,
                    doorbell,
                    spin_us=handover.spin_us,
                ),
            )
            for edge in handover.outputs
        ]
    finally:
        for fd in left:
            os.close(fd)
    return Attached(own, cuts, doorbell, inputs, outputs)
