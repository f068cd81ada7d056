"""RemoteSession: a pipeline at work in a service, in the shape of a local Session."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Collection
from types import TracebackType
from typing import Self

import remotemedia_v1_pb2 as pb

from remotemedia._event_loop import running_loop
from remotemedia._naming import nodes_named, offer
from remotemedia.client._manifest import RemotePlan
from remotemedia.client._stream import Calls, Stream
from remotemedia.client._turns import RemoteTurn, ask
from remotemedia.core.data import Payload, RuntimeData
from remotemedia.core.multiprocessing import InitProgress, Interruption, SessionStatus
from remotemedia.errors import ChannelClosedError, PayloadError, PipelineError, SessionStateError
from remotemedia.wire.buffers import buffer_of
from remotemedia.wire.payload import Envelope
from remotemedia.wire.sizes import ENVELOPE_BYTES

__all__ = ["RemoteSession"]


class RemoteSession:
    """A pipeline at work in a service; ``PipelineClient.session`` makes it. Its calls do what those of Session do.

    ``async with`` starts it: when the block begins, every node is ready; raises what ``Session.initialize`` raises, or
    a ServiceError. When the block ends, the stream ends at once, and with it the processes; what is under way then is
    dropped, so read ``outputs()`` to their end first. When something fails there, every pending and later call raises
    it, with what the service said in ``error.remote``; also an exception of a node's ``process()`` ends the session.

    Outputs are read as they are taken: up to a hundred of each node, 64 MiB together, are kept here; then the service,
    and in the end the nodes, wait. So all output nodes must be read, as those of a local session.
    """

    def __init__(
        self,
        calls: Calls,
        target: str,
        plan: RemotePlan,
        most_bytes: int,
        on_progress: Callable[[InitProgress], None] | None,
    ) -> None:
        self._calls = calls
        self._target = target
        self._plan = plan
        self._most_bytes = most_bytes
        self._on_progress = on_progress
        self._stream: Stream | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._status = SessionStatus.CREATED
        self._ended: set[str] = set()

    @property
    def node_ids(self) -> tuple[str, ...]:
        """The nodes of the pipeline."""
        return self._plan.node_ids

    @property
    def input_nodes(self) -> tuple[str, ...]:
        """Nodes that take what the session sends."""
        return self._plan.inputs

    @property
    def output_nodes(self) -> tuple[str, ...]:
        """Nodes whose output the session receives."""
        return self._plan.outputs

    @property
    def session_id(self) -> str:
        """What the service calls the session; "" before it runs."""
        return "" if self._stream is None else self._stream.session_id

    @property
    def status(self) -> SessionStatus:
        """CREATED, INITIALIZING, RUNNING, STOPPED or ERROR."""
        failed = self._stream is not None and self._stream.failure is not None
        return SessionStatus.ERROR if failed and self._status is SessionStatus.RUNNING else self._status

    async def __aenter__(self) -> Self:
        if self._status is not SessionStatus.CREATED:
            raise SessionStateError("a session is entered once; client.session() makes another")
        self._status, self._loop = SessionStatus.INITIALIZING, running_loop("a session")
        self._stream = stream = Stream(self._calls, self._target, self._plan.outputs, self._on_progress)
        try:
            init = pb.StreamInit(manifest=self._plan.message, client_version="remotemedia", marks=True)
            await stream.begin(pb.StreamRequest(init=init))
            while not stream.ready:
                await stream.wait()
        except BaseException:
            await self._end()
            raise
        self._status = SessionStatus.RUNNING
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def _end(self) -> None:
        self._status = SessionStatus.STOPPED
        assert self._stream is not None
        await self._stream.end()

    # --- data ---

    async def send(
        self, node_id: str, data: RuntimeData | Payload, port: str = "", *, turn: RemoteTurn | None = None
    ) -> None:
        """Sends ``data`` to an input node. Waits while the service takes no more; cancelled meanwhile, nothing is sent.

        Raises PipelineError for a node that takes no input, ChannelClosedError after ``end_input``, PayloadError for
        data that have no form on the wire or are too long. The plain values that ``Session.send`` takes can be sent
        here if the node's type is also known in this program and declares what it takes; else TypeError. Which ports a
        node has, the service knows: a wrong one ends the session. ``turn`` is one of this session whose input has not
        ended: the message belongs to it.
        """
        stream = self._running("send()")
        self._check(node_id, "input", self._plan.inputs)
        stream.raise_failure()
        if node_id in self._ended:
            raise ChannelClosedError(f"the input of node {node_id!r} was ended")
        if turn is not None:
            turn._check_open()
        data = self._plan.graph.as_message(node_id, data, port)
        if data.size > self._most_bytes - ENVELOPE_BYTES:
            raise PayloadError(
                f"the payload has {data.size} bytes; a message may have {self._most_bytes} (max_message_bytes), its "
                f"envelope in it"
            )
        chunk: Envelope[pb.StreamRequest] = Envelope(pb.StreamRequest())
        buffer = buffer_of(data, chunk.payloads)
        chunk.message.data_chunk.node_id = node_id
        chunk.message.data_chunk.turn = 0 if turn is None else turn.origin.number
        if port:
            chunk.message.data_chunk.named_buffers[port].CopyFrom(buffer)
        else:
            chunk.message.data_chunk.buffer.CopyFrom(buffer)
        await stream.send(chunk, data.origin)

    async def receive(self, node_id: str, timeout: float | None = None) -> RuntimeData | None:
        """The next output of an output node; None at the end of the stream, which all nodes have together.

        Arrays are read-only views of the bytes received. Raises TimeoutError after ``timeout`` seconds, PipelineError
        for a node whose output nobody gets. Cancelled, it has taken nothing.
        """
        stream = self._running("receive()")
        self._check(node_id, "output", self._plan.outputs)
        async with asyncio.timeout(timeout):
            while (data := stream.take(node_id)) is None and not stream.closed:
                await stream.wait()
                self._running("receive()")
        return data

    async def outputs(self, *node_ids: str) -> AsyncGenerator[tuple[str, RuntimeData], None]:
        """Yields (node id, data) of the named output nodes, or of all, as they come, until the end of the stream."""
        stream = self._running("outputs()")
        names = node_ids or self._plan.outputs
        for node_id in names:
            self._check(node_id, "output", self._plan.outputs)
        while True:
            progress = False
            for node_id in names:
                if (data := stream.take(node_id)) is not None:
                    progress = True
                    yield node_id, data
                    self._running("outputs()")
            if not progress:
                if stream.closed:
                    return
                await stream.wait()
                self._running("outputs()")

    async def end_input(self, node_id: str | None = None) -> None:
        """Ends the stream into one input node, or all: the nodes drain, finish, and pass the end on."""
        stream = self._running("end_input()")
        if node_id is None:
            self._ended.update(self._plan.inputs)
            await stream.command(pb.StreamControl(command=pb.StreamControl.COMMAND_CLOSE))
        else:
            self._check(node_id, "input", self._plan.inputs)
            self._ended.add(node_id)
            end = pb.StreamControl.COMMAND_END_INPUT
            await stream.command(pb.StreamControl(command=end, node_id=node_id))

    def turn(self, node_id: str, *, own_outputs: bool = True) -> RemoteTurn:
        """Begins a turn, as ``Session.turn`` does: what is sent with it, and all that becomes of that. Does not block.

        More than 1,023 under way end the session, with ResourceLimitError.
        """
        stream = self._running("turn()")
        self._check(node_id, "input", self._plan.inputs)
        return RemoteTurn(self, stream, node_id, own_outputs=own_outputs)

    def ask(self, node_id: str, data: RuntimeData | Payload, port: str = "") -> AsyncGenerator[RuntimeData, None]:
        """Sends one message, as a turn of its own, and yields every output that is made of it, until there is no more.

        As ``Session.ask``; a message that fails ends the session, and this with NodeProcessError.
        """
        return ask(lambda: self.turn(node_id), data, port)

    async def played(self, node_id: str, *, sequence: int | None = None, secs: float | None = None) -> None:
        """Says how far the outputs of a node were played, as ``Session.played`` does: ``interrupt()`` then tells of it.

        Waits as ``send`` does. ValueError for both, or neither, or less than 0. What the service has not sent to this
        client since the interruption before, it takes no notice of.
        """
        stream = self._running("played()")
        self._check(node_id, "output", self._plan.outputs)
        if (sequence is None) == (secs is None):
            raise ValueError("played() takes the sequence of the message that was played, or secs; one of them")
        if sequence is not None and not 0 <= sequence < 1 << 64:
            raise ValueError(f"played(): sequence must be that of an output, not {sequence}")
        if secs is not None and not 0 <= secs < math.inf:
            raise ValueError(f"played(): secs must be 0 or more, not {secs}")
        command = pb.StreamControl.COMMAND_PLAYED
        await stream.played(
            pb.StreamControl(command=command, node_id=node_id, output_sequence=sequence, played_secs=secs or 0.0)
        )

    async def interrupt(
        self, *, from_node: str | Collection[str] | None = None, drop_queued: bool = False
    ) -> Interruption:
        """Drops everything under way, there, here and on the way. Returns when every node has acknowledged.

        Nothing of what was interrupted comes out afterwards; messages sent from now on do. ``from_node`` and
        ``drop_queued`` are as in ``Session.interrupt``; what is on its way to the service then stays. So is what it
        returns; ``delivered`` in it is what the service had sent to this client, which may not have received all of it.
        PipelineError for a node that the pipeline does not have, and for a collection that names none.
        """
        stream = self._running("interrupt()")
        known, from_nodes = list(self._plan.node_ids), {}
        for node_id in nodes_named(from_node):
            if node_id not in known:
                raise PipelineError(f"there is no node {node_id!r}; {offer(node_id, known, 'the nodes are')}")
            from_nodes[node_id] = 1 << known.index(node_id)
            if from_nodes[node_id] >> 64:
                raise PipelineError(f"interrupt(): node {node_id!r} is not among the first 64 of its pipeline")
        return await stream.interrupt(from_nodes, drop_queued=drop_queued)

    # --- inside ---

    def _running(self, call: str) -> Stream:
        if self._status is not SessionStatus.RUNNING or self._stream is None:
            raise SessionStateError(f"{call} needs a session that is running; this one is {self._status.value}")
        if self._loop is not running_loop(call):
            raise SessionStateError(f"{call} was called on another event loop than the one the session was entered on")
        return self._stream

    def _check(self, node_id: str, what: str, choices: tuple[str, ...]) -> None:
        if node_id not in choices:
            known = ", ".join(map(repr, choices))
            there = f"is not an {what} node" if node_id in self._plan.node_ids else "is not in the pipeline"
            raise PipelineError(f"node {node_id!r} {there}; the {what} nodes are: {known}")
