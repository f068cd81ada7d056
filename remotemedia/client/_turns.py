"""RemoteTurn: a turn of a pipeline at work in a service, in the shape of a local Turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Protocol, Self

import remotemedia_v1_pb2 as pb

from remotemedia.client._inbox import Output
from remotemedia.client._stream import Stream
from remotemedia.core.data import Payload, RuntimeData
from remotemedia.core.multiprocessing import END_OF_TURN, Origin
from remotemedia.errors import SessionStateError

__all__ = ["RemoteTurn", "ask"]


class Sender(Protocol):
    """The session that a turn belongs to."""

    async def send(
        self, node_id: str, data: RuntimeData | Payload, port: str = "", *, turn: RemoteTurn | None = None
    ) -> None: ...

    def _running(self, call: str) -> Stream: ...


class RemoteTurn:
    """A part of the input of a remote session, and all the work on it; ``RemoteSession.turn`` begins one.

    Used like a local ``Turn``. A message of it that fails ends the whole session, as any other does.

    Attributes:
        origin: names it.
    """

    def __init__(self, session: Sender, stream: Stream, node_id: str, *, own_outputs: bool) -> None:
        number, self._inbox = stream.inbox.begin_turn(own_outputs=own_outputs)
        self.origin = Origin(node_id, number)
        self._session = session
        self._stream = stream
        self._open = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            await self.end()
        else:
            self.give_up()

    @property
    def is_over(self) -> bool:
        """Whether the service has said that all work on it is done, or the session has ended there."""
        return self._inbox.is_done or self._stream.closed

    async def send(self, data: RuntimeData | Payload, port: str = "", *, node_id: str | None = None) -> None:
        """As ``RemoteSession.send``, to the turn's input node, or another."""
        await self._session.send(node_id or self.origin.node_id, data, port, turn=self)

    async def end(self) -> None:
        """Ends the input of the turn, with a mark for each node that got a part of it, and whose input has not ended.

        Waits as ``RemoteSession.send`` does; cancelled meanwhile, it ends all the same. May be repeated.
        """
        if not self._open:
            return
        stream = self._session._running("RemoteTurn.end()")
        self._open = False
        command = self._command(pb.StreamControl.COMMAND_END_TURN)
        try:
            await stream.command(command)
        except asyncio.CancelledError:  # before it was written
            stream.command_soon(command)
            raise

    def give_up(self) -> None:
        """Ends the input without a mark. What still comes of the turn is dropped, unless ``receive`` gets it."""
        self._stream.give_up(self._inbox)
        if self._open:
            self._open = False
            self._stream.command_soon(self._command(pb.StreamControl.COMMAND_GIVE_UP_TURN))

    async def outputs(self) -> AsyncGenerator[tuple[str, RuntimeData]]:
        """Yields (node id, data), as they come, until the turn is over; without the mark of its end.

        Raises like ``RemoteSession.receive``. Left before its end, it gives the turn up.
        """
        if not self._inbox.own_outputs:
            raise SessionStateError("the outputs of this turn go to receive() and outputs() of the session")
        ended = False
        try:
            while (output := await self._next()) is not None:
                yield output.node_id, output.data
            ended = True
        finally:
            if not ended:
                self.give_up()

    async def _next(self) -> Output | None:
        """Its next output; None when it is over."""
        while True:
            stream = self._session._running("RemoteTurn.outputs()")
            while (output := stream.take_of(self._inbox)) is not None:
                if output.data.mark != END_OF_TURN:
                    return output
            if self.is_over:
                return None
            async with stream.reading_past():
                await stream.wait()

    async def done(self) -> None:
        """Returns once the turn is over. Outputs that nobody takes are kept meanwhile, however many."""
        while not self.is_over:
            stream = self._session._running("RemoteTurn.done()")
            async with stream.reading_past():
                await stream.wait()

    def _check_open(self) -> None:
        if not self._open:
            raise SessionStateError(f"the input of turn {self.origin.number} has ended; begin another with turn()")

    def _command(self, command: pb.StreamControl.Command) -> pb.StreamControl:
        return pb.StreamControl(command=command, turn=self.origin.number, node_id=self.origin.node_id)


async def ask(
    begin: Callable[[], RemoteTurn], data: RuntimeData | Payload, port: str
) -> AsyncGenerator[RuntimeData, None]:
    """Sends one message as a turn, and yields every output that is made of it."""
    # No generator in this one: at the end of an event loop, asyncio closes all that are open at once.
    turn = begin()
    sending = asyncio.create_task(_send_whole(turn, data, port), name="remotemedia client asks")
    ended = False
    try:
        while (output := await turn._next()) is not None:
            yield output.data
        await sending
        ended = True
    finally:
        if not ended:
            turn.give_up()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _send_whole(turn: RemoteTurn, data: RuntimeData | Payload, port: str) -> None:
    try:
        await turn.send(data, port)
        await turn.end()
    finally:
        if turn._open:  # what could not be sent has no outputs
            turn.give_up()
