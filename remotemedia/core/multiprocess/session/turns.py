"""Turns: the work on one input of a session, known from its first message to its last output."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from types import TracebackType
from typing import Self
from weakref import WeakSet

from remotemedia import _ring
from remotemedia.core.data import Payload, RuntimeData
from remotemedia.core.marks import END_OF_TURN, TurnEnd
from remotemedia.core.multiprocess.channel.subscriber import Subscriber
from remotemedia.core.multiprocess.session.flow import SessionFlow, check_on_failure
from remotemedia.core.multiprocess.session.wiring import Wiring
from remotemedia.core.multiprocess.values.interruption import Interruption, Provenance
from remotemedia.core.multiprocess.values.turn import Origin
from remotemedia.errors import ChannelClosedError, NodeProcessError, ResourceLimitError, SessionStateError

__all__ = ["SessionTurns", "Turn", "Turns"]


class _Kept:
    """An output that was taken from its channel and is kept for a turn, or for ``receive``."""

    __slots__ = ("data", "is_delivered", "node_id", "provenance")

    def __init__(self, node_id: str, data: RuntimeData, provenance: Provenance) -> None:
        self.node_id = node_id
        self.data = data
        self.provenance = provenance
        self.is_delivered = False


class Turn:
    """A part of the input that belongs together, and all the work on it, in every branch; ``Session.turn`` begins one.

    ::

        async with session.turn("mic") as turn:
            for chunk in chunks:
                await turn.send(chunk)
        async for node_id, data in turn.outputs():
            ...

    The end of the block ends the input of the turn, with a mark behind its last message; an exception in it gives the
    turn up. The turn is over when every message that was made of its input has been handled and received, or dropped;
    what nodes ``hold`` counts, too.

    Attributes:
        origin: names it.
        failures: the messages of this turn whose ``process()`` raised, in the order in which the session heard of them.
    """

    def __init__(self, session: SessionFlow, books: Turns, origin: Origin, number: int, *, own_outputs: bool) -> None:
        self.origin = origin
        self.failures: list[NodeProcessError] = []
        self._session = session
        self._books = books
        self._number = number
        self._descent = books.wiring.segment.of_turn(number)
        self._fed: dict[str, None] = {}
        self._marked: set[str] = set()
        self._ending = asyncio.Lock()
        self._open = True
        self._over = False
        self._own_outputs = own_outputs
        self._given_up = False
        self._kept: deque[_Kept] = deque()
        self._input_ns = 0
        self._first_output_is_here = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.give_up()
            return
        try:
            await self.end()
        finally:
            if self._open:  # cancelled there
                self.give_up()

    @property
    def is_over(self) -> bool:
        """Whether all work on it is done, and all its outputs are here."""
        return self._books.is_over(self)

    async def send(self, data: RuntimeData | Payload, port: str = "", *, node_id: str | None = None) -> None:
        """As ``Session.send``, to the turn's input node, or another."""
        await self._session.send(node_id or self.origin.node_id, data, port, turn=self)

    async def end(self) -> None:
        """Ends the input of the turn: sends the mark to each node that got a part of it, and whose input has not ended.

        May be repeated; after a cancellation, that sends what is left of it. Otherwise raises like ``Session.send``.
        """
        async with self._ending:
            inputs = tuple(self._fed) or (self.origin.node_id,)
            mark = TurnEnd(self.origin.number, inputs, self._books.wiring.segment.epoch).as_mark()
            try:
                for node_id in inputs:
                    if self._open and node_id not in self._marked:
                        with suppress(ChannelClosedError):  # the end of this input is the end of the turn there
                            await self._session.send(node_id, mark, turn=self)
                        self._marked.add(node_id)
            except asyncio.CancelledError:
                raise
            except BaseException:
                self._close()
                raise
            self._close()

    def give_up(self) -> None:
        """Ends the input without a mark. What still comes of the turn is dropped, unless ``receive`` gets it."""
        self._close()
        self._given_up = True
        self._kept.clear()

    async def outputs(self, *, on_failure: str = "raise") -> AsyncGenerator[tuple[str, RuntimeData]]:
        """Yields (node id, data), as they come, until the turn is over; without the mark of its end.

        Raises NodeProcessError for the first message of the turn that failed, after all outputs; ``"report"`` for
        ``on_failure`` leaves it in ``failures``. Otherwise raises like ``Session.receive``. Left before its end, it
        gives the turn up.
        """
        check_on_failure(on_failure)
        if not self._own_outputs:
            raise SessionStateError("the outputs of this turn go to receive() and outputs() of the session")
        ended = False
        try:
            while (output := await self._next(on_failure)) is not None:
                yield output
            ended = True
        finally:
            if not ended:
                self.give_up()

    async def _next(self, on_failure: str) -> tuple[str, RuntimeData] | None:
        """Its next output; None when it is over."""
        while True:
            await self._session._look("Turn.outputs()")
            self._books.pull()
            while self._kept:
                kept = self._kept.popleft()
                if kept.data.mark != END_OF_TURN:
                    self._books.deliver(kept)
                    return kept.node_id, kept.data
            if self._books.is_over(self):
                if on_failure == "raise" and self.failures:
                    raise self.failures[0]
                return None
            await self._books.wait(lambda: bool(self._kept) or self.is_over)

    async def done(self, *, pull: bool = True) -> list[NodeProcessError]:
        """Returns the failures once the turn is over. Outputs for ``receive`` are kept for it meanwhile.

        With ``pull=False`` outputs stay in their channels, for a program that receives them at the same time. Raises
        like ``Session.receive``.
        """
        while True:
            await self._session._look("done()")
            if pull:
                self._books.pull()
            if self._books.is_over(self):
                return self.failures
            await self._books.wait(lambda: self.is_over, pull=pull)

    # --- for the session ---

    def _input_of(self, node_id: str) -> _ring.Descent:
        """What a message for this node is made of that is sent now. SessionStateError once the input has ended."""
        if not self._open:
            raise SessionStateError(f"the input of turn {self.origin.number} has ended; begin another with turn()")
        self._fed[node_id] = None
        if not self._first_output_is_here:
            self._input_ns = _ring.now_ns()
        return self._descent

    def _take(self, kept: _Kept) -> bool:
        """Whether the output goes here, or, given up, nowhere; else it goes to ``receive``, too."""
        if not self._first_output_is_here and not kept.data.mark and self._input_ns:
            self._first_output_is_here = True
            self._books.wiring.segment.first_output(self._input_ns)
        if self._own_outputs and not self._given_up:
            self._kept.append(kept)
        return self._own_outputs

    def _close(self) -> None:
        if self._open:
            self._open = False
            self._books.end_input(self._number)


