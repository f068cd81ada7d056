"""Session: a running pipeline, one process per node."""

from __future__ import annotations

import asyncio
import logging
import os
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import Enum
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy.typing as npt

from remotemedia._event_loop import running_loop
from remotemedia.core.data import Payload, RuntimeData
from remotemedia.core.multiprocess.channel.form import FORM
from remotemedia.core.multiprocess.channel.subscriber import Subscriber, any_ready_soon
from remotemedia.core.multiprocess.classes.reference import stop_if_loading
from remotemedia.core.multiprocess.graph.pipeline import NodeConfig, Pipeline
from remotemedia.core.multiprocess.process.surroundings import remedy_for
from remotemedia.core.multiprocess.session.dropped import abandon, weakly
from remotemedia.core.multiprocess.session.executor import MultiprocessExecutor, default_executor
from remotemedia.core.multiprocess.session.failure_log import FailureLog
from remotemedia.core.multiprocess.session.introduction import Introductions
from remotemedia.core.multiprocess.session.status import Metrics, StatusReport, metrics_of, status_of
from remotemedia.core.multiprocess.session.supervisor import Supervisor
from remotemedia.core.multiprocess.session.wiring import Wiring
from remotemedia.core.multiprocess.values.config import MultiprocessConfig
from remotemedia.core.multiprocess.values.logs import about
from remotemedia.core.multiprocess.values.progress import InitProgress
from remotemedia.core.multiprocess.values.protocol import Start
from remotemedia.core.multiprocess.values.statistics import ChannelStats, NodeStats
from remotemedia.errors import (
    ChannelClosedError,
    ChannelFullError,
    MultiprocessError,
    NodeProcessError,
    PipelineError,
    ProcessCrashError,
    ProcessSpawnError,
    ResourceLimitError,
    SessionStateError,
)

__all__ = ["Session", "SessionStatus"]

_logger = logging.getLogger("remotemedia.session")

ErrorT = TypeVar("ErrorT", bound=MultiprocessError)


class SessionStatus(Enum):
    """State of a session."""

    CREATED = "created"
    INITIALIZING = "initializing"
    READY = "ready"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    ERROR = "error"


