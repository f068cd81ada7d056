"""StreamPipeline: a session for a client, chunks in, results out as they are made."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
import grpc.aio
import remotemedia_v1_pb2 as pb

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import Interruption, Provenance, Session
from remotemedia.errors import (
    ChannelClosedError,
    ChannelFullError,
    NodeProcessError,
    PayloadError,
    PipelineError,
    ResourceLimitError,
    SessionStateError,
)
from remotemedia.service._call import Call
from remotemedia.service._call_metrics import StreamCounters, execution_metrics
from remotemedia.service._chunks import Chunk, Chunks
from remotemedia.service._errors import name_of, streamed_response_of
from remotemedia.service._manifests import BadRequest
from remotemedia.service._progress import Progress
from remotemedia.service._read_ahead import ReadAhead
from remotemedia.service._responses import Responses
from remotemedia.service._session import (
    Shared,
    Stopping,
    at_most,
    check_input_node,
    check_output_node,
    open_session,
    run_until_first_failure,
)
from remotemedia.service._turns import StreamTurns
from remotemedia.wire.buffers import buffer_of
from remotemedia.wire.heard import interrupted_of
from remotemedia.wire.marks import as_understood
from remotemedia.wire.payload import Envelope, decode
from remotemedia.wire.sizes import ENVELOPE_BYTES

if TYPE_CHECKING:
    Context: TypeAlias = grpc.aio.ServicerContext[bytes, bytes]

__all__ = ["stream"]

_CHUNKS_PER_METRICS = 10
_CUTS_KEPT = 100
_USUAL_CHUNK_SIZE = 4096
_MAX_BUFFER_LATENCY_MS = 100

_CLOSED = "Client requested close"
_CLOSE_REASONS: Mapping[int, str] = {
    pb.StreamControl.COMMAND_CLOSE: _CLOSED,
    pb.StreamControl.COMMAND_UNSPECIFIED: "Unspecified",
}
_COMMANDS = pb.StreamControl.Command.keys()
_CANCELLED = "Client requested cancel"
_HALF_CLOSED = "Client closed the request stream"


async def stream(shared: Shared, call: Call, context: Context) -> None:
    """One call, from ``init`` to ``closed``, or to the error that takes its place."""
    responses = Responses(context, call)
    try:
        async with at_most(shared.session_config.init_timeout_secs, "a stream may take to begin"):
            request = await run_until_first_failure(shared, _next(context, call))
        if request is None:
            return
        if request.message.WhichOneof("request") != "init":
            raise BadRequest("StreamInit required before anything else")
        await _Stream(shared, call, context, responses, request).run()
    except Stopping:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the service is stopping")
    except Exception as error:
        told = streamed_response_of(error)
        call.error_type = name_of(told)
        await responses.send(pb.StreamResponse(error=told))
    finally:
        await responses.close()


async def _next(context: Context, call: Call) -> Envelope[pb.StreamRequest] | None:
    """The next request that has something in it; None at the end of the requests. BadRequest for any other bytes."""
    while True:
        raw: Any = await context.read()
        if raw is grpc.aio.EOF:
            return None
        call.count_in(len(raw))
        try:
            request = decode(pb.StreamRequest, raw)
        except ValueError as error:
            raise BadRequest(str(error)) from None
        if request.message.WhichOneof("request"):
            return request


class _Cancelled(Exception):
    """The client wants nothing more."""


class _Stream:
    def __init__(
        self, shared: Shared, call: Call, context: Context, responses: Responses, request: Envelope[pb.StreamRequest]
    ) -> None:
        self._shared = shared
        self._call = call
        self._context = context
        self._responses = responses
        self._init = request.message.init
        self._plan = shared.plan(self._init.manifest, self._init.resource_limits)
        self._counters = StreamCounters()
        self._chunks = Chunks(self._plan.pipeline, self._init.resource_limits, self._counters.clock)
        self._first = self._chunks.inputs(self._init.data_inputs, request.payloads)
        self._ahead = ReadAhead()
        self._session: Session | None = None
        self._turns: StreamTurns | None = None
        self._metrics: pb.ExecutionMetrics | None = None
        self._reason = ""
        self._epoch = 0
        # Interruptions by number: the newest that was carried out, that was read here, and that is still to be read, as
        # it came by a way of its own. Those that begin at nodes, and are still to be read, with what they cut.
        self._interrupted = self._read_interruption = self._awaited_interruption = 0
        self._cuts: dict[int, asyncio.Task[Interruption]] = {}
        self._interrupting = asyncio.Lock()
        # Interruptions of everything that overtook their commands, and found something.
        self._wholes: dict[int, Interruption] = {}

    async def run(self) -> None:
        limit_secs = self._init.resource_limits.max_timeout_ms / 1000
        try:
            async with at_most(limit_secs, "the stream's max_timeout_ms allows"):
                await run_until_first_failure(self._shared, self._live(), self._read())
        except _Cancelled:
            self._reason = _CANCELLED
        metrics = self._metrics or pb.ExecutionMetrics(wall_time_ms=self._counters.clock.secs * 1000)
        closed = pb.StreamClosed(
            session_id=self._call.session_id, final_metrics=metrics, reason=self._reason or _CLOSED
        )
        await self._responses.send(pb.StreamResponse(closed=closed))

    async def _live(self) -> None:
        progress = Progress(self._responses.send, self._shared.service_config.status_results)
        async with progress.told(), open_session(self._shared, self._plan, self._call, progress.tell) as running:
            await progress.finish()
            self._session = session = running.session
            self._turns = turns = StreamTurns(session, self._responses)
            self._shared.interruptible[self._call.session_id] = self._call.client, self._overtake
            try:
                await self._responses.send(pb.StreamResponse(ready=self._ready()))
                work = self._send_outputs(session, turns), self._feed(session)
                await run_until_first_failure(self._shared, *work, failed=running.failed)
                running.graceful = True
            finally:
                self._session = None
                await turns.finish()
                del self._shared.interruptible[self._call.session_id]
                await self._end_cuts()
                self._metrics = execution_metrics(session, self._counters.clock)
        running.raise_error()
        self._chunks.frames.check_complete()

    def _ready(self) -> pb.StreamReady:
        return pb.StreamReady(
            session_id=self._call.session_id,
            recommended_chunk_size=self._init.expected_chunk_size or _USUAL_CHUNK_SIZE,
            max_buffer_latency_ms=_MAX_BUFFER_LATENCY_MS,
        )

    # --- from the client ---

    async def _read(self) -> None:
        """Reads a little ahead of the pipeline: commands that end or interrupt the work must not wait for it."""
        while (request := await _next(self._context, self._call)) is not None:
            message = request.message
            if message.WhichOneof("request") == "init":
                raise BadRequest("StreamInit already received")
            if message.control.command == pb.StreamControl.COMMAND_CANCEL:
                raise _Cancelled
            if message.control.command == pb.StreamControl.COMMAND_PLAYED:
                if (
                    not self._awaited_interruption and not self._cuts
                ):  # else it was overtaken, and what overtook told it
                    await self._note_played(message.control)
            elif message.control.command == pb.StreamControl.COMMAND_INTERRUPT:
                await self._read_interrupt(message.control)
            elif not self._awaited_interruption or message.WhichOneof("request") == "control":
                await self._ahead.put(request, self._epoch)
        await self._ahead.put(None, self._epoch)

    async def _note_played(self, control: pb.StreamControl) -> None:
        """At once: the next interruption is to tell it. What was interrupted meanwhile is forgotten already."""
        check_output_node(self._plan.pipeline, control.node_id, "COMMAND_PLAYED")
        if (session := self._session) is None:
            return
        sequence = control.output_sequence if control.HasField("output_sequence") else None
        with suppress(ValueError, SessionStateError):
            await session.played(
                control.node_id, sequence=sequence, secs=None if sequence is not None else control.played_secs
            )

    async def _read_interrupt(self, control: pb.StreamControl) -> None:
        number, cut = control.interruption, None
        self._read_interruption = max(number, self._read_interruption)
        if control.from_nodes:
            task = self._cuts.get(number) if number else None
            cut = await (self._cut(control) if task is None else asyncio.shield(task))
            for read in [one for one in self._cuts if one <= number]:
                self._cuts.pop(read).cancel()
        else:
            if number >= self._awaited_interruption:
                self._awaited_interruption = 0
            cut = await self._interrupt(number) or self._wholes.get(number)
            for read in [one for one in self._wholes if one <= number]:
                del self._wholes[read]
        await self._responses.send(pb.StreamResponse(interrupted=interrupted_of(cut)))

    async def _overtake(self, request: pb.InterruptRequest) -> None:
        """An interruption in a call of its own: chunks sent before its command are dropped unread until that comes.

        If it begins at nodes they are not: they wait for these, as what was read does.
        """
        number = request.interruption
        if number <= self._read_interruption:
            return
        if number > self._interrupted and number not in self._cuts:
            for control in request.played[: len(self._plan.pipeline.output_nodes)]:
                await self._note_played(control)
        if not request.from_nodes:
            self._awaited_interruption = max(number, self._awaited_interruption)
            if (whole := await self._interrupt(number)) is not None and len(self._wholes) < _CUTS_KEPT:
                self._wholes[number] = whole
            return
        if number not in self._cuts:
            if len(self._cuts) >= _CUTS_KEPT:
                raise BadRequest(f"{_CUTS_KEPT} interruptions wait for their commands in the stream")
            # A task of the stream's: it goes on if the client gives this call up, and is carried out once.
            self._cuts[number] = asyncio.create_task(self._cut(request))
        await asyncio.shield(self._cuts[number])

    async def _cut(self, request: pb.StreamControl | pb.InterruptRequest) -> Interruption:
        """Interrupts from some nodes on. Nothing is there to be interrupted before the session is, and after it."""
        if len(request.from_nodes) > len(self._plan.pipeline.nodes):
            raise BadRequest("from_nodes: there are more than the pipeline has nodes")
        try:
            self._plan.pipeline.reached_from(request.from_nodes)
            if (session := self._session) is not None:
                return await session.interrupt(from_node=request.from_nodes, drop_queued=request.drop_queued)
        except PipelineError as error:
            raise BadRequest(f"from_nodes: {error}") from None
        except SessionStateError:
            if self._session is session:
                raise
        return Interruption(0, 0)

    async def _end_cuts(self) -> None:
        for task in self._cuts.values():
            task.cancel()
        await asyncio.gather(*self._cuts.values(), return_exceptions=True)
        self._cuts.clear()

    async def _interrupt(self, number: int) -> Interruption | None:
        """Of everything; None if it was carried out before, or found nothing."""
        whole = None
        async with self._interrupting:
            if number and number <= self._interrupted:
                return None
            self._epoch += 1
            self._chunks.frames.drop()
            if (session := self._session) is not None:
                try:
                    whole = await session.interrupt()
                except SessionStateError:
                    if self._session is session:
                        raise
                    # Its last output came meanwhile: nothing is left to interrupt.
            self._interrupted = max(number, self._interrupted)
        return whole

    async def _feed(self, session: Session) -> None:
        """As fast as the pipeline takes it, so that the client feels a slow node."""
        for chunk in self._first if self._epoch == 0 else ():
            await self._send(session, chunk)
        while True:
            request, epoch = await self._ahead.get()
            if request is None:
                await self._end_input(session, _HALF_CLOSED)
                return
            match request.message.WhichOneof("request"):
                case "control":
                    await self._obey(session, request.message.control)
                case _ if epoch != self._epoch:
                    pass  # interrupted while it waited here
                case "audio_chunk":
                    await self._accept(
                        session, epoch, self._chunks.audio(request.message.audio_chunk, request.payloads)
                    )
                case _:
                    await self._accept(session, epoch, self._chunks.data(request.message.data_chunk, request.payloads))

    async def _accept(self, session: Session, epoch: int, chunks: list[Chunk]) -> None:
        if self._reason:
            raise BadRequest("a chunk came after the end of the input")
        for chunk in chunks:
            # What came together with one that waited, and was interrupted, is of the old epoch as well.
            if epoch == self._epoch:
                await self._send(session, chunk)
        if self._counters.accept() % _CHUNKS_PER_METRICS == 0:
            await self._responses.send(pb.StreamResponse(metrics=self._counters.metrics(session)))

    async def _send(self, session: Session, chunk: Chunk) -> None:
        self._counters.begin(chunk.data.origin)
        try:
            # A chunk that waits for room keeps its epoch: when that is interrupted, it is dropped.
            turn = self._turns.of(chunk.turn, chunk.node_id) if self._turns is not None else None
            await session.send(chunk.node_id, chunk.data, chunk.port, turn=turn)
        except ChannelFullError:  # enable_backpressure is off
            self._counters.dropped += 1
        except PayloadError as error:
            raise BadRequest(f"chunk {chunk.data.origin} for node {chunk.node_id!r}: {error}", chunk.node_id) from None
        except ChannelClosedError:
            raise BadRequest(
                f"a chunk came after the end of the input of node {chunk.node_id!r}", chunk.node_id
            ) from None

    async def _obey(self, session: Session, control: pb.StreamControl) -> None:
        match control.command:
            case pb.StreamControl.COMMAND_END_INPUT:
                check_input_node(self._plan.pipeline, control.node_id, "COMMAND_END_INPUT")
                await session.end_input(control.node_id)
            case pb.StreamControl.COMMAND_END_TURN | pb.StreamControl.COMMAND_GIVE_UP_TURN:
                await self._end_turn(control)
            case command if command in _CLOSE_REASONS:
                await self._end_input(session, _CLOSE_REASONS[command])
            case unknown:
                raise BadRequest(f"there is no command {unknown}; those are {', '.join(_COMMANDS)}")

    async def _end_turn(self, control: pb.StreamControl) -> None:
        mark = control.command == pb.StreamControl.COMMAND_END_TURN
        name = "COMMAND_END_TURN" if mark else "COMMAND_GIVE_UP_TURN"
        if control.turn == 0:
            raise BadRequest(f"{name}: turn must be the number that the chunks of the turn have, from 1")
        if mark:
            check_input_node(self._plan.pipeline, control.node_id, name)
            self._chunks.frames.check_complete(control.node_id)
        assert self._turns is not None
        await self._turns.end(control.turn, control.node_id, mark=mark)

    async def _end_input(self, session: Session, reason: str) -> None:
        if not self._reason:
            self._reason = reason
            await session.end_input()

    # --- to the client ---

    async def _send_outputs(self, session: Session, turns: StreamTurns) -> None:
        """Until the pipeline has no more; as fast as the client takes them, so that the nodes feel a slow client."""
        async for node_id, output in session.outputs():
            data = as_understood(output, marks=self._init.marks)
            if data is None:
                continue
            epoch, provenance = self._epoch, session.provenance(node_id)
            numbers = turns.numbers(provenance.origins)  # now: they are forgotten when the turn is over
            async with self._responses.writing:
                # An output that was here before the client interrupted is not for it any more.
                if epoch == self._epoch and not session.was_cut(provenance):
                    await self._responses.put(self._result(node_id, data, provenance, numbers))

    def _result(
        self, node_id: str, data: RuntimeData, provenance: Provenance, turns: list[int]
    ) -> Envelope[pb.StreamResponse]:
        most_bytes = self._shared.service_config.max_message_bytes
        if data.size > most_bytes - ENVELOPE_BYTES:
            raise ResourceLimitError(
                f"an output of node {node_id!r} has {data.size} bytes; a message may have {most_bytes}, all told"
            )
        envelope = Envelope(pb.StreamResponse())
        with self._counters.clock.writing():
            try:
                buffer = buffer_of(data, envelope.payloads)
            except PayloadError as error:
                raise NodeProcessError(node_id, f"its output cannot be sent: {error}") from None
        result = envelope.message.result
        result.sequence, result.output_sequence = data.origin, data.sequence
        result.epoch, result.lineage = provenance.epoch, provenance.lineage
        result.turns.extend(turns)
        result.data_outputs[node_id].CopyFrom(buffer)
        result.processing_time_ms, result.total_items_processed = self._counters.result(data.origin)
        return envelope