class Turns:
    """The turns of one session, and what was received for somebody else than who took it."""

    def __init__(self, session: SessionFlow, wiring: Wiring) -> None:
        self.wiring = wiring
        self._session = session
        self._live: dict[int, Turn] = {}
        # Over, and perhaps with outputs that nobody has read yet.
        self._over: WeakSet[Turn] = WeakSet()
        self._free = deque(range(1, _ring.TURNS))
        self._begun = 0
        self._aside: dict[str, deque[_Kept]] = {node_id: deque() for node_id in wiring.outputs}
        self._last: dict[str, Provenance] = {}

    def begin(self, node_id: str, *, own_outputs: bool) -> Turn:
        """ResourceLimitError when as many are under way as can be counted."""
        if not self._free:
            for turn in list(self._live.values()):
                self.is_over(turn)
        if not self._free:
            raise ResourceLimitError(f"{len(self._live)} turns of the session are not over; no more can be counted")
        number = self._free.popleft()
        self.wiring.segment.begin_turn(number)
        self._begun += 1
        turn = Turn(self._session, self, Origin(node_id, self._begun), number, own_outputs=own_outputs)
        self._live[number] = turn
        return turn

    def named(self, origin: Origin) -> Turn | None:
        """The turn under way of this name; None for one that is over. ValueError for one that never began."""
        if not 1 <= origin[1] <= self._begun:
            raise ValueError(f"{origin} did not begin in this session: its turns are 1 to {self._begun}")
        return next((turn for turn in self._live.values() if turn.origin == tuple(origin)), None)

    def end_input(self, number: int) -> None:
        """Gives up the share that holds the turn open."""
        self.wiring.segment.end_input(number)

    def is_over(self, turn: Turn) -> bool:
        """Whether it is; its number is another's then. A failure that was noted may still be on its way here."""
        if turn._over:
            return True
        segment = self.wiring.segment
        if not segment.turn_is_over(turn._number) or len(turn.failures) < segment.turn_failures(turn._number):
            return False
        turn._over = True
        del self._live[turn._number]
        self._over.add(turn)
        self._free.append(turn._number)
        return True

    async def wait(self, ready: Callable[[], bool], *, pull: bool = True) -> None:
        """Until there is something to ``pull``, or the caller is ``ready``; or without a reason."""
        outputs = self.wiring.outputs.values() if pull else ()
        await self.wiring.doorbell.wait(
            lambda: any(subscriber.pending for subscriber in outputs) or ready() or self._session._over()
        )

    def failed(self, numbers: list[int], error: NodeProcessError) -> bool:
        """A message of these turns failed; whether one of them is under way."""
        turns = [turn for number in numbers if (turn := self._live.get(number)) is not None]
        for turn in turns:
            turn.failures.append(error)
        return bool(turns)

    # --- outputs ---

    def pull(self) -> None:
        """Takes what is there from every channel, and gives it to whom it is for."""
        for node_id, subscriber in self.wiring.outputs.items():
            for _ in range(subscriber.capacity):  # no more: a node may be quicker than this loop
                if (data := subscriber.try_receive()) is None:
                    break
                if (kept := self._route(node_id, subscriber, data)) is not None:
                    self._aside[node_id].append(kept)

    def take(self, node_id: str) -> RuntimeData | None:
        """The next output of this node for ``receive``, if it is here."""
        aside, subscriber = self._aside[node_id], self.wiring.outputs[node_id]
        while not aside:
            if (data := subscriber.try_receive()) is None:
                return None
            if (kept := self._route(node_id, subscriber, data)) is not None:
                aside.append(kept)
        kept = aside.popleft()
        self._last[node_id] = kept.provenance
        self.deliver(kept)
        return kept.data

    def deliver(self, kept: _Kept) -> None:
        """The program gets it; an output of two turns is delivered once."""
        if not kept.is_delivered:
            kept.is_delivered = True
            self._session._playback.deliver(kept.node_id, kept.data)

    def ended(self, node_id: str) -> bool:
        """Whether nothing more comes of it for ``receive``."""
        return not self._aside[node_id] and self.wiring.outputs[node_id].ended

    def provenance(self, node_id: str) -> Provenance:
        """Of the output of this node that ``take`` gave last."""
        return self._last.get(node_id) or self.wiring.provenance(node_id)

    def drop_cut(self, interruption: Interruption) -> None:
        """Drops what is kept here and was cut off."""
        turns = (*self._live.values(), *self._over)
        for kept in (*self._aside.values(), *(turn._kept for turn in turns)):
            stays = [one for one in kept if not interruption.cuts(one.provenance)]
            kept.clear()
            kept.extend(stays)

    def _route(self, node_id: str, subscriber: Subscriber, data: RuntimeData) -> _Kept | None:
        """An output that was just taken; None if turns have it, and nobody else is to get it."""
        segment = self.wiring.segment
        if not segment.turn:
            return _Kept(node_id, data, Provenance(subscriber._last_epoch, subscriber._last_lineage))
        turns = [turn for number in segment.roots(segment.turn) if (turn := self._live.get(number)) is not None]
        origins = tuple(turn.origin for turn in turns)
        kept = _Kept(node_id, data, Provenance(subscriber._last_epoch, subscriber._last_lineage, origins))
        taken = [turn._take(kept) for turn in turns]
        segment.end_turn()
        if any(taken):
            self.wiring.doorbell.wake()  # another task may wait for it
        return None if taken and all(taken) else kept


