"""Session: a running pipeline, one process per node."""

from __future__ import annotations

import asyncio
import logging
import os
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from remotemedia._event_loop import running_loop
from remotemedia.core.multiprocess.classes.reference import stop_if_loading
from remotemedia.core.multiprocess.graph.pipeline import Pipeline
from remotemedia.core.multiprocess.process.surroundings import remedy_for
from remotemedia.core.multiprocess.session.account import Account
from remotemedia.core.multiprocess.session.asked import AskedInterrupts
from remotemedia.core.multiprocess.session.dropped import abandon, weakly
from remotemedia.core.multiprocess.session.failure_log import FailureLog
from remotemedia.core.multiprocess.session.interpreters import interpreter_of
from remotemedia.core.multiprocess.session.introduction import Introductions
from remotemedia.core.multiprocess.session.playback import Playback
from remotemedia.core.multiprocess.session.status import (
    Metrics,
    SessionStatus,
    StatusReport,
    metrics_of,
    status_of,
)
from remotemedia.core.multiprocess.session.supervisor import Supervisor
from remotemedia.core.multiprocess.session.turns import SessionTurns
from remotemedia.core.multiprocess.session.unheard import UnheardFailures
from remotemedia.core.multiprocess.session.wiring import Wiring
from remotemedia.core.multiprocess.values.config import MultiprocessConfig
from remotemedia.core.multiprocess.values.logs import about
from remotemedia.core.multiprocess.values.progress import InitProgress
from remotemedia.core.multiprocess.values.protocol import Start
from remotemedia.core.multiprocess.values.statistics import ChannelStats, NodeStats
from remotemedia.core.multiprocess.values.totals import Totals
from remotemedia.errors import (
    MultiprocessError,
    NodeProcessError,
    ProcessCrashError,
    ProcessSpawnError,
    ResourceLimitError,
)

if TYPE_CHECKING:
    from remotemedia.core.multiprocess.session.executor import MultiprocessExecutor

__all__ = ["Session"]

_logger = logging.getLogger("remotemedia.session")

ErrorT = TypeVar("ErrorT", bound=MultiprocessError)


