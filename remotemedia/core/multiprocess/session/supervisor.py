"""The processes of one session: started together, watched through their pidfds, ended together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Iterator, Set
from typing import Any, NoReturn

from remotemedia.core.multiprocess.graph.pipeline import NodeConfig
from remotemedia.core.multiprocess.process.child import Child, Exit
from remotemedia.core.multiprocess.process.control import Message
from remotemedia.core.multiprocess.process.interpreter import why_python_is_unfit
from remotemedia.core.multiprocess.process.memory_limit import MemoryLimit
from remotemedia.core.multiprocess.process.oom import KillWatch
from remotemedia.core.multiprocess.process.spawn import spawn_runner
from remotemedia.core.multiprocess.session.interpreters import Interpreter, other_remotemedia
from remotemedia.core.multiprocess.session.introduction import Introductions
from remotemedia.core.multiprocess.values.config import MultiprocessConfig
from remotemedia.core.multiprocess.values.events import (
    ExitReason,
    NodeFailed,
    ProcessEvent,
    ProcessExited,
    ProcessProgress,
    ProcessReady,
    ProcessStarted,
)
from remotemedia.core.multiprocess.values.interruption import Interruption, heard_to_json
from remotemedia.core.multiprocess.values.logs import about
from remotemedia.core.multiprocess.values.progress import InitProgress
from remotemedia.core.multiprocess.values.protocol import (
    LOADING_STATES,
    Failed,
    Here,
    Interrupt,
    InterruptAsked,
    Interrupted,
    MessageFailed,
    MessageRetried,
    Progress,
    Ready,
    Stop,
    ToNode,
    Unconnected,
    Warned,
    as_json,
    from_node,
    kind_said,
    name_of,
    said_in,
)
from remotemedia.errors import (
    InitializationTimeout,
    MultiprocessError,
    NodeInitializationError,
    NodeProcessError,
    ProcessCrashError,
    ProcessSpawnError,
    SessionStateError,
)

__all__ = ["Supervisor"]

PROGRESS_BEAT_SECS = 1.5
"""A loading node reports at least every two seconds, also on a busy machine (SC-002 of docs/contract.md)."""

CRASH_GRACE_SECS = 1.0
"""How long the other nodes may clean up when one has crashed; pending calls raise once all are gone."""

TERM_GRACE_SECS = 1.0
"""Between SIGTERM and SIGKILL."""

_logger = logging.getLogger("remotemedia.session")

_WROTE_TO_PAYLOAD = (
    "it wrote to a received payload, which is read-only; as_numpy(writable=True) returns an array to write to"
)


class Supervisor:
    """Starts, watches and ends the node processes of a session.

    ``on_failure`` is called once, at the moment a node crashes or breaks the rules. ``failure`` is that error from then
    on; ``failed`` resolves with it when the whole pipeline has been taken down. ``on_error`` gets each failed message,
    ``on_retry`` each failure after which the node gets the message once more,
    ``on_event`` everything that happens to a process, ``on_asked`` the interruptions that nodes ask for.
    """

    def __init__(
        self,
        session_id: str,
        config: MultiprocessConfig,
        introductions: Introductions,
        on_failure: Callable[[MultiprocessError], None],
        on_error: Callable[[NodeProcessError, list[int]], None],
        on_retry: Callable[[NodeProcessError], None],
        on_event: Callable[[ProcessEvent], None],
        on_asked: Callable[[str, InterruptAsked], None],
    ) -> None:
        self._session_id = session_id
        self._config = config
        self._introductions = introductions
        self._on_failure = on_failure
        self._on_error = on_error
        self._on_retry = on_retry
        self._on_event = on_event
        self._on_asked = on_asked
        self._loop = asyncio.get_running_loop()
        self._owner_pid = os.getpid()
        self._progress: dict[str, InitProgress] = {}
        self.on_progress: Callable[[InitProgress], None] = _tell_nobody
        self.wrote_to_payload: Callable[[str], bool] = _did_not
        self._due: dict[str, str] = {}
        self._warnings: dict[str, str] = {}
        self._unconnected: set[str] = set()
        self._all_ready: asyncio.Future[None] = self._loop.create_future()
        self._all_ready.add_done_callback(_retrieve)
        self._acks: dict[int, tuple[set[str], asyncio.Future[None]]] = {}
        self._ending = False
        self._abandoned = False
        self.failure: MultiprocessError | None = None
        self._pythons: dict[str, str] = {}
        self.kills = KillWatch()
        self._teardown: asyncio.Task[None] | None = None
        self.children: dict[str, Child] = {}
        self.failed: asyncio.Future[MultiprocessError] = self._loop.create_future()

    @property
    def ending(self) -> bool:
        """Whether its processes have been asked to end."""
        return self._ending

    @property
    def forked(self) -> bool:
        """Whether this is a forked child: the processes are its parent's."""
        return os.getpid() != self._owner_pid

    def progress(self, node_id: str) -> InitProgress | None:
        """The latest news of a node's start."""
        return self._progress.get(node_id)

    # --- start ---

    def spawn(self, node: NodeConfig, interpreter: Interpreter) -> int:
        """Starts the process of one node; its pid. ProcessSpawnError: it is not running."""
        node_id = node.node_id
        self._pythons[node_id] = interpreter.python
        spawned = spawn_runner(interpreter.python, interpreter.env, node.node_type, node_id, self._session_id)
        try:
            child = Child(self._session_id, node_id, spawned, self._loop)
            try:
                child.limit_memory(MemoryLimit.of(node.memory_limit_bytes, self._config.node_memory_limit_bytes))
                child.control.attach(
                    self._loop,
                    lambda message, _: self._take(node_id, message),
                    lambda error: self._control_ended(child, error),
                )
            except BaseException:
                child.abandon()
                raise
        except OSError as error:
            raise ProcessSpawnError(f"cannot watch the process of node {node_id!r}: {error}") from error
        self.children[node_id] = child
        self._due[node_id] = name_of(Here)
        child.exited.add_done_callback(lambda exited: self._exited(child, exited.result()))
        self._on_event(ProcessStarted(**self._whose(node_id)))
        self._note(InitProgress(node_id, "starting", 0.0))
        return child.pid

    def _introduce(self, node_id: str) -> None:
        """Tells one process what it is, now that it is there: the kernel limits how many may be under way."""
        try:
            hello, fds = self._introductions.hello(node_id)
        except OSError as error:
            self._fail_without_memory(node_id, error)
        else:
            child = self.children[node_id]
            self._due[node_id] = name_of(Unconnected if hello.handover is None else Ready)
            rlimit_bytes = None if child.memory is None else child.memory.rlimit_bytes
            child.control.send(as_json(hello._replace(rlimit_data_bytes=rlimit_bytes)), fds)

    def connect(self) -> None:
        """There are channels now: gives them to the nodes that asked before there were any."""
        while self._unconnected:
            self._connect(self._unconnected.pop())

    def _connect(self, node_id: str) -> None:
        try:
            channels = self._introductions.channels(node_id)
        except OSError as error:
            self._fail_without_memory(node_id, error)
            return
        if channels is None:
            self._unconnected.add(node_id)
        else:
            connect, fds = channels
            self._due[node_id] = name_of(Ready)
            self.children[node_id].control.send(as_json(connect), fds)

    def _fail_without_memory(self, node_id: str, error: OSError) -> None:
        self._fail(ProcessSpawnError(f"node {node_id!r} cannot be given its shared memory: {error}"))

    async def wait_ready(self) -> None:
        """Until every node is ready, at most ``init_timeout_secs`` from now.

        Raises NodeInitializationError, ProcessCrashError or InitializationTimeout once everything is taken down, or
        what ``on_progress`` raises.
        """
        try:
            started = self._loop.time()
            deadline = started + self._config.init_timeout_secs
            while not self._all_ready.done():
                now = self._loop.time()
                if now >= deadline:
                    self._fail(self._too_late())
                    break
                await asyncio.wait({self._all_ready}, timeout=min(PROGRESS_BEAT_SECS, deadline - now))
                if not self._all_ready.done():
                    self._beat(self._loop.time() - started)
            if self.failure is not None:
                await self.wait_failed()
                raise self.failure
            await self._all_ready
        finally:
            self._warn()
            self._introductions.forget()
            self.on_progress = _tell_nobody  # it may know the session, and the event loop knows this object

    def _beat(self, elapsed_secs: float) -> None:
        for progress in list(self._progress.values()):
            if progress.status in LOADING_STATES:
                said = f" ({progress.message})" if progress.message else ""
                again = InitProgress(
                    progress.node_id, progress.status, progress.progress, f"{elapsed_secs:.0f} s so far{said}"
                )
                self._tell(again)

    def _too_late(self) -> InitializationTimeout:
        late = [progress for progress in self._progress.values() if progress.status != "ready"]
        shown = ", ".join(f"{p.node_id!r} ({', '.join(self._how_far(p))})" for p in late)
        return InitializationTimeout(
            f"not ready within {self._config.init_timeout_secs:g} s (init_timeout_secs): {shown}",
            tuple(progress.node_id for progress in late),
        )

    def _how_far(self, progress: InitProgress) -> Iterator[str]:
        """The facts about a late node, piece by piece."""
        yield progress.status
        yield f"{progress.progress * 100:.0f} %"
        if progress.message:
            yield progress.message
        if said := self.children[progress.node_id].last_said:
            yield f"last said: {said}"

    def _note(self, progress: InitProgress) -> None:
        self._progress[progress.node_id] = progress
        if progress.status == "ready":
            self._on_event(ProcessReady(**self._whose(progress.node_id)))
        elif progress.status != "failed":
            self._on_event(ProcessProgress(**self._whose(progress.node_id), progress=progress))
        self._tell(progress)

    def _whose(self, node_id: str) -> dict[str, Any]:
        return {"session_id": self._session_id, "node_id": node_id, "pid": self.children[node_id].pid}

    def _tell(self, progress: InitProgress) -> None:
        try:
            self.on_progress(progress)
        except Exception as error:
            # It is the user's own: initialize() raises it.
            if not self._all_ready.done():
                self._all_ready.set_exception(_as_raised_by_a_coroutine(error))

    # --- while it runs ---

    def broadcast(self, message: ToNode, node_ids: Set[str] | None = None) -> None:
        """Sends a control message to every node, or to these."""
        raw = as_json(message)
        for node_id in self.children if node_ids is None else node_ids:
            self.children[node_id].control.send(raw)

    async def interrupt(self, interruption: Interruption, node_ids: Set[str]) -> None:
        """Tells these nodes of it; returns when all have acknowledged, or the pipeline has failed."""
        epoch, done = interruption.epoch, self._loop.create_future()
        self._acks[epoch] = set(node_ids), done
        try:
            self.broadcast(Interrupt(epoch, interruption.nodes, heard_to_json(interruption.heard)), node_ids)
            await done
        finally:
            del self._acks[epoch]

    def _control_ended(self, child: Child, error: Exception | None) -> None:
        if error is not None:
            why = f"sent a control message that makes no sense: {error!r:.500}"
            self._fail(MultiprocessError(f"node {child.node_id!r} {why}"))
        elif not self._ending:
            child.put_down_if_deserted()

    def _take(self, node_id: str, raw: Message) -> None:
        """A node's message counts for that node alone, and only where it was due. Raises when it makes no sense."""
        kind, status = kind_said(raw), self._progress[node_id].status
        if kind in (Here, Unconnected, Ready):
            if name_of(kind) != self._due[node_id]:
                raise ValueError(f"{name_of(kind)!r}, but {self._due[node_id]} was due")
            self._due[node_id] = "nothing more"
        elif not said_in(kind, status):
            raise ValueError(f"{name_of(kind)!r} from a node that is {status}")
        elif kind is Progress and status not in LOADING_STATES:
            return  # a late word from a thread of the node does not make it loading again
        match from_node(raw):
            case Here(version, abi):
                if differs := other_remotemedia(self._pythons[node_id], version, abi):
                    self._fail(ProcessSpawnError(f"cannot start the process of node {node_id!r}: {differs}"))
                else:
                    self._introduce(node_id)
            case Unconnected():
                self._connect(node_id)
            case Progress() as step:
                self._note(InitProgress(node_id, step.status, step.progress, step.message))
            case Ready():
                self._note(InitProgress(node_id, "ready", 1.0))
                if all(p.status == "ready" for p in self._progress.values()) and not self._all_ready.done():
                    self._all_ready.set_result(None)
            case Warned() as warned:
                self._warnings[node_id] = warned.text
            case Failed() as failed:
                self._take_failed(node_id, failed)
            case MessageFailed() as failed:
                self._take_message_failed(node_id, failed)
            case MessageRetried(reason, traceback, sequence, port):
                self._on_retry(NodeProcessError(node_id, reason, sequence, port, traceback))
            case Interrupted(epoch):
                self._take_interrupted(node_id, epoch)
            case InterruptAsked() as asked:
                self._on_asked(node_id, asked)

    def _take_failed(self, node_id: str, failed: Failed) -> None:
        reason = self._reason(node_id, failed)
        self._note(InitProgress(node_id, "failed", 1.0, reason))
        error = NodeInitializationError(node_id, reason, failed.traceback)
        self._on_event(NodeFailed(**self._whose(node_id), error=error))
        self._fail(error)

    def _take_message_failed(self, node_id: str, failed: MessageFailed) -> None:
        reason = self._reason(node_id, failed)
        error = NodeProcessError(node_id, reason, failed.sequence, failed.port, failed.traceback)
        self._on_event(NodeFailed(**self._whose(node_id), error=error))
        self._on_error(error, failed.turns)

    def _take_interrupted(self, node_id: str, epoch: int) -> None:
        if epoch not in self._acks:
            return
        missing, done = self._acks[epoch]
        missing.discard(node_id)
        if not missing and not done.done():
            done.set_result(None)

    def _warn(self) -> None:
        """Logs the warnings of the nodes, each text once: all nodes of one script send the same.

        Called when all have loaded: their scripts may have truncated the very log file that this goes to.
        """
        for text, node_id in {text: node_id for node_id, text in self._warnings.items()}.items():
            _logger.warning("%s", text, extra=about(self._session_id, node_id))
        self._warnings.clear()

    def _reason(self, node_id: str, failed: Failed | MessageFailed) -> str:
        memory = self.children[node_id].memory
        return memory.explain_error(failed.reason) if memory is not None and failed.out_of_memory else failed.reason

    # --- the end ---

    def _exited(self, child: Child, exit: Exit) -> None:
        self._on_event(_event_of(exit, crashed=not self._ending, **self._whose(child.node_id)))
        if not self._ending:
            self._fail(self._why_it_ended(child, exit))
        elif exit.code != 0 and self.failure is None and not self._abandoned:
            extra = about(self._session_id, child.node_id)
            _logger.warning("node %r ended with %s while the session stopped", child.node_id, exit, extra=extra)

    def _why_it_ended(self, child: Child, exit: Exit) -> MultiprocessError:
        loaded = self._progress[child.node_id].status != "starting"
        if not loaded:  # no code of the user's has run
            unfit = why_python_is_unfit(self._pythons[child.node_id], child.stderr_tail)
            if unfit is not None:
                return ProcessSpawnError(f"cannot start the process of node {child.node_id!r}: {unfit}")
        reason = _reason(child, exit, self.kills, loaded=loaded)
        if exit.signal == signal.SIGSEGV and self.wrote_to_payload(child.node_id):
            reason = _WROTE_TO_PAYLOAD
        return ProcessCrashError(child.node_id, exit.code, exit.signal, child.stderr_tail, self._session_id, reason)

    def _fail(self, error: MultiprocessError) -> None:
        if self._ending:
            return
        self._ending = True
        self.failure = error
        self._teardown = self._loop.create_task(self._take_down(error), name=f"end session {self._session_id}")

    async def _take_down(self, error: MultiprocessError) -> None:
        try:
            self._on_failure(error)
        finally:
            await self._end(CRASH_GRACE_SECS, abort=True)
            self._release_waiters(error)
            if not self.failed.done():
                self.failed.set_result(error)

    def _release_waiters(self, error: MultiprocessError) -> None:
        """Raises ``error`` in the calls that wait for words from the nodes: none will come any more."""
        for _, done in self._acks.values():
            if not done.done():
                done.set_exception(error)
        if not self._all_ready.done():
            self._all_ready.set_exception(error)

    async def wait_failed(self) -> None:
        """Until the taking down that is under way is over."""
        await asyncio.shield(self.failed)

    async def raise_failure(self) -> NoReturn:
        """Raises ``failure`` once everything is taken down. There must be one."""
        await self.wait_failed()
        assert self.failure is not None
        # Without what earlier raises added: it would grow from call to call, and keep their frames alive.
        raise self.failure.with_traceback(None)

    def require_own(self, call: str, *, ending: bool = False) -> None:
        """SessionStateError in a forked child, and on another event loop than that of the processes.

        A call that ends the session may be made in a forked child, where it does nothing, and when the loop is closed.
        """
        if ending and (self.forked or self._loop.is_closed()):
            return
        if self.forked:
            raise SessionStateError(f"{call} in a forked child: session {self._session_id!r} belongs to its parent")
        if self._loop is not asyncio._get_running_loop():
            raise SessionStateError(
                f"{call} was called on another event loop than the one that initialized session {self._session_id!r}"
                + (", which is closed: stop() and cleanup() still work" if self._loop.is_closed() else "")
            )

    async def stop(self, *, abort: bool) -> None:
        """Ends all processes: they drain and clean up within the grace period, then SIGTERM, then SIGKILL. With
        ``abort`` they give up what they do, as after a crash.

        Cancelled, it kills all that are left at once; likewise when its event loop is closed. In a forked child it
        does nothing.
        """
        if self._loop.is_closed() or self.forked:
            self.abandon()
            return
        if self.failure is not None:
            try:
                await self.wait_failed()
            except asyncio.CancelledError:
                self._signal(signal.SIGKILL)
                raise
            return
        self._ending = True
        grace_secs = CRASH_GRACE_SECS if abort else self._config.cleanup_grace_period_secs
        ending = self._loop.create_task(self._end(grace_secs, abort=abort))
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            self._signal(signal.SIGKILL)
            await asyncio.shield(ending)
            raise
        finally:
            self._release_waiters(SessionStateError(f"session {self._session_id!r} was stopped meanwhile"))

    async def _end(self, grace_secs: float, *, abort: bool) -> None:
        await self._end_processes(grace_secs, abort=abort)
        for child in self.children.values():
            if child.memory is not None and child.memory.group is not None:
                await asyncio.to_thread(child.memory.group.remove)

    async def _end_processes(self, grace_secs: float, *, abort: bool) -> None:
        self.broadcast(Stop(abort))
        for number, secs in ((signal.SIGTERM, grace_secs), (signal.SIGKILL, TERM_GRACE_SECS)):
            running = [child.exited for child in self.children.values() if not child.exited.done()]
            if not running:
                return
            _, late = await asyncio.wait(running, timeout=secs)
            if late and not abort:
                names = [child.node_id for child in self.children.values() if not child.exited.done()]
                extra = about(self._session_id)
                _logger.warning("nodes %s did not stop within %g s: %s", names, secs, number.name, extra=extra)
            # A crashed pipeline's stragglers had their grace: no second one.
            self._signal(signal.SIGKILL if abort else number)
            if abort:
                break
        running = [child.exited for child in self.children.values() if not child.exited.done()]
        if running:
            await asyncio.wait(running)

    def kill_elsewhere(self, later: Callable[[], None]) -> bool:
        """Whether another thread is running the event loop: all processes are killed, and ``later`` is called there.

        What the loop watches is that thread's to close; but it may be a daemon thread, and never run again.
        """
        if not self._loop.is_running() or self._loop is asyncio._get_running_loop():
            return False
        self._ending = self._abandoned = True
        with contextlib.suppress(RuntimeError):  # it was closed meanwhile
            self._loop.call_soon_threadsafe(later)
        self._signal(signal.SIGKILL)
        return True

    def _signal(self, number: int) -> None:
        if self.forked:
            return
        for child in self.children.values():
            child.signal_group(number)

    def abandon(self) -> None:
        """Kills and reaps everything without waiting for an event loop. In a forked child it does nothing."""
        if self.forked:
            return
        self._ending = self._abandoned = True
        for child in self.children.values():
            with contextlib.suppress(OSError):
                child.abandon()


