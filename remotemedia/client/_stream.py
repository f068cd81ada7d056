"""One StreamPipeline call: requests wait for the call's flow control, responses wait to be taken.

grpc.aio ends a call when a read or write of it is cancelled. So one task reads and one writes, and their waiters
may be cancelled.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeAlias

import grpc.aio
import remotemedia_v1_pb2 as pb

from remotemedia.client._errors import error_of_response, error_of_status
from remotemedia.client._inbox import Inbox, Output, TurnInbox
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import InitProgress, Interruption, Provenance
from remotemedia.errors import ServiceError, SessionStateError
from remotemedia.wire.buffers import data_of
from remotemedia.wire.heard import heard_of
from remotemedia.wire.payload import Envelope, decode, encode

__all__ = ["Calls", "Stream"]

RawCall: TypeAlias = "grpc.aio.StreamStreamCall[bytes, bytes]"


@dataclass(frozen=True)
class Calls:
    """What a stream asks of the service.

    Attributes:
        stream: begins StreamPipeline.
        interrupt: InterruptStream, with the serialized request.
    """

    stream: Callable[[], RawCall]
    interrupt: Callable[[bytes], Awaitable[bytes]]


_NUMBERS_KEPT = 10_000


@dataclass
class _Asked:
    """An interruption that the service was asked for.

    Attributes:
        nodes: those at which it begins, a bit each: the answer then names the outputs to drop. 0: all outputs are
            dropped until the answer.
        answer: what the service has said.
    """

    nodes: int
    answer: Interruption | None = None


class Stream:
    """The messages of one call.

    Attributes:
        session_id: what the service calls the session; "" until it is ready.
        ready, closed: whether the service has said so.
        failure: why it goes no further; None while it does.
        inbox: what has come, and was not taken yet.
    """

    def __init__(
        self, calls: Calls, target: str, outputs: Iterable[str], on_progress: Callable[[InitProgress], None] | None
    ) -> None:
        self._calls = calls
        self._call = calls.stream()
        self._target = target
        self._on_progress = on_progress
        self.session_id = ""
        self.ready = self.closed = False
        self.failure: Exception | None = None
        self.inbox = Inbox(outputs)
        self._changed = asyncio.Event()
        self._write_turn = asyncio.Lock()
        self._writing: asyncio.Task[None] | None = None
        self._sent = 0
        self._origins: dict[int, int] = {}
        # Interruptions: how many there were, and are about to be asked for (of everything, from nodes on); and, in
        # order, those that are asked for and not answered.
        self._interruptions = self._interrupting = self._cutting = 0
        self._asked: deque[_Asked] = deque()
        self._discarding = False
        # What was said to be played, by node, since the last interruption was asked for: that may overtake it.
        self._played: dict[str, pb.StreamControl] = {}
        # How many callers wait for something that may come behind outputs that nobody takes.
        self._behind = 0
        self._commanding: set[asyncio.Task[None]] = set()
        self._reading = asyncio.create_task(self._read(), name="remotemedia client reads")

    # --- out ---

    async def begin(self, request: pb.StreamRequest) -> None:
        """Writes the first message."""
        async with self._write_turn:
            self._write(request.SerializeToString())

    async def send(self, chunk: Envelope[pb.StreamRequest], origin: int) -> None:
        """Numbers the chunk and writes it."""
        async with self._write_turn:
            await self._room()
            self._sent += 1
            chunk.message.data_chunk.sequence = self._sent
            self._origins.pop(self._sent - _NUMBERS_KEPT, None)
            if origin:
                self._origins[self._sent] = origin
            self._write(encode(chunk))

    async def command(self, control: pb.StreamControl) -> None:
        """Writes a command."""
        request = pb.StreamRequest(control=control)
        async with self._write_turn:
            await self._room()
            self._write(request.SerializeToString())

    async def played(self, control: pb.StreamControl) -> None:
        """Writes how far the outputs of a node were played. An interruption from now on tells it."""
        self._played[control.node_id] = control
        await self.command(control)

    def command_soon(self, control: pb.StreamControl) -> None:
        """Writes a command, behind what is being written; does not wait. The stream also reports if that fails."""
        if self.failure is None and not self.closed:
            task = asyncio.create_task(self._command_or_fail(control), name="remotemedia client commands")
            self._commanding.add(task)
            task.add_done_callback(self._commanding.discard)

    async def _command_or_fail(self, control: pb.StreamControl) -> None:
        with suppress(Exception):  # the stream's failure, which everyone else hears of
            await self.command(control)

    async def interrupt(self, from_nodes: Mapping[str, int], *, drop_queued: bool) -> Interruption:
        """Drops all outputs, here and still to come, until the service has let go of everything.

        With ``from_nodes``, and the bit of each, only those that come from these nodes, and were made before the
        service let go. Returns what the service has answered; with the stream at its end, nothing was interrupted.
        """
        self.raise_failure()
        nodes = sum(from_nodes.values())
        if self.closed:
            self._drop_held(nodes)
            return Interruption(0, nodes)
        self._interruptions += 1
        control = pb.StreamControl(
            command=pb.StreamControl.COMMAND_INTERRUPT,
            interruption=self._interruptions,
            from_nodes=from_nodes,
            drop_queued=drop_queued,
        )
        asked = _Asked(nodes)
        played, self._played = list(self._played.values()), {}
        overtaking = asyncio.create_task(self._overtake(control, played), name="remotemedia client interrupts")
        try:
            if nodes:
                self._cutting += 1
                self._tell()  # what waits for room must not keep the answer, or the service, waiting
            else:
                self._interrupting += 1
                self._drop_held()
            try:
                await self.command(control)
                self._asked.append(asked)
            finally:
                if nodes:
                    self._cutting -= 1
                else:
                    self._interrupting -= 1
        finally:
            await asyncio.wait({overtaking})
        while asked.answer is None and not self.closed:
            await self.wait()
        return Interruption(0, nodes) if asked.answer is None else asked.answer

    async def _overtake(self, control: pb.StreamControl, played: list[pb.StreamControl]) -> None:
        """Tells the service, overtaking chunks that wait on their way. The stream also reports if that fails."""
        request = pb.InterruptRequest(
            session_id=self.session_id,
            interruption=control.interruption,
            from_nodes=control.from_nodes,
            drop_queued=control.drop_queued,
            played=played,
        )
        with suppress(grpc.aio.AioRpcError, SessionStateError):  # of a client that was closed
            await self._calls.interrupt(request.SerializeToString())

    async def _room(self) -> None:
        """Waits until the last write is on its way. Cancelled, nothing is lost."""
        if self._writing is not None and not self._writing.done():
            await asyncio.wait({self._writing, self._reading}, return_when=asyncio.FIRST_COMPLETED)
        if self._writing is not None and _has_failed(self._writing):
            # The call is over. Why, is behind outputs that nobody gets any more.
            self._discarding = True
            self._drop_held()
            await asyncio.wait({self._reading})
        self.raise_failure()

    def _write(self, raw: bytes) -> None:
        self._writing = asyncio.create_task(self._put(raw), name="remotemedia client writes")
        # The next write looks; when there is none, asyncio need not complain.
        self._writing.add_done_callback(_has_failed)

    async def _put(self, raw: bytes) -> None:
        await self._call.wait_for_connection()
        # What write() does. But when the service has ended the call, that puts an error of its own before whatever the
        # service says of the end, which then is lost.
        await self._call._cython_call.send_serialized_message(raw)  # type: ignore[attr-defined]

    # --- in ---

    def take(self, node_id: str) -> RuntimeData | None:
        """The next output of a node if it is here."""
        self.raise_failure()
        return None if (output := self._taken(self.inbox.take(node_id))) is None else output.data

    def take_of(self, turn: TurnInbox) -> Output | None:
        """The next output of a turn if it is here."""
        self.raise_failure()
        return self._taken(turn.take())

    def give_up(self, turn: TurnInbox) -> None:
        """Drops what is here of the turn, and what still comes of it."""
        turn.give_up()
        self._tell()  # there is room

    def _taken(self, output: Output | None) -> Output | None:
        if output is not None:
            self._tell()  # there is room
        return output

    @asynccontextmanager
    async def reading_past(self) -> AsyncIterator[None]:
        """While in the block, outputs that nobody takes hold up nothing that comes behind them."""
        self._behind += 1
        self._tell()
        try:
            yield
        finally:
            self._behind -= 1

    async def wait(self) -> None:
        """Until something has changed; raises the failure if it is that."""
        self.raise_failure()
        await self._changed.wait()
        self.raise_failure()

    async def _read(self) -> None:
        try:
            while (raw := await self._call.read()) is not grpc.aio.EOF:
                assert isinstance(raw, bytes)
                await self._handle(decode(pb.StreamResponse, raw))
            self._fail(ServiceError(f"the service at {self._target} ended the stream without a word"))
        except grpc.aio.AioRpcError as error:
            failure = error_of_status(error, self._target)
            failure.__cause__ = error
            self._fail(failure)
        except ValueError as error:
            self._fail(ServiceError(f"the service at {self._target} sent a reply that makes no sense: {error}"))
        finally:
            self._fail(SessionStateError("the stream was ended: its client was closed"))
            self._call.cancel()
            self._tell()

    async def _handle(self, response: Envelope[pb.StreamResponse]) -> None:
        message = response.message
        match message.WhichOneof("response"):
            case "result":
                result = message.result
                for node_id, buffer in result.data_outputs.items():
                    if self.inbox.knows(node_id) and not self._is_dropping():
                        data = data_of(buffer, response.payloads)
                        data.origin, data.session_id = self._origins.get(result.sequence, 0), self.session_id
                        data.sequence = result.output_sequence
                        output = Output(node_id, data, Provenance(result.epoch, result.lineage))
                        await self._keep(output, result.turns)
            case "init_progress" if self._on_progress is not None:
                said = message.init_progress
                try:
                    self._on_progress(InitProgress(said.node_id, said.status, said.progress, said.message or None))
                except Exception as error:
                    self._fail(error)
            case "ready":
                self.ready, self.session_id = True, message.ready.session_id
            case "closed":
                self.closed = True
            case "interrupted":
                self._answer(message.interrupted)
            case "turn_done":
                self.inbox.end_turn(message.turn_done.turn)
            case "error":
                self._fail(error_of_response(message.error))
        self._tell()

    async def _keep(self, output: Output, turns: Iterable[int]) -> None:
        """Holds it until it is taken; returns when there is room, or somebody waits for what comes behind it."""
        into = self.inbox.put(output, turns)
        self._tell()
        while self.inbox.is_full(into) and not (self._cutting or self._asked or self._behind):
            await self._changed.wait()

    def _is_dropping(self) -> bool:
        return self._discarding or self._interrupting > 0 or any(one.nodes == 0 for one in self._asked)

    def _answer(self, answer: pb.Interrupted) -> None:
        interruption = Interruption(answer.epoch, answer.nodes, heard_of(answer, self._origins))
        nodes = 0
        if self._asked:
            asked = self._asked.popleft()
            nodes, asked.answer = asked.nodes, interruption
        if interruption.nodes:
            self.inbox.drop(interruption.cuts)
            self._tell()
        elif nodes:  # its session had already ended there: of these nodes nothing new will come
            self._drop_held(nodes)

    def _drop_held(self, nodes: int = 0) -> None:
        """Drops what is held, or what came through one of these nodes."""
        self.inbox.drop(lambda one: not nodes or one.lineage & nodes != 0)
        self._tell()

    # --- both ---

    def _fail(self, error: Exception) -> None:
        # Responses after the last word, or after the first failure, say nothing new.
        if self.failure is None and not self.closed:
            self.failure = error

    def raise_failure(self) -> None:
        """Raises the failure if there is one."""
        if self.failure is not None:
            # Without what earlier raises added: it would grow from call to call, and keep their frames alive.
            raise self.failure.with_traceback(None)

    def _tell(self) -> None:
        self._changed.set()
        self._changed.clear()

    async def end(self) -> None:
        """Ends the call, at once unless the service has said its last word; nothing of it is left."""
        if not self.closed:
            self._reading.cancel()
        for task in self._commanding:
            task.cancel()
        await asyncio.wait({self._reading, *self._commanding, *filter(None, (self._writing,))})
        del self._call  # it holds on to the connection


def _has_failed(task: asyncio.Task[None]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