class SessionTurns(SessionFlow):
    """Base of Session: the calls that follow an input to its last output."""

    def turn(self, node_id: str, *, own_outputs: bool = True) -> Turn:
        """Begins a turn: what is sent with it, and all that becomes of that. Does not block.

        ``turn.outputs()`` gives its outputs, and ``receive`` and ``outputs`` of the session all others; with
        ``own_outputs=False`` these give also the turn's, and ``turn.done()`` says when it is over. ResourceLimitError
        when 1,023 are under way; otherwise raises like ``send``.
        """
        self._alive("turn()")
        self._input(node_id)
        if self._books is None:
            self._books = Turns(self, self._wired())
            self._playback.keep()
        return self._books.begin(node_id, own_outputs=own_outputs)

    async def ask(
        self, node_id: str, data: RuntimeData | Payload, port: str = "", *, on_failure: str = "raise"
    ) -> AsyncGenerator[RuntimeData]:
        """Sends one message, as a turn of its own, and yields every output that is made of it, until there is no more.

        Several may be under way; each gets its own outputs. Where several outputs are made of the same messages they go
        to each of their turns. Raises NodeProcessError, after all outputs, for a message of the turn that failed; with
        ``on_failure="report"`` it ends with what there is. An interruption ends it with what came before. Otherwise
        raises like ``send`` and ``receive``. Left before its end, it drops what still comes.

        The mark of the end of the turn follows the message, so nodes that gather give what they have.
        """
        check_on_failure(on_failure)
        turn = self.turn(node_id)
        sending = asyncio.create_task(_send_whole(turn, data, port), name=f"ask of session {self.session_id}")
        ended = False
        try:
            # No generator in this one: at the end of an event loop, asyncio closes all that are open at once.
            while (output := await turn._next(on_failure)) is not None:
                yield output[1]
            await sending
            ended = True
        finally:
            if not ended:
                turn.give_up()
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def done(self, origin: Origin) -> None:
        """Returns once the turn of this name is over: see ``Turn.done``. ValueError for one that did not begin here."""
        self._alive("done()")
        if self._books is None:
            raise ValueError(f"{origin} did not begin in this session: it had no turns")
        if (turn := self._books.named(origin)) is not None:
            await turn.done()


async def _send_whole(turn: Turn, data: RuntimeData | Payload, port: str) -> None:
    try:
        await turn.send(data, port)
        await turn.end()
    finally:
        turn._close()
