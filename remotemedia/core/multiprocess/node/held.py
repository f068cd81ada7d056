"""What a node keeps of its messages past the calls that they came with: its turns do not end before it is released."""

from __future__ import annotations

from collections.abc import Collection

from remotemedia import _ring

__all__ = ["Held", "HeldMessages"]

Held = _ring.Descent


class HeldMessages:
    """All that one node holds. What came in the same turn by the same way is held once, and counted."""

    def __init__(self) -> None:
        self._held: dict[tuple[int, int], Held] = {}

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, descent: Held) -> Held:
        """Keeps it, or another of the same turn and way, until as many calls of ``release``."""
        held = self._held.setdefault((descent.turn, descent.lineage), descent)
        held.holds += 1
        return held

    def release(self, those: Collection[Held]) -> None:
        """Lets go of one hold on each of those; of everything if there are none. Of what is not held: nothing."""
        if not those:
            self.drop_all()
        for held in those:
            held.holds -= 1
            if held.holds <= 0 and self._held.get(key := (held.turn, held.lineage)) is held:
                del self._held[key]
                held.release()

    def drop_cut(self, turns: _ring.Segment) -> None:
        """Lets go of what an interruption has cut off."""
        for key, held in list(self._held.items()):
            if turns.was_cut(held.epoch, held.lineage):
                del self._held[key]
                held.release()

    def drop_all(self) -> None:
        """Lets go of everything."""
        for held in self._held.values():
            held.release()
        self._held.clear()

    def gather_into(self, segment: _ring.Segment, more: Collection[Held] = ()) -> None:
        """What is sent as the result of the message taken last is made of what is held, too, and of ``more``."""
        segment.gather([*self._held.values(), *more])
