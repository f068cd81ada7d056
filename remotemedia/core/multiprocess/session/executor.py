"""MultiprocessExecutor: many sessions, each on its own, with one place to hear of them all."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from remotemedia.core.multiprocess.graph.pipeline import NodeConfig, Pipeline
from remotemedia.core.multiprocess.process.spawn import find_python
from remotemedia.core.multiprocess.process.surroundings import check_surroundings
from remotemedia.core.multiprocess.session.by_node import complete, connect, launch
from remotemedia.core.multiprocess.session.roll import Roll
from remotemedia.core.multiprocess.session.session import Session
from remotemedia.core.multiprocess.values.config import MultiprocessConfig
from remotemedia.core.multiprocess.values.events import DEFAULT_BACKLOG, EventStream
from remotemedia.core.multiprocess.values.progress import InitProgress
from remotemedia.core.multiprocess.values.totals import Totals
from remotemedia.errors import MultiprocessError, ProcessCrashError, SessionStateError

__all__ = ["MultiprocessExecutor", "NodeHandle", "default_executor"]

DEFAULT_SESSION = "default"
"""The session of nodes that are executed without naming one."""


@dataclass(frozen=True)
class NodeHandle:
    """A node that ``execute_node`` has started.

    Attributes:
        node_type, node_id: as given.
        process_id: of the process it lives in.
        session: the session it is part of; it can send and receive once ``start_session`` has returned.
    """

    node_type: str
    node_id: str
    process_id: int
    session: Session


class MultiprocessExecutor:
    """Creates sessions with one configuration, reports what happens to their processes, and ends them together.

    Sessions share nothing but this object: each has processes, shared memory and channels of its own, so that one that
    crashes, stops, or is slow does not touch another.

    Args:
        config: the settings of sessions that bring none; the defaults of MultiprocessConfig otherwise.
    """

    def __init__(self, config: MultiprocessConfig | None = None) -> None:
        self.config = config if config is not None else MultiprocessConfig()
        self._roll = Roll()
        self._shut_down = False

    @property
    def sessions(self) -> dict[str, Session]:
        """The sessions there are, by id, the oldest first; a copy. From any thread."""
        return self._roll.sessions

    async def initialize(self) -> None:
        """Checks what every session needs; ProcessSpawnError without a Python, or if the system denies nodes something
        that they need. May be repeated, and left out."""
        self._require_open("initialize()")
        check_surroundings()
        find_python(self.config.python_executable, self.config.venv_path)

    # --- whole pipelines ---

    async def create_session(
        self,
        session_id: str,
        pipeline: Pipeline,
        config: MultiprocessConfig | None = None,
        progress_callback: Callable[[InitProgress], None] | None = None,
    ) -> Session:
        """A running session. Raises like ``Session.initialize``; MultiprocessError when the id is in use.

        ``config`` replaces the executor's own.
        """
        session = self._make(session_id, pipeline, config)
        try:
            await session.initialize(progress_callback)
            await session.start()
        except BaseException:
            await session.cleanup(abort=True)
            raise
        return session

    async def terminate_session(self, session_id: str, *, abort: bool = False) -> None:
        """Stops one session and releases what it had; MultiprocessError if there is none with that id.

        With ``abort`` nothing is drained, as with ``Session.stop(abort=True)``: for a caller that has hung up. It also
        cuts short a termination under way.
        """
        await self._find(session_id).cleanup(abort=abort)

    async def shutdown(self, *, abort: bool = False) -> None:
        """Stops every session that this executor made, all at the same time, and ends its event streams.

        With ``abort`` nothing is drained. SessionStateError when one belongs to another event loop that still runs; the
        others are stopped all the same.
        """
        self._shut_down = True
        try:
            # Those that are already being ended are waited for as well.
            ends = [session.cleanup(abort=abort) for session in self._roll.made.values()]
            # Without sessions no asyncio event loop is needed, and there may be none.
            for error in await asyncio.gather(*ends, return_exceptions=True) if ends else ():
                if error is not None:
                    raise error
        finally:
            self._roll.bus.end()

    # --- node by node ---

    async def execute_node(
        self,
        node_type: str,
        node_id: str,
        config: dict[str, Any] | None = None,
        *,
        session_id: str = DEFAULT_SESSION,
        memory_limit_bytes: int | None = None,
        python: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        retries: int = 0,
        failure_marks: bool = False,
    ) -> NodeHandle:
        """Starts one node's process at once; it loads while more nodes are executed and connected.

        The first node makes the session, ``start_session`` completes it. Raises PipelineError for a wrong type, id or
        config, ResourceLimitError, ProcessSpawnError: then this node is not part of the session; or what made the
        session fail meanwhile.
        """
        session = self._roll.made.get(session_id)
        new = session is None
        if session is None:
            session = self._make(session_id, Pipeline(), None)
        try:
            own = (memory_limit_bytes, python, {} if env is None else env, retries, failure_marks)
            pid = await launch(session, NodeConfig(node_type, node_id, {} if config is None else config, *own))
        except BaseException:
            if new:
                await session.cleanup(abort=True)
            raise
        return NodeHandle(node_type, node_id, pid, session)

    async def connect_nodes(
        self, from_node: str, from_port: str, to_node: str, to_port: str, *, session_id: str = DEFAULT_SESSION
    ) -> None:
        """Connects two nodes of a session that ``start_session`` has not completed.

        PipelineError for a wrong node or port, data that do not fit, or a cycle: then it is not part of the session.
        """
        connect(self._find(session_id), from_node, from_port, to_node, to_port)

    async def start_session(
        self,
        session_id: str = DEFAULT_SESSION,
        progress_callback: Callable[[InitProgress], None] | None = None,
    ) -> Session:
        """Gives the executed nodes their channels, and lets them process once all are ready.

        Raises PipelineError, and then more can be connected; or like ``Session.initialize``.
        """
        session = self._find(session_id)
        await complete(session, progress_callback)
        await session.start()
        return session

    # --- what happens ---

    def events(self, backlog: int = DEFAULT_BACKLOG) -> EventStream:
        """The events from now on of every process of every session, for ``async for``.

        A listener that is ``backlog`` events behind loses later ones, and gets EventsLost in their place.
        RuntimeError without a running event loop.
        """
        if not isinstance(backlog, int) or backlog < 1:
            raise ValueError(f"backlog must be a positive number of events, not {backlog!r}")
        return self._roll.bus.stream(backlog)

    def on_process_crash(self, callback: Callable[[ProcessCrashError], None]) -> None:
        """Calls ``callback`` when a process of any session has crashed; the error names session and node."""
        self._roll.crash_callbacks.append(callback)

    def totals(self) -> Totals:
        """What all of its sessions did, those that have ended included. From any thread, at any time."""
        return self._roll.book.totals()

    # --- inside ---

    def _make(self, session_id: str, pipeline: Pipeline, config: MultiprocessConfig | None) -> Session:
        self._require_open("create_session()")
        session = Session(session_id, pipeline, config, self)
        self._roll.keep(session)
        return session

    def _find(self, session_id: str) -> Session:
        sessions = self.sessions
        if session_id not in sessions:
            raise MultiprocessError(f"no session {session_id!r}; the sessions are: {', '.join(sessions) or 'none'}")
        return sessions[session_id]

    def _require_open(self, call: str) -> None:
        if self._shut_down:
            raise SessionStateError(f"{call} needs an executor that is not shut down")

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.shutdown()


_default: MultiprocessExecutor | None = None


def default_executor() -> MultiprocessExecutor:
    """The executor of sessions that are made without one: the same for the whole process."""
    global _default
    if _default is None:
        _default = MultiprocessExecutor()
    return _default


def _forget_default() -> None:
    """For a forked child: the sessions are its parent's, and a thread of the parent's may hold the lock for ever."""
    global _default
    _default = None


os.register_at_fork(after_in_child=_forget_default)
