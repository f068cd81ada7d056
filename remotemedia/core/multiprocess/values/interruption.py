"""What an interruption cut off, and what an output came through: for those who pass outputs on."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Interruption", "Provenance"]


class Provenance(NamedTuple):
    """Where an output comes from.

    Attributes:
        epoch: counts the interruptions: that of the last one before the output was taken.
        lineage: the nodes that it came through, a bit each, in the order of the pipeline.
    """

    epoch: int
    lineage: int


class Interruption(NamedTuple):
    """One that was carried out.

    Attributes:
        epoch: its number.
        nodes: where it began, a bit each; 0 if everything was interrupted.
    """

    epoch: int
    nodes: int

    def cuts(self, output: Provenance) -> bool:
        """Whether an output belongs to what was interrupted. Epochs are 32 bits, and may wrap."""
        is_earlier = (output.epoch - self.epoch) & 0x8000_0000 != 0
        return is_earlier and (self.nodes == 0 or self.nodes & output.lineage != 0)
