"""The end of a turn, in a node: where branches meet, it counts once it has come by all of them; and it goes on when the
node keeps nothing of that turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from inspect import isawaitable
from typing import Any

from remotemedia import _ring
from remotemedia.core.data import RuntimeData
from remotemedia.core.marks import END_OF_TURN, TurnEnd, turn_end
from remotemedia.core.multiprocess.channel.subscriber import Subscriber
from remotemedia.core.multiprocess.node.held import Held, HeldMessages

__all__ = ["TurnEnds", "with_its_end", "without_ends"]


# So many turns may be under way: what says it ends more than that was not sent by the session.
_MOST_AWAITED = _ring.TURNS


class _Awaited:
    """The end of one turn, which has come by some inputs. It has a share of the turn."""

    __slots__ = ("by", "end", "held", "mark")

    def __init__(self, mark: RuntimeData, end: TurnEnd) -> None:
        self.mark = mark
        self.end = end
        self.by: set[str] = set()
        self.held: list[Held] = []


class TurnEnds:
    """Those that have come to one node by some of its inputs, and not yet by all that they will come by; and those that
    wait, on their way out, for what the node holds.

    Which inputs these are follows from the graph: a turn names the input nodes that were fed, and an input knows from
    which it descends. An interruption may have dropped an end on its way; so one from before it waits for no other.
    """

    def __init__(self, inputs: list[Subscriber]) -> None:
        self._inputs = inputs
        self._awaited: dict[int, _Awaited] = {}
        self._leaving: list[tuple[RuntimeData, Held]] = []

    def take(self, mark: RuntimeData, by: Subscriber, segment: _ring.Segment, cuts: _ring.Segment) -> list[Held] | None:
        """What came before of the end that ``mark`` completes, for the caller to release; None if others are to come.

        Empty for any other mark.
        """
        end = turn_end(mark) if len(self._inputs) > 1 else None
        if end is None or cuts.was_cut(end.epoch, segment.ancestry):
            return []
        if len(self._awaited) >= _MOST_AWAITED and end.number not in self._awaited:
            return []
        awaited = self._awaited.setdefault(end.number, _Awaited(mark, end))
        awaited.by.add(by.channel_name)
        if awaited.by >= self._ways(end):
            del self._awaited[end.number]
            return awaited.held
        awaited.held.append(segment.descent(cuts.epoch))
        return None

    def cut(self, cuts: _ring.Segment) -> list[tuple[RuntimeData, list[Held]]]:
        """After an interruption: the ends that are not cut off, with what the caller is to release; none waits on."""
        due = []
        for awaited in self._awaited.values():
            alive = [held for held in awaited.held if not cuts.was_cut(held.epoch, held.lineage)]
            for held in awaited.held:
                if held not in alive:
                    held.release()
            if alive:
                due.append((awaited.mark, alive))
        self._awaited.clear()
        for _, held in self._leaving:
            if cuts.was_cut(held.epoch, held.lineage):
                held.release()
        self._leaving = [(mark, held) for mark, held in self._leaving if not held.released]
        return due

    def end_input(self, ended: Subscriber) -> list[tuple[RuntimeData, list[Held]]]:
        """Nothing more comes by this input: the ends that waited for no other, with what the caller is to release."""
        self._inputs = [one for one in self._inputs if one is not ended]
        due = [one for one in self._awaited.values() if one.by >= self._ways(one.end)]
        for awaited in due:
            del self._awaited[awaited.end.number]
        return [(awaited.mark, awaited.held) for awaited in due]

    def may_leave(self, mark: RuntimeData, kept: HeldMessages, segment: _ring.Segment, epoch: int) -> bool:
        """Whether the mark, which was taken last, may go on now; else ``leaving`` gives it later."""
        if not kept.has_part_of(segment.turn, segment):
            return True
        self._leaving.append((mark, segment.descent(epoch, True)))
        return False

    def leaving(self, kept: HeldMessages, segment: _ring.Segment) -> list[tuple[RuntimeData, Held]]:
        """The ends that may go on now, each with what the caller is to release."""
        due = [one for one in self._leaving if not kept.has_part_of(one[1].turn, segment)]
        self._leaving = [one for one in self._leaving if one not in due]
        return due

    def drop_all(self) -> None:
        """Lets go of those that are still to come: the stream has ended."""
        for awaited in self._awaited.values():
            for held in awaited.held:
                held.release()
        self._awaited.clear()

    def _ways(self, end: TurnEnd) -> set[str]:
        return {one.channel_name for one in self._inputs if not one._fed_by.isdisjoint(end.inputs)}


async def with_its_end(
    on_mark: Callable[[], Any],
    mark: RuntimeData,
    may_leave: Callable[[RuntimeData], bool],
    is_cut_short: Callable[[], bool],
) -> AsyncIterator[Any]:
    """What ``on_mark()`` of a node gives at the end of a turn, and the mark if it may go on, whatever it did with that.

    An error of the node's is raised behind the mark: nodes after it must not wait for ever. A cancellation is one,
    unless the call ``is_cut_short``.
    """
    failed: BaseException | None = None
    try:
        async with aclosing(without_ends(on_mark)) as outputs:
            async for output in outputs:
                yield output
    except asyncio.CancelledError as error:
        if is_cut_short():
            raise
        failed = error
    except Exception as error:
        failed = error
    if may_leave(mark):
        yield mark
    if failed is not None:
        raise failed


async def without_ends(on_mark: Callable[[], Any]) -> AsyncGenerator[Any]:
    """What ``on_mark()`` of a node gives, but for ends of turns."""
    async with aclosing(_outputs_of(on_mark())) as outputs:
        async for output in outputs:
            if isinstance(output, dict):
                output = {port: data for port, data in output.items() if not _is_end(data)}
            if not _is_end(output):
                yield output


async def _outputs_of(given: Any) -> AsyncGenerator[Any]:
    if isawaitable(given):
        given = await given
    if isinstance(given, AsyncIterator):
        async for output in given:
            yield output
    elif isinstance(given, Iterator):
        for output in given:
            yield output
    else:
        yield given


def _is_end(output: object) -> bool:
    return isinstance(output, RuntimeData) and output.mark == END_OF_TURN