def _as_raised_by_a_coroutine(error: Exception) -> Exception:
    """A future refuses StopIteration, which would look like a result to its awaiter."""
    if not isinstance(error, StopIteration):
        return error
    wrapped = RuntimeError("progress_callback raised StopIteration")
    wrapped.__cause__ = error
    return wrapped


def _tell_nobody(progress: InitProgress) -> None:
    pass


def _did_not(node_id: str) -> bool:
    return False


def _reason(child: Child, exit: Exit, kills: KillWatch, *, loaded: bool) -> str:
    """Why a process ended, as far as is known."""
    if exit.code < 0:
        return "its exit code is unknown, for this program ignores SIGCHLD or waits for all children"
    if child.put_down_for and exit.signal == signal.SIGKILL:
        return child.put_down_for
    explained = "" if child.memory is None else child.memory.explain_crash(exit.code, exit.signal, loaded=loaded)
    if exit.signal == signal.SIGKILL and not explained:
        group = None if child.memory is None else child.memory.group
        return kills.explain_kill(None if group is None else group.path)
    if exit.signal == signal.SIGBUS and not explained:
        return "it touched memory that the system has no page for, or a file that was cut short"
    return explained


def _event_of(exit: Exit, **more: Any) -> ProcessExited:
    own = ExitReason.ERROR if exit.code else ExitReason.NORMAL
    reason = own if exit.signal is None else ExitReason.KILLED
    return ProcessExited(reason=reason, exit_code=exit.code, signal=exit.signal, **more)


def _retrieve(future: asyncio.Future[None]) -> None:
    # A waiter raises it; when there is none, asyncio need not complain of it.
    if not future.cancelled():
        future.exception()
