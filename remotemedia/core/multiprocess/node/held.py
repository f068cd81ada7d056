"""What a node keeps of its messages past the calls that they came with: its turns do not end before it is released."""

from __future__ import annotations

from collections.abc import Collection

from remotemedia import _ring

__all__ = ["Held", "HeldMessages"]

Held = _ring.Descent


class HeldMessages:
    """All that one node holds. What came in the same turn by the same way is held once, and counted.

    What is released in a call goes into what that call gives from then on; its turn does not end before the call.

    Attributes:
        used: what was released in the call under way.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[int, int], Held] = {}
        self.used: list[Held] = []

    def hold(self, descent: Held) -> Held:
        """Keeps it, or another of the same turn and way, until as many calls of ``release``."""
        held = self._held.setdefault((descent.turn, descent.lineage), descent)
        held.holds += 1
        return held

    def release(self, those: Collection[Held], *, in_call: bool) -> None:
        """Lets go of one hold on each of those; of everything if there are none. Of what is not held: nothing."""
        for held in those or list(self._held.values()):
            held.holds = held.holds - 1 if those else 0
            if held.holds <= 0:
                if self._held.get(key := (held.turn, held.lineage)) is held:
                    del self._held[key]
                if not in_call:
                    held.release()
            if in_call and not held.released and held not in self.used:
                self.used.append(held)

    def end_call(self) -> None:
        """Lets go of what was used in it."""
        for held in self.used:
            if held.holds <= 0:
                held.release()
        self.used.clear()

    def drop_cut(self, cuts: _ring.Segment) -> None:
        """Lets go of what an interruption has cut off."""
        for key, held in list(self._held.items()):
            if cuts.was_cut(held.epoch, held.lineage):
                del self._held[key]
                held.release()

    def has_part_of(self, turn: int, segment: _ring.Segment) -> bool:
        """Whether something is held of a turn, or of one of those that it is made of; of one that has a share."""
        if not turn or not self._held:
            return False
        roots = set(segment.roots(turn))
        return any(not roots.isdisjoint(segment.roots(held.turn)) for held in self._held.values())
