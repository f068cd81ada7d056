"""The messages of a running session: those sent into it, and those received from it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from remotemedia._naming import nodes_named
from remotemedia.core.data import DataType, Payload, RuntimeData
from remotemedia.core.multiprocess.channel.form import FORM
from remotemedia.core.multiprocess.channel.publisher import Publisher
from remotemedia.core.multiprocess.channel.subscriber import Subscriber, any_ready_soon
from remotemedia.core.multiprocess.graph.pipeline import Pipeline
from remotemedia.core.multiprocess.session.playback import Playback
from remotemedia.core.multiprocess.session.status import SessionStatus
from remotemedia.core.multiprocess.session.supervisor import Supervisor
from remotemedia.core.multiprocess.session.unheard import UnheardFailures
from remotemedia.core.multiprocess.session.wiring import Wiring
from remotemedia.core.multiprocess.values.config import MultiprocessConfig
from remotemedia.core.multiprocess.values.interruption import Interruption, Provenance
from remotemedia.errors import ChannelClosedError, ChannelFullError, PipelineError, SessionStateError

if TYPE_CHECKING:
    from remotemedia.core.multiprocess.session.turns import Turn, Turns

__all__ = ["SessionFlow", "check_on_failure"]


class SessionFlow:
    """Base of Session, which sets the attributes: the calls that move messages, and the guards of all calls."""

    session_id: str
    pipeline: Pipeline
    config: MultiprocessConfig
    status: SessionStatus
    _supervisor: Supervisor | None
    _wiring: Wiring | None
    _loop: asyncio.AbstractEventLoop | None
    _books: Turns | None
    _unheard: UnheardFailures
    _playback: Playback

    async def send(
        self, node_id: str, data: RuntimeData | Payload, port: str = "", *, turn: Turn | None = None
    ) -> None:
        """Sends ``data`` to an input node; it arrives with ``data.port == port``.

        Without a port it is ``Pipeline.input_port``. A str can be sent where the node declares TEXT, an array or
        bytes where it declares TENSOR and nothing else that could be meant; elsewhere, TypeError says how to make a
        message. With ``turn``, it is a part of that. Waits while the channel is full; with
        ``enable_backpressure=False`` raises ChannelFullError instead, except for marks. An ordinary array is copied
        once, into shared memory. Raises ProcessCrashError when the pipeline crashed, PipelineError for a node that
        takes no input from the session or declares no such port, SessionStateError before ``start`` and after ``stop``,
        ChannelClosedError after ``end_input``.
        """
        supervisor = self._alive("send()")
        wiring = self._wired()
        publisher = wiring.inputs.get(node_id) or self._input(node_id)
        if port:
            port = self.pipeline.input_port_meant(node_id, port)
        if supervisor.failure is not None:
            await supervisor.raise_failure()
        epoch = wiring.segment.epoch
        origin = None if turn is None else turn._input_of(node_id)
        try:
            # The ring refuses anything but a message, so messages pay nothing for the check.
            if publisher._offer(data, epoch=epoch, port=port, origin=origin):  # type: ignore[arg-type]
                return
            if not self.config.enable_backpressure and data.type is not DataType.CONTROL:  # type: ignore[union-attr]
                publisher._drop()
                raise ChannelFullError(
                    f"channel {publisher.channel_name!r} or its payload pool is full (room for {publisher.capacity} "
                    f"messages, {wiring.segment.pool_bytes} bytes) and enable_backpressure is off"
                )
            await publisher.publish_async(data, epoch=epoch, port=port, origin=origin)  # type: ignore[arg-type]
            return
        except ChannelClosedError:
            if self._over():
                await supervisor.raise_failure()
            self._alive("send()")
            raise
        except TypeError:
            if isinstance(data, RuntimeData):
                raise
        await self.send(node_id, self.pipeline.as_message(node_id, data, port), port, turn=turn)

    async def loan(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """A writable array in shared memory; sending it moves a header, not bytes.

        Its contents are undefined. Sent, it is read-only; dropped unsent, its memory is free again. Waits while payload
        memory is full; PayloadError when there never could be room. Otherwise raises like ``send``.
        """
        segment = self._wired().segment
        while True:
            supervisor = self._alive("loan()")
            if supervisor.failure is not None:
                await supervisor.raise_failure()
            freed = segment.freed
            array = segment.try_loan(shape, dtype, FORM)
            if array is not None:
                return array
            segment.begin_memory_wait()
            try:
                await self._wired().doorbell.wait(partial(self._has_memory, freed))
            finally:
                segment.end_memory_wait()

    async def receive(
        self, node_id: str, timeout: float | None = None, *, on_failure: str | None = None
    ) -> RuntimeData | None:
        """The next output of an output node; None at the end of the stream.

        Arrays are read-only views into shared memory. Raises TimeoutError after ``timeout`` seconds, ProcessCrashError
        when the pipeline crashed, PipelineError for a node whose output the session does not get. Cancelled, it has
        taken nothing.

        Where an output would have to be waited for, it raises NodeProcessError for a message that failed in this node
        or before it, once for each: the output may never come. The session goes on; call again for the next. With
        ``on_failure="report"`` it waits on, and so it does in a session that has an ``on_error`` callback, unless
        ``on_failure`` is ``"raise"``.
        """
        supervisor = self._alive("receive()")
        subscriber = self._output(node_id)
        if on_failure is not None:
            check_on_failure(on_failure)
        if self._books is None and supervisor.failure is None and (data := subscriber.try_receive()) is not None:
            return data  # the usual case
        if timeout is None:
            return await self._receive(supervisor, node_id, subscriber, on_failure)
        async with asyncio.timeout(timeout):
            return await self._receive(supervisor, node_id, subscriber, on_failure)

    async def outputs(
        self, *node_ids: str, on_failure: str | None = None
    ) -> AsyncGenerator[tuple[str, RuntimeData], None]:
        """Yields (node id, data) of the named output nodes, or of all, as they come, until all have ended.

        Each node's outputs are in order. Between nodes there is no order: the answer to a message may be here before
        the message itself, where ``add_output`` shows both. ``on_failure`` is as in ``receive``; after a failure,
        ``outputs()`` anew gives the rest.
        """
        supervisor = self._alive("outputs()")
        check_on_failure(on_failure)
        waiting = {node_id: self._output(node_id) for node_id in node_ids or list(self._wired().outputs)}
        while waiting:
            if supervisor.failure is not None:
                await supervisor.raise_failure()
            self._alive("outputs()")
            progress, live = False, []
            for node_id, subscriber in list(waiting.items()):
                data = subscriber.try_receive() if self._books is None else self._books.take(node_id)
                if data is not None:
                    progress = True
                    yield node_id, data
                elif not self._has_ended(node_id, subscriber):
                    live.append(subscriber)
                elif not self._is_raising(on_failure) or self._unheard.all_are_here(node_id):
                    del waiting[node_id]
            if progress:
                continue
            if self._is_raising(on_failure):
                self._unheard.raise_one(node_ids or self._wired().outputs)
            if waiting and not (live and any_ready_soon(live)):
                # Where all have ended, the word of a failure is still on its way.
                await self._wired().doorbell.wait(partial(self._any_ready, live))

    async def end_input(self, node_id: str | None = None) -> None:
        """Ends the stream into one input node, or all: the nodes drain, finish, and pass the end on.

        ``receive`` then gives the remaining outputs, and None.
        """
        supervisor = self._alive("end_input()")
        wiring = self._wired()
        if node_id is not None and node_id not in wiring.inputs:
            raise PipelineError(self._no_such("input", node_id, list(wiring.inputs)))
        if supervisor.failure is not None:
            await supervisor.raise_failure()
        for name, publisher in wiring.inputs.items():
            if node_id in (None, name):
                publisher.close()

    async def interrupt(
        self, *, from_node: str | Collection[str] | None = None, drop_queued: bool = False
    ) -> Interruption:
        """Drops everything under way: queued messages are gone, and ``process()`` calls in flight are cancelled.

        Returns when every node has acknowledged. Nothing of what was interrupted comes out afterwards; messages
        sent from now on do. A node in the middle of a call that does not await acknowledges when that call returns.

        With ``from_node``, one node or several, the interruption begins there. The calls of these nodes are cancelled,
        and all that was made of what they had been given is dropped, in them and after them. What waits for them stays,
        and comes next; ``drop_queued`` drops that, too. The nodes before them hear nothing of it. Where branches
        meet, what comes by another branch stays, in its order, and so does a call that is at it: such a node
        acknowledges while that call awaits, and its ``on_interrupt()`` follows the call. What a node sends by
        ``emit()`` without ``of``, or from ``finish()``, is taken for made of all that comes before that node.

        What it returns tells what had been delivered of each output and, as far as ``played`` said it, played. It also
        tells of an output that is already here whether it belongs to what was interrupted: see ``provenance``.
        PipelineError for a node that the pipeline does not have, and for a collection that names none.
        """
        supervisor = self._alive("interrupt()")
        if supervisor.failure is not None:
            await supervisor.raise_failure()
        wiring = self._wired()
        cut_nodes = nodes_named(from_node)
        reached = self.pipeline.reached_from(cut_nodes) if cut_nodes else set(self.pipeline.node_ids)
        interruption = wiring.cut(cut_nodes, queues=drop_queued)._replace(heard=self._playback.interrupt(reached))
        self._drop_cut(interruption)  # before any wait: a node in loan() may need this memory to get on
        await supervisor.interrupt(interruption, reached)
        self._drop_cut(interruption)  # and what came meanwhile: what comes next finds its channels empty
        return interruption

    def _drop_cut(self, interruption: Interruption) -> None:
        self._wired().skip_stale()
        if self._books is not None:
            self._books.drop_cut(interruption)

    async def played(self, node_id: str, *, sequence: int | None = None, secs: float | None = None) -> None:
        """Says how far the outputs of this node have been played: up to the message of that ``sequence``, and with it;
        or so many seconds of its audio since the last interruption, or since the session began.

        ``interrupt`` returns it, and each node's ``on_interrupt(report)`` gets it. Does not block. ValueError for what
        was not received; PipelineError for a node whose output the session does not get.
        """
        self._alive("played()")
        self._output(node_id)
        self._playback.play(node_id, sequence, secs)

    def provenance(self, node_id: str) -> Provenance:
        """Where the output of this node comes from that ``receive`` or ``outputs`` gave last.

        Ask before the next one is taken. For those who pass outputs on: with ``was_cut``, or what ``interrupt``
        returns, it tells whether the output was interrupted on its way.
        """
        self._output(node_id)
        return self._wired().provenance(node_id) if self._books is None else self._books.provenance(node_id)

    def was_cut(self, output: Provenance) -> bool:
        """Whether an output was interrupted since it was taken, by the program or by a node."""
        return self._wired().was_cut(output)

    # --- inside ---

    def _in(self, call: str, *allowed: SessionStatus) -> None:
        """SessionStateError unless the session is in one of these states."""
        if self.status not in allowed:
            if self._supervisor is not None and self._supervisor.forked:
                self._supervisor.require_own(call)
            states = " or ".join(status.value for status in allowed)
            raise SessionStateError(
                f"{call} needs a session that is {states}; session {self.session_id!r} is {self.status.value}"
            )

    def _alive(self, call: str) -> Supervisor:
        """The supervisor of a session that runs; SessionStateError otherwise, and on another event loop.

        A failed session also gives its supervisor: the call goes on, to raise the failure itself.
        """
        supervisor = self._supervisor
        if supervisor is not None and self._loop is not asyncio._get_running_loop():
            supervisor.require_own(call)
        if self.status is not SessionStatus.RUNNING:
            failed = supervisor is not None and supervisor.failure is not None
            if not (failed and self.status is SessionStatus.ERROR):
                self._in(call, SessionStatus.RUNNING)
        assert supervisor is not None
        return supervisor

    async def _receive(
        self, supervisor: Supervisor, node_id: str, subscriber: Subscriber, on_failure: str | None
    ) -> RuntimeData | None:
        while True:
            if supervisor.failure is not None:
                await supervisor.raise_failure()
            self._alive("receive()")
            data = subscriber.try_receive() if self._books is None else self._books.take(node_id)
            if data is not None:
                return data
            has_ended, is_raising = self._has_ended(node_id, subscriber), self._is_raising(on_failure)
            if is_raising:
                self._unheard.raise_one((node_id,))
            if has_ended and not (is_raising and not self._unheard.all_are_here(node_id)):
                return None
            if has_ended:  # the word of a failure is still on its way
                await self._wired().doorbell.wait(self._over)
            elif not any_ready_soon((subscriber,)):
                await self._wired().doorbell.wait(lambda: subscriber.ready() or self._over())

    async def _look(self, call: str) -> None:
        """Raises what a call that waits must: the failure of the pipeline, or that the session is over."""
        supervisor = self._alive(call)
        if supervisor.failure is not None:
            await supervisor.raise_failure()

    def _any_ready(self, subscribers: list[Subscriber]) -> bool:
        return self._over() or any(subscriber.ready() for subscriber in subscribers)

    def _has_ended(self, node_id: str, subscriber: Subscriber) -> bool:
        return subscriber.ended if self._books is None else self._books.ended(node_id)

    def _is_raising(self, on_failure: str | None) -> bool:
        """Whether failures are raised. By default they are, unless somebody hears of them in another way."""
        return on_failure == "raise" or (on_failure is None and not self._unheard.is_heard)

    def _has_memory(self, freed: int) -> bool:
        return self._wired().segment.has_memory(freed) or self._over()

    def _over(self) -> bool:
        return self._supervisor is None or self._supervisor.failure is not None

    def _wired(self) -> Wiring:
        if self._wiring is None:
            raise SessionStateError(f"session {self.session_id!r} has no channels before initialize()")
        return self._wiring

    def _input(self, node_id: str) -> Publisher:
        inputs = self._wired().inputs
        if node_id not in inputs:
            raise PipelineError(self._no_such("input", node_id, list(inputs)))
        return inputs[node_id]

    def _output(self, node_id: str) -> Subscriber:
        outputs = self._wired().outputs
        if node_id not in outputs:
            raise PipelineError(self._no_such("output", node_id, list(outputs)))
        return outputs[node_id]

    def _no_such(self, what: str, node_id: str, choices: list[str]) -> str:
        known = ", ".join(choices)
        text = f"node {node_id!r} is not an {what} node of session {self.session_id!r} (those are: {known})"
        if node_id in self.pipeline.node_ids:
            text += f"; pipeline.add_{what}({node_id!r}) makes it one"
        return text


def check_on_failure(on_failure: str | None) -> None:
    """ValueError for anything but ``"raise"``, ``"report"`` and None."""
    if on_failure not in ("raise", "report", None):
        raise ValueError(f"on_failure is {on_failure!r}; it may be 'raise' or 'report'")