class Session:
    """A pipeline at work. ``async with Session(...)`` initializes and starts it, and cleans up whatever happens.

    A session belongs to the asyncio event loop that initialized it: on another, without one (under trio), and in a
    forked child, a call raises SessionStateError. Once that loop is closed, ``stop`` kills the processes from any loop.
    A forked child ends nothing.
    When a node's process ends on its own, every pending and later call raises ProcessCrashError, once all of the
    session's processes are gone.

    Args:
        session_id: any non-empty str; messages that name no session get it.
        pipeline: the graph; checked here (PipelineError) and again by ``initialize``.
        config: the settings; those of the executor otherwise.
        executor: reports what happens to its processes, and keeps session ids apart; ``default_executor()``
            otherwise.
    """

    def __init__(
        self,
        session_id: str,
        pipeline: Pipeline,
        config: MultiprocessConfig | None = None,
        executor: MultiprocessExecutor | None = None,
    ) -> None:
        if not isinstance(session_id, str) or not session_id or "\0" in session_id:
            raise ValueError(f"session_id must be a non-empty str, not {session_id!r}")
        if not isinstance(pipeline, Pipeline):
            raise TypeError(f"pipeline must be a Pipeline, not {type(pipeline).__name__}")
        self.session_id = session_id
        self.pipeline = pipeline
        self.executor = executor if executor is not None else default_executor()
        self.config = config if config is not None else self.executor.config
        self.status = SessionStatus.CREATED
        self._introductions = Introductions(self.config)
        self._wiring: Wiring | None = None
        self._supervisor: Supervisor | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._crash_callbacks: list[Callable[[ProcessCrashError], None]] = []
        self._error_callbacks: list[Callable[[NodeProcessError], None]] = []
        self._drops_reported = False
        self._last_errors: dict[str, str] = {}
        self._failures = FailureLog(session_id)
        self._finalizer: weakref.finalize[..., Session] | None = None

    # --- life ---

    async def initialize(self, progress_callback: Callable[[InitProgress], None] | None = None) -> None:
        """Starts the processes of all nodes at the same time; returns when every one is ready.

        ``progress_callback`` hears of each step of each node, and of every node that is still loading at least every
        two seconds. Raises PipelineError or ResourceLimitError before anything is started; ProcessSpawnError,
        NodeInitializationError, ProcessCrashError or InitializationTimeout after everything started is gone again, as
        by ``stop(abort=True)``; cancelled, it does the same.
        """
        stop_if_loading()
        self._require("initialize()", SessionStatus.CREATED)
        running_loop("initialize()")
        self.pipeline.validate()
        self._check_limits(len(self.pipeline.nodes))
        for node in self.pipeline.nodes:
            self._introductions.add(node)
        supervisor = self._open()
        async with self._becoming_ready(progress_callback):
            try:
                for node in self.pipeline.nodes:
                    supervisor.spawn(node.node_type, node.node_id, node.memory_limit_bytes)
            except BaseException:
                supervisor.abandon()
                raise
            await self._connect(supervisor)

    async def launch(self, node: NodeConfig) -> int:
        """Adds ``node`` to the pipeline and starts its process, before ``complete``; its pid.

        The process loads its node and waits for its channels. For ``MultiprocessExecutor.execute_node``. Raises
        PipelineError, ResourceLimitError or ProcessSpawnError for this node alone, the session's failure otherwise.
        """
        stop_if_loading()
        self._require("execute_node()", SessionStatus.CREATED, SessionStatus.INITIALIZING)
        running_loop("execute_node()")
        self._require_unwired("execute_node()")
        await self._raise_failure()
        self._check_limits(len(self.pipeline.nodes) + 1)
        self.pipeline.add_node(node.node_type, node.node_id, node.config, memory_limit_bytes=node.memory_limit_bytes)
        try:
            self._introductions.add(self.pipeline.nodes[-1])
            self._refuse_wrong("nodes[")
            return (self._supervisor or self._open()).spawn(node.node_type, node.node_id, node.memory_limit_bytes)
        except MultiprocessError:
            self.pipeline.nodes.pop()
            raise

    def connect(self, from_node: str, from_port: str, to_node: str, to_port: str) -> None:
        """Adds a connection between nodes that were launched, before ``complete``. PipelineError for a wrong name, and
        for what would make a graph that cannot run; then it is not part of the session."""
        self._require("connect_nodes()", SessionStatus.INITIALIZING)
        self._require_unwired("connect_nodes()")
        for node_id in (from_node, to_node):
            if node_id not in self.pipeline.node_ids:
                choices = ", ".join(self.pipeline.node_ids)
                raise PipelineError(f"there is no node {node_id!r} to connect; the nodes are: {choices}")
        self.pipeline.connect(from_node, from_port, to_node, to_port)
        try:
            self._refuse_wrong("connections[")
        except PipelineError:
            self.pipeline.connections.pop()
            raise

    async def complete(self, progress_callback: Callable[[InitProgress], None] | None = None) -> None:
        """Gives the nodes that were launched their channels; returns when every one is ready. Raises like
        ``initialize``."""
        self._require("start_session()", SessionStatus.INITIALIZING)
        self._require_unwired("start_session()")
        await self._raise_failure()
        self.pipeline.validate()
        assert self._supervisor is not None
        async with self._becoming_ready(progress_callback):
            await self._connect(self._supervisor)

    def _open(self) -> Supervisor:
        """From here on the session has an id of its executor's, and a finalizer that ends its processes."""
        self.executor.admit(self)
        supervisor = Supervisor(
            self.session_id,
            self.config,
            self._introductions,
            weakly(self._failed),
            weakly(self._message_failed),
            self.executor.bus.emit,
        )
        self.status = SessionStatus.INITIALIZING
        self._supervisor, self._loop = supervisor, asyncio.get_running_loop()
        # A session that is dropped, or an interpreter that ends, takes its processes along.
        self._finalizer = weakref.finalize(self, abandon, os.getpid(), supervisor, None)
        return supervisor

    @asynccontextmanager
    async def _becoming_ready(self, progress_callback: Callable[[InitProgress], None] | None) -> AsyncIterator[None]:
        """Ready when the block has ended; everything is gone again when it raises."""
        assert self._supervisor is not None
        if progress_callback is not None:
            self._supervisor.on_progress = progress_callback
        try:
            yield
            self._require("initialize()", SessionStatus.INITIALIZING)  # another task may have stopped it
        except BaseException:
            if self.status is SessionStatus.INITIALIZING:  # not stopped by another task meanwhile
                self.status = SessionStatus.ERROR
            await self._bring_down(abort=True)  # nothing was processed: there is nothing to drain
            raise
        self.status = SessionStatus.READY

    async def _connect(self, supervisor: Supervisor) -> None:
        try:
            self._wiring = wiring = Wiring(self.session_id, self.pipeline, self.config)
        except (OSError, MemoryError) as error:
            why = f"{error}{remedy_for(error)}"
            raise ProcessSpawnError(f"session {self.session_id!r} cannot be started: {why}") from error
        supervisor.kills.warn_of(wiring.size_bytes, len(self.pipeline.nodes), self.session_id)
        assert self._finalizer is not None
        self._finalizer.detach()
        self._finalizer = weakref.finalize(self, abandon, os.getpid(), supervisor, wiring)
        self._introductions.wire(wiring)
        supervisor.wrote_to_payload = wiring.wrote_to_payload
        supervisor.connect()
        await supervisor.wait_ready()
        wiring.release_originals()

    async def start(self) -> None:
        """Lets the nodes process. SessionStateError unless ``initialize`` has returned, ProcessCrashError when a node
        crashed since."""
        if self.status is SessionStatus.ERROR:
            await self._raise_failure()
        self._require("start()", SessionStatus.READY)
        assert self._supervisor is not None
        self._supervisor.require_own("start()")
        self._supervisor.broadcast(Start())
        self.status = SessionStatus.RUNNING

    async def stop(self, *, abort: bool = False) -> None:
        """Stops gracefully: the nodes drain what they have, run ``cleanup()`` and exit. May be repeated.

        Outputs not received by now are dropped. A node not gone after ``cleanup_grace_period_secs`` gets SIGTERM,
        then SIGKILL. With ``abort`` nothing is drained: calls of ``process()`` are cancelled, and a node not gone
        after a second gets SIGKILL. Cancelled, it kills at once.
        """
        if self.status in (SessionStatus.CREATED, SessionStatus.STOPPED):
            self.status = SessionStatus.STOPPED
            return
        if self._supervisor is not None:
            self._supervisor.require_own("stop()", ending=True)
        failed = self.status is SessionStatus.ERROR
        self.status = SessionStatus.STOPPING
        if self._wiring is not None:
            self._wiring.close_channels()
            self._wiring.doorbell.wake()
        try:
            await self._bring_down(abort=abort)
        finally:
            # Cancelled twice it may still have processes; the next call goes on from here.
            if self._is_down():
                self.status = SessionStatus.ERROR if failed else SessionStatus.STOPPED

    async def cleanup(self, *, abort: bool = False) -> None:
        """Stops and gives everything back: processes, descriptors, shared memory. May be repeated."""
        try:
            await self.stop(abort=abort)
            self.status = SessionStatus.STOPPED
        finally:
            if self._is_down():
                self.executor.forget(self)

    def _is_down(self) -> bool:
        return self._supervisor is None or not any(child.running for child in self._supervisor.children.values())

    async def _bring_down(self, *, abort: bool = False) -> None:
        supervisor, wiring = self._supervisor, self._wiring
        try:
            if supervisor is not None:
                await supervisor.stop(abort=abort)
        finally:
            if self._is_down():
                if self._finalizer is not None:
                    self._finalizer.detach()
                self._failures.end()
                if wiring is not None:
                    wiring.close()
                    self._report_drops(wiring)
                self.executor.release(self)

    def _report_drops(self, wiring: Wiring) -> None:
        dropped = {stats.name: stats.drops for stats in wiring.channel_stats() if stats.drops}
        if dropped and not self._drops_reported:
            self._drops_reported = True
            _logger.warning(
                "session %r: messages dropped because a channel was full (enable_backpressure is off): %s",
                self.session_id,
                ", ".join(f"{count} in {name!r}" for name, count in dropped.items()),
                extra=about(self.session_id),
            )

    async def __aenter__(self) -> Self:
        await self.initialize()
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cleanup()

    # --- data ---

    async def send(self, node_id: str, data: RuntimeData | Payload, port: str = "") -> None:
        """Sends ``data`` to an input node; it arrives with ``data.port == port``.

        Without a port it is ``Pipeline.input_port``. A str can be sent where the node declares TEXT, an array or
        bytes where it declares TENSOR and nothing else that could be meant; elsewhere, TypeError says how to make a
        message. Waits while the channel is full; with ``enable_backpressure=False`` raises ChannelFullError instead. An
        ordinary array is copied once, into shared memory. Raises ProcessCrashError when the pipeline crashed,
        PipelineError for a node that takes no input from the session or declares no such port, SessionStateError before
        ``start`` and after ``stop``, ChannelClosedError after ``end_input``.
        """
        self._require_running("send()")
        wiring = self._wired()
        publisher = wiring.inputs.get(node_id)
        if publisher is None:
            raise PipelineError(self._no_such("input", node_id, list(wiring.inputs)))
        if port:
            self.pipeline.check_input_port(node_id, port)
        await self._raise_failure()
        epoch = wiring.segment.epoch
        try:
            # The ring refuses anything but a message, so messages pay nothing for the check.
            if publisher.offer(data, epoch=epoch, port=port):  # type: ignore[arg-type]
                return
            if not self.config.enable_backpressure:
                publisher.drop()
                raise ChannelFullError(
                    f"channel {publisher.channel_name!r} or its payload pool is full (room for {publisher.capacity} "
                    f"messages, {wiring.segment.pool_bytes} bytes) and enable_backpressure is off"
                )
            await publisher.publish_async(data, epoch=epoch, port=port)  # type: ignore[arg-type]
            return
        except ChannelClosedError:
            await self._raise_failure()
            self._require_running("send()")
            raise
        except TypeError:
            if isinstance(data, RuntimeData):
                raise
        await self.send(node_id, self.pipeline.as_message(node_id, data, port), port)

    async def loan(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """A writable array in shared memory; sending it moves a header, not bytes.

        Its contents are undefined. Sent, it is read-only; dropped unsent, its memory is free again. Waits while payload
        memory is full; PayloadError when there never could be room. Otherwise raises like ``send``.
        """
        segment = self._wired().segment
        while True:
            self._require_running("loan()")
            await self._raise_failure()
            freed = segment.freed
            array = segment.try_loan(shape, dtype, FORM)
            if array is not None:
                return array
            segment.begin_memory_wait()
            try:
                await self._wired().doorbell.wait(partial(self._has_memory, freed))
            finally:
                segment.end_memory_wait()

    async def receive(self, node_id: str, timeout: float | None = None) -> RuntimeData | None:
        """The next output of an output node; None at the end of the stream.

        Arrays are read-only views into shared memory. Raises TimeoutError after ``timeout`` seconds, ProcessCrashError
        when the pipeline crashed, PipelineError for a node whose output the session does not get. Cancelled, it has
        taken nothing.
        """
        self._require_running("receive()")
        subscriber = self._output(node_id)
        if timeout is None:
            return await self._receive(subscriber)
        async with asyncio.timeout(timeout):
            return await self._receive(subscriber)

    async def outputs(self, *node_ids: str) -> AsyncGenerator[tuple[str, RuntimeData], None]:
        """Yields (node id, data) of the named output nodes, or of all, as they come, until all have ended.

        Each node's outputs are in order. Between nodes there is no order: the answer to a message may be here before
        the message itself, where ``add_output`` shows both.
        """
        self._require_running("outputs()")
        waiting = {node_id: self._output(node_id) for node_id in node_ids or list(self._wired().outputs)}
        while waiting:
            await self._raise_failure()
            self._require_running("outputs()")
            progress = False
            for node_id, subscriber in list(waiting.items()):
                data = subscriber.try_receive()
                if data is not None:
                    progress = True
                    yield node_id, data
                elif subscriber.ended:
                    del waiting[node_id]
            if waiting and not progress and not any_ready_soon(waiting.values()):
                await self._wired().doorbell.wait(lambda: any(s.ready() for s in waiting.values()) or self._over())

    async def end_input(self, node_id: str | None = None) -> None:
        """Ends the stream into one input node, or all: the nodes drain, finish, and pass the end on.

        ``receive`` then gives the remaining outputs, and None.
        """
        self._require_running("end_input()")
        wiring = self._wired()
        if node_id is not None and node_id not in wiring.inputs:
            raise PipelineError(self._no_such("input", node_id, list(wiring.inputs)))
        await self._raise_failure()
        for name, publisher in wiring.inputs.items():
            if node_id in (None, name):
                publisher.close()

    async def interrupt(self) -> None:
        """Drops everything under way: queued messages are gone, and ``process()`` calls in flight are cancelled.

        Returns when every node has acknowledged. Nothing of the old turn comes out afterwards; messages sent from now
        on are the new turn. A node in the middle of a call that does not await acknowledges when that call returns.
        """
        self._require_running("interrupt()")
        assert self._supervisor is not None
        await self._raise_failure()
        wiring = self._wired()
        epoch = wiring.segment.next_epoch()
        wiring.skip_stale()  # before any wait: a node in loan() may need this memory to get on
        await self._supervisor.interrupt(epoch)
        wiring.skip_stale()  # and what came meanwhile: the new turn finds its channels empty

    # --- what happened ---

    def on_process_crash(self, callback: Callable[[ProcessCrashError], None]) -> None:
        """Calls ``callback`` at the moment a node's process is seen to have crashed."""
        self._crash_callbacks.append(callback)

    def on_error(self, callback: Callable[[NodeProcessError], None]) -> None:
        """Calls ``callback`` for each message whose ``process()`` raised.

        Without one they are logged: each kind of failure once with its traceback, then how often it was repeated.
        """
        self._error_callbacks.append(callback)

    def get_status(self) -> StatusReport:
        """What each node does now, and what went wrong last. From any thread, at any time, even after ``cleanup``."""
        return status_of(self.session_id, self.status, self.pipeline, self._supervisor, self._wiring, self._last_errors)

    def get_metrics(self) -> Metrics:
        """Memory, processor time and latencies. From any thread, at any time; reads a few files of /proc per node.

        OSError when the program has no descriptor left for that.
        """
        return metrics_of(self.session_id, self.pipeline, self._supervisor, self._wiring)

    def get_channel_stats(self, name: str) -> ChannelStats:
        """Counters of one channel, such as ``"asr_to_tts"``; KeyError lists the names. Also works after ``cleanup``."""
        found = {stats.name: stats for stats in self.channel_stats()}
        if name not in found:
            raise KeyError(f"no channel {name!r}; the channels are: {', '.join(found)}")
        return found[name]

    def channel_stats(self) -> list[ChannelStats]:
        """Counters of every channel, in the order of the graph."""
        return self._wired().channel_stats()

    def node_stats(self) -> list[NodeStats]:
        """Counters of every node, in the order they were added."""
        return self._wired().node_stats()

    @property
    def pids(self) -> dict[str, int]:
        """The process id of each node that is running."""
        if self._supervisor is None:
            return {}
        return {n: child.pid for n, child in self._supervisor.children.items() if child.running}

    # --- inside ---

    async def _receive(self, subscriber: Subscriber) -> RuntimeData | None:
        while True:
            await self._raise_failure()
            self._require_running("receive()")
            data = subscriber.try_receive()
            if data is not None or subscriber.ended:
                return data
            if not any_ready_soon((subscriber,)):
                await self._wired().doorbell.wait(lambda: subscriber.ready() or self._over())

    def _has_memory(self, freed: int) -> bool:
        return self._wired().segment.has_memory(freed) or self._over()

    def _over(self) -> bool:
        return self._supervisor is None or self._supervisor.failure is not None

    async def _raise_failure(self) -> None:
        if self._supervisor is not None and self._supervisor.failure is not None:
            await self._supervisor.wait_failed()
            # Without what earlier raises added: it would grow from call to call, and keep their frames alive.
            raise self._supervisor.failure.with_traceback(None)

    def _failed(self, error: MultiprocessError) -> None:
        if self.status is not SessionStatus.INITIALIZING:
            self.status = SessionStatus.ERROR
        if self._wiring is not None:
            # Waiters look again and find the failure. A sender waits for room that will not come: closing wakes it.
            for publisher in self._wiring.inputs.values():
                publisher.close()
            self._wiring.doorbell.wake()
        if isinstance(error, ProcessCrashError):
            # As text: a log record that is kept need not keep the session alive through the error's traceback.
            self._failures.end(error.node_id)
            extra = about(self.session_id, error.node_id)
            _logger.error("session %r: %s", self.session_id, str(error), extra=extra)
            callbacks = [*self._crash_callbacks, *self.executor.crash_callbacks]
            self._call("on_process_crash", callbacks, error, error.node_id)

    def _message_failed(self, error: NodeProcessError) -> None:
        self._last_errors[error.node_id] = error.reason
        if not self._error_callbacks:
            self._failures.message_failed(error)
        self._call("on_error", self._error_callbacks, error, error.node_id)

    def _call(self, name: str, callbacks: list[Callable[[ErrorT], None]], error: ErrorT, node_id: str) -> None:
        for callback in callbacks:
            try:
                callback(error)
            except (Exception, asyncio.CancelledError) as failure:
                self._failures.callback_failed(node_id, name, failure)

    def _check_limits(self, processes: int) -> None:
        limit = self.config.max_processes_per_session
        if limit is not None and processes > limit:
            raise ResourceLimitError(f"the pipeline has {processes} nodes; max_processes_per_session is {limit}")

    def _require(self, call: str, *allowed: SessionStatus) -> None:
        if self.status not in allowed:
            if self._supervisor is not None and self._supervisor.forked:
                self._supervisor.require_own(call)
            states = " or ".join(status.value for status in allowed)
            raise SessionStateError(
                f"{call} needs a session that is {states}; session {self.session_id!r} is {self.status.value}"
            )

    def _refuse_wrong(self, part: str) -> None:
        # The earlier parts were right, so the newest is wrong.
        for problem in self.pipeline.find_problems():
            if problem.place.startswith(part):
                raise PipelineError(problem.message)

    def _require_unwired(self, call: str) -> None:
        # The channels are made for the graph as it is then; in a session that failed, report the failure.
        if self._wiring is not None and not self._over():
            raise SessionStateError(f"{call} comes too late: session {self.session_id!r} is being started already")

    def _require_running(self, call: str) -> None:
        if self._supervisor is not None and self._loop is not asyncio._get_running_loop():
            self._supervisor.require_own(call)
        # A failed session lets the call go on to raise the failure itself.
        failed = self._supervisor is not None and self._supervisor.failure is not None
        if not (failed and self.status is SessionStatus.ERROR):
            self._require(call, SessionStatus.RUNNING)

    def _wired(self) -> Wiring:
        if self._wiring is None:
            raise SessionStateError(f"session {self.session_id!r} has no channels before initialize()")
        return self._wiring

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
