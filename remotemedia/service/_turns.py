"""The turns of one stream: a client numbers them, and is told when all work on one is done."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import remotemedia_v1_pb2 as pb

from remotemedia.core.multiprocessing import Origin, Session, Turn
from remotemedia.service._responses import Responses

__all__ = ["StreamTurns"]

_MOST_UNREAD = 1_000


class StreamTurns:
    """Begins a turn of the session with its first chunk."""

    def __init__(self, session: Session, responses: Responses) -> None:
        self._session = session
        self._responses = responses
        self._open: dict[int, Turn] = {}
        self._numbers: dict[Origin, int] = {}
        self._telling: set[asyncio.Task[None]] = set()
        # Turns that are over, and whose word the client does not read.
        self._unread = 0
        self._was_read = asyncio.Event()

    def of(self, number: int, node_id: str) -> Turn | None:
        """The turn of a chunk for a node; None for 0. ResourceLimitError when no more can be counted."""
        if number == 0:
            return None
        turn = self._open.get(number)
        if turn is None:
            turn = self._open[number] = self._session.turn(node_id, own_outputs=False)
            self._numbers[turn.origin] = number
        return turn

    def numbers(self, origins: Iterable[Origin]) -> list[int]:
        """How the client calls them."""
        return [self._numbers[origin] for origin in origins if origin in self._numbers]

    async def end(self, number: int, node_id: str, *, mark: bool) -> None:
        """Nothing more comes of this turn; one without a chunk ends at the node. Tells the client when it is over."""
        turn = self.of(number, node_id) if mark else self._open.get(number)
        self._open.pop(number, None)
        if turn is not None and mark:
            await turn.end()
        elif turn is not None:
            turn.give_up()
        while self._unread >= _MOST_UNREAD:
            self._was_read.clear()
            await self._was_read.wait()
        task = asyncio.create_task(self._tell(number, turn), name=f"turn {number} of a stream")
        self._telling.add(task)
        task.add_done_callback(self._told)

    async def finish(self) -> None:
        """Tells of no more turns: the end of the stream says it of all."""
        telling = list(self._telling)
        for task in telling:
            task.cancel()
        await asyncio.gather(*telling, return_exceptions=True)

    async def _tell(self, number: int, turn: Turn | None) -> None:
        if turn is not None:
            await turn.done(pull=False)
            del self._numbers[turn.origin]
        # Its last output was received before, and whoever received it stands in line for the same lock in that step.
        self._unread += 1
        try:
            await self._responses.send(pb.StreamResponse(turn_done=pb.TurnDone(turn=number)))
        finally:
            self._unread -= 1
            self._was_read.set()

    def _told(self, task: asyncio.Task[None]) -> None:
        self._telling.discard(task)
        if not task.cancelled():
            task.exception()  # the session failed, or the client is gone: others say so
