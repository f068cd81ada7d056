"""What has come from a service and was not taken yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple
from weakref import WeakSet

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import Provenance

__all__ = ["Inbox", "Output", "TurnInbox", "Waiting"]

_MOST_MESSAGES = 100
_MOST_BYTES = 64 * 1024 * 1024


class Output(NamedTuple):
    """One output of the remote pipeline."""

    node_id: str
    data: RuntimeData
    provenance: Provenance


class Waiting:
    """Outputs that wait to be taken, in order, and their bytes."""

    def __init__(self) -> None:
        self.outputs: deque[Output] = deque()
        self.size_bytes = 0

    def put(self, output: Output) -> None:
        """Adds one at the end."""
        self.outputs.append(output)
        self.size_bytes += output.data.size

    def take(self) -> Output | None:
        """The next one."""
        if not self.outputs:
            return None
        output = self.outputs.popleft()
        self.size_bytes -= output.data.size
        return output

    def drop(self, goes: Callable[[Provenance], bool]) -> None:
        """Drops what came from there."""
        kept = [one for one in self.outputs if not goes(one.provenance)]
        self.outputs = deque(kept)
        self.size_bytes = sum(one.data.size for one in kept)


class TurnInbox(Waiting):
    """Of a turn.

    Attributes:
        own_outputs: whether its outputs come here; else they come to those of their nodes.
        is_given_up: whether they are dropped instead.
        is_done: whether the service has said that no more will come.
    """

    def __init__(self, *, own_outputs: bool) -> None:
        super().__init__()
        self.own_outputs = own_outputs
        self.is_given_up = self.is_done = False

    def give_up(self) -> None:
        """Drops what is here of the turn, and what still comes of it."""
        self.is_given_up = True
        self.drop(lambda _: True)


class Inbox:
    """By node, and by turn where a turn has its own."""

    def __init__(self, node_ids: Iterable[str]) -> None:
        self._nodes = {node_id: Waiting() for node_id in node_ids}
        self._turns: dict[int, TurnInbox] = {}
        self._begun = 0
        # What waits in these is there for as long as the program has the turn.
        self._done_turns: WeakSet[TurnInbox] = WeakSet()

    def begin_turn(self, *, own_outputs: bool) -> tuple[int, TurnInbox]:
        """The number of a new turn, and where its outputs come."""
        self._begun += 1
        turn = self._turns[self._begun] = TurnInbox(own_outputs=own_outputs)
        return self._begun, turn

    def end_turn(self, number: int) -> None:
        """The service has said that no more of it will come."""
        if (turn := self._turns.pop(number, None)) is not None:
            turn.is_done = True
            self._done_turns.add(turn)

    def knows(self, node_id: str) -> bool:
        """Whether it is an output node."""
        return node_id in self._nodes

    def put(self, output: Output, turns: Iterable[int]) -> list[Waiting]:
        """Adds it to where it is taken from: its turns, or its node; nowhere if it is dropped."""
        found = [turn for number in turns if (turn := self._turns.get(number)) is not None]
        into: list[Waiting] = [turn for turn in found if turn.own_outputs and not turn.is_given_up]
        if not found or not all(turn.own_outputs for turn in found):
            into.append(self._nodes[output.node_id])
        for waiting in into:
            waiting.put(output)
        return into

    def is_full(self, into: list[Waiting]) -> bool:
        """Whether no more should come of the kind of what was put there."""
        if any(len(waiting.outputs) >= _MOST_MESSAGES for waiting in into):
            return True
        return sum(waiting.size_bytes for waiting in self._all()) >= _MOST_BYTES

    def take(self, node_id: str) -> Output | None:
        """The next output of a node, if it is here."""
        return self._nodes[node_id].take()

    def drop(self, goes: Callable[[Provenance], bool]) -> None:
        """Drops what came from there."""
        for waiting in self._all():
            waiting.drop(goes)

    def _all(self) -> list[Waiting]:
        return [*self._nodes.values(), *self._turns.values(), *self._done_turns]
