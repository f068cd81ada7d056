"""One StreamPipeline call: requests wait for the call's flow control, responses wait to be taken.

grpc.aio ends a call when a read or write of it is cancelled. So one task reads and one writes, and their waiters
may be cancelled.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

import grpc.aio
import remotemedia_v1_pb2 as pb

from remotemedia.client._errors import error_of_response, error_of_status
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import InitProgress, Interruption, Provenance
from remotemedia.errors import ServiceError, SessionStateError
from remotemedia.wire.buffers import data_of
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


_HELD_MESSAGES = 100
_HELD_BYTES = 64 * 1024 * 1024
_NUMBERS_KEPT = 10_000


class Stream:
    """The messages of one call.

    Attributes:
        session_id: what the service calls the session; "" until it is ready.
        ready, closed: whether the service has said so.
        failure: why it goes no further; None while it does.
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
        self._held: dict[str, deque[tuple[RuntimeData, Provenance]]] = {node_id: deque() for node_id in outputs}
        self._held_bytes = 0
        self._changed = asyncio.Event()
        self._write_turn = asyncio.Lock()
        self._writing: asyncio.Task[None] | None = None
        self._sent = 0
        self._origins: dict[int, int] = {}
        # Interruptions: how many there were, are about to be asked for (of everything, from nodes on), are answered. Of
        # those that are asked for and not answered, in order: the nodes at which they begin, a bit each, whose answer
        # names the outputs to drop; 0: all outputs are dropped until the answer.
        self._interruptions = self._interrupting = self._cutting = self._answered = 0
        self._asked: deque[int] = deque()
        self._discarding = False
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

    async def interrupt(self, from_nodes: Mapping[str, int], *, drop_queued: bool) -> None:
        """Drops all outputs, here and still to come, until the service has let go of everything.

        With ``from_nodes``, and the bit of each, only those that come from these nodes, and were made before the
        service let go.
        """
        self.raise_failure()
        nodes = sum(from_nodes.values())
        if self.closed:
            self._drop_held(nodes)
            return
        self._interruptions += 1
        control = pb.StreamControl(
            command=pb.StreamControl.COMMAND_INTERRUPT,
            interruption=self._interruptions,
            from_nodes=from_nodes,
            drop_queued=drop_queued,
        )
        overtaking = asyncio.create_task(self._overtake(control), name="remotemedia client interrupts")
        try:
            if nodes:
                self._cutting += 1
                self._tell()  # what waits for room must not keep the answer, or the service, waiting
            else:
                self._interrupting += 1
                self._drop_held()
            try:
                await self.command(control)
                self._asked.append(nodes)
            finally:
                if nodes:
                    self._cutting -= 1
                else:
                    self._interrupting -= 1
            mine = self._answered + len(self._asked)
        finally:
            await asyncio.wait({overtaking})
        while self._answered < mine and not self.closed:
            await self.wait()

    async def _overtake(self, control: pb.StreamControl) -> None:
        """Tells the service, overtaking chunks that wait on their way. The stream also reports if that fails."""
        request = pb.InterruptRequest(
            session_id=self.session_id,
            interruption=control.interruption,
            from_nodes=control.from_nodes,
            drop_queued=control.drop_queued,
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
        held = self._held[node_id]
        if not held:
            return None
        data, _ = held.popleft()
        self._held_bytes -= data.size
        self._tell()
        return data

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
                    if node_id in self._held and not self._is_dropping():
                        data = data_of(buffer, response.payloads)
                        data.origin, data.session_id = self._origins.get(result.sequence, 0), self.session_id
                        await self._keep(node_id, data, Provenance(result.epoch, result.lineage))
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
                self._answer(Interruption(message.interrupted.epoch, message.interrupted.nodes))
            case "error":
                self._fail(error_of_response(message.error))
        self._tell()

    async def _keep(self, node_id: str, data: RuntimeData, provenance: Provenance) -> None:
        """Holds it until it is taken; returns when there is room, or an interruption is to be answered."""
        held = self._held[node_id]
        held.append((data, provenance))
        self._held_bytes += data.size
        self._tell()
        while len(held) >= _HELD_MESSAGES or self._held_bytes >= _HELD_BYTES:
            if self._cutting or self._asked:
                return
            await self._changed.wait()

    def _is_dropping(self) -> bool:
        return self._discarding or self._interrupting > 0 or 0 in self._asked

    def _answer(self, interruption: Interruption) -> None:
        nodes = self._asked.popleft() if self._asked else 0
        self._answered += 1
        if interruption.nodes:
            self._keep_only(lambda one: not interruption.cuts(one))
        elif nodes:  # its session had already ended there: of these nodes nothing new will come
            self._drop_held(nodes)

    def _drop_held(self, nodes: int = 0) -> None:
        """Drops what is held, or what came through one of these nodes."""
        self._keep_only(lambda one: bool(nodes and not one.lineage & nodes))

    def _keep_only(self, stays: Callable[[Provenance], bool]) -> None:
        for held in self._held.values():
            kept = [(data, one) for data, one in held if stays(one)]
            self._held_bytes -= sum(data.size for data, _ in held) - sum(data.size for data, _ in kept)
            held.clear()
            held.extend(kept)
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
        await asyncio.wait({self._reading, *filter(None, (self._writing,))})
        del self._call  # it holds on to the connection


def _has_failed(task: asyncio.Task[None]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