class Session(SessionTurns):
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
        if executor is None:
            # Here: an executor makes sessions, and needs this module; only the default one is made for a session.
            from remotemedia.core.multiprocess.session.executor import default_executor

            executor = default_executor()
        self.executor = executor
        self.config = config if config is not None else executor.config
        self.status = SessionStatus.CREATED
        self._roll = executor._roll
        self._introductions = Introductions(self.config)
        self._wiring = None
        self._supervisor = None
        self._account: Account | None = None
        self._loop = None
        self._crash_callbacks: list[Callable[[ProcessCrashError], None]] = []
        self._error_callbacks: list[Callable[[NodeProcessError], None]] = []
        self._drops_reported = False
        self._last_errors: dict[str, str] = {}
        self._failures = FailureLog(session_id)
        self._unheard = UnheardFailures(pipeline)
        self._books = None
        self._playback = Playback({})
        self._asked = AskedInterrupts(self)
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
        self._in("initialize()", SessionStatus.CREATED)
        running_loop("initialize()")
        self.pipeline.validate()
        self._check_limits(len(self.pipeline.nodes))
        for node in self.pipeline.nodes:
            self._introductions.add(node)
        nodes = self.pipeline.nodes
        tell = progress_callback or (lambda progress: None)
        interpreters = [await interpreter_of(node, self.config, len(nodes), tell) for node in nodes]
        self._in("initialize()", SessionStatus.CREATED)  # environments may have been made meanwhile
        supervisor = self._open()
        async with self._becoming_ready(progress_callback):
            try:
                for node, interpreter in zip(nodes, interpreters, strict=True):
                    supervisor.spawn(node, interpreter)
            except BaseException:
                supervisor.abandon()
                raise
            await self._connect(supervisor)

    def _open(self) -> Supervisor:
        """From here on the session has an id of its executor's, and a finalizer that ends its processes."""
        self._roll.admit(self)
        supervisor = Supervisor(
            self.session_id,
            self.config,
            self._introductions,
            weakly(self._failed),
            weakly(self._message_failed),
            weakly(self._failures.message_retried),
            self._roll.bus.emit,
            self._asked.take,
        )
        self.status = SessionStatus.INITIALIZING
        self._supervisor, self._loop = supervisor, asyncio.get_running_loop()
        self._account = Account(self._roll.book, self.pipeline, supervisor)
        # A session that is dropped, or an interpreter that ends, takes its processes along.
        self._finalizer = weakref.finalize(self, abandon, os.getpid(), supervisor, self._account)
        return supervisor

    @asynccontextmanager
    async def _becoming_ready(self, progress_callback: Callable[[InitProgress], None] | None) -> AsyncIterator[None]:
        """Ready when the block has ended; everything is gone again when it raises."""
        assert self._supervisor is not None
        if progress_callback is not None:
            self._supervisor.on_progress = progress_callback
        try:
            yield
            self._in("initialize()", SessionStatus.INITIALIZING)  # another task may have stopped it
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
        self._unheard.connect(wiring)
        self._playback = Playback(wiring.outputs)
        supervisor.kills.warn_of(wiring.size_bytes, len(self.pipeline.nodes), self.session_id)
        assert self._account is not None
        self._account.wire(wiring)
        self._introductions.wire(wiring)
        supervisor.wrote_to_payload = wiring.wrote_to_payload
        supervisor.connect()
        await supervisor.wait_ready()
        wiring.release_originals()

    async def start(self) -> None:
        """Lets the nodes process. SessionStateError unless ``initialize`` has returned, ProcessCrashError when a node
        crashed since."""
        supervisor = self._supervisor
        if self.status is SessionStatus.ERROR and supervisor is not None and supervisor.failure is not None:
            await supervisor.raise_failure()
        self._in("start()", SessionStatus.READY)
        assert supervisor is not None
        supervisor.require_own("start()")
        supervisor.broadcast(Start())
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
                self._roll.forget(self)

    def _is_down(self) -> bool:
        return self._supervisor is None or not any(child.running for child in self._supervisor.children.values())

    async def _bring_down(self, *, abort: bool = False) -> None:
        supervisor, wiring = self._supervisor, self._wiring
        try:
            if supervisor is not None:
                await supervisor.stop(abort=abort)
        finally:
            self._asked.cancel()
            if self._is_down():
                if self._finalizer is not None:
                    self._finalizer.detach()
                self._failures.end()
                if self._account is not None:
                    self._account.close()
                if wiring is not None:
                    self._report_drops(wiring)
                self._roll.release(self)

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

    # --- what happened ---

    def on_process_crash(self, callback: Callable[[ProcessCrashError], None]) -> None:
        """Calls ``callback`` at the moment a node's process is seen to have crashed."""
        self._crash_callbacks.append(callback)

    def on_error(self, callback: Callable[[NodeProcessError], None]) -> None:
        """Calls ``callback`` for each message whose ``process()`` raised.

        Without one, ``receive`` and ``outputs`` raise them, and they are logged: each kind of failure once with its
        traceback, then how often it was repeated.
        """
        self._error_callbacks.append(callback)
        self._unheard.is_heard = True

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

    def totals(self) -> Totals:
        """What it did so far, as ``MultiprocessExecutor.totals`` has it of many. From any thread, at any time."""
        return Totals() if self._account is None else self._account.totals()

    @property
    def pids(self) -> dict[str, int]:
        """The process id of each node that is running."""
        if self._supervisor is None:
            return {}
        return {n: child.pid for n, child in self._supervisor.children.items() if child.running}

    # --- inside ---

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
            callbacks = [*self._crash_callbacks, *self._roll.crash_callbacks]
            self._call("on_process_crash", callbacks, error, error.node_id)

    def _message_failed(self, error: NodeProcessError, turns: list[int]) -> None:
        self._last_errors[error.node_id] = error.reason
        self._unheard.count(error)
        if not (self._books is not None and self._books.failed(turns, error)):
            self._unheard.keep(error)
        if self._wiring is not None:
            self._wiring.doorbell.wake()  # whoever waits for an output may wait in vain
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
