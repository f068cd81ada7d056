"""The events of node processes, as objects, and how they reach any number of listeners."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from time import time
from typing import Self

from remotemedia._event_loop import running_loop
from remotemedia.core.multiprocess.values.progress import InitProgress
from remotemedia.errors import NodeInitializationError, NodeProcessError

__all__ = [
    "EventBus",
    "EventStream",
    "EventsLost",
    "ExitReason",
    "NodeFailed",
    "ProcessEvent",
    "ProcessExited",
    "ProcessProgress",
    "ProcessReady",
    "ProcessStarted",
]

DEFAULT_BACKLOG = 10_000


@dataclass(frozen=True, kw_only=True)
class ProcessEvent:
    """What all events have.

    Attributes:
        session_id, node_id: whose process it is; both empty in EventsLost.
        pid: its process id; 0 in EventsLost.
        timestamp: Unix time in seconds.
    """

    session_id: str
    node_id: str
    pid: int
    timestamp: float = field(default_factory=time)


@dataclass(frozen=True, kw_only=True)
class ProcessStarted(ProcessEvent):
    """The process is there; it loads its node now."""


@dataclass(frozen=True, kw_only=True)
class ProcessProgress(ProcessEvent):
    """The node is a step further on its way to ready."""

    progress: InitProgress


@dataclass(frozen=True, kw_only=True)
class ProcessReady(ProcessEvent):
    """The node has loaded and is connected."""


@dataclass(frozen=True, kw_only=True)
class NodeFailed(ProcessEvent):
    """The node could not be initialized, or ``process()`` raised for one message."""

    error: NodeInitializationError | NodeProcessError


class ExitReason(Enum):
    """How a process ended."""

    NORMAL = "normal"
    ERROR = "error"
    KILLED = "killed"


@dataclass(frozen=True, kw_only=True)
class ProcessExited(ProcessEvent):
    """The process is gone and reaped.

    Attributes:
        reason: normal is exit code 0; killed is a signal.
        exit_code: 128 + the signal's number after a signal; -1 when somebody else reaped the process.
        signal: the signal, or None.
        crashed: whether nobody had asked it to end; ``on_process_crash`` hears of it then.
    """

    reason: ExitReason
    exit_code: int
    signal: int | None
    crashed: bool


@dataclass(frozen=True, kw_only=True)
class EventsLost(ProcessEvent):
    """The listener was too slow: ``count`` events came that it had no room for. They were the ones right here."""

    count: int


class EventStream:
    """The events from its making on, for one ``async for`` on the event loop it was made on.

    It ends when the executor shuts down, or with ``close()``.
    """

    def __init__(self, bus: EventBus, backlog: int) -> None:
        self._bus = bus
        self.loop = running_loop("events()", RuntimeError)
        self._backlog = backlog
        self._events: deque[ProcessEvent] = deque()
        self._lost = 0
        self._ended = False
        self._arrival = asyncio.Event()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ProcessEvent:
        while not self._events and not self._lost:
            if self._ended:
                raise StopAsyncIteration
            self._arrival.clear()
            await self._arrival.wait()
        if self._events:
            return self._events.popleft()
        # Lost after all that is kept: while there is no room, the newest gives way.
        lost, self._lost = self._lost, 0
        return EventsLost(session_id="", node_id="", pid=0, count=lost)

    def close(self) -> None:
        """Hears no more; events already here can still be read."""
        self._bus.remove(self)
        self.end()

    def put(self, event: ProcessEvent) -> None:
        """For the bus; on the stream's own event loop."""
        if self._lost or len(self._events) >= self._backlog:
            self._lost += 1
        else:
            self._events.append(event)
        self._arrival.set()

    def end(self) -> None:
        """For the bus; on the stream's own event loop."""
        self._ended = True
        self._arrival.set()


class EventBus:
    """Hands every event to every stream; from any thread and event loop."""

    def __init__(self) -> None:
        self._streams: weakref.WeakSet[EventStream] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._ended = False

    def stream(self, backlog: int) -> EventStream:
        """A new listener. RuntimeError without a running event loop."""
        stream = EventStream(self, backlog)
        with self._lock:
            if self._ended:
                stream.end()
            else:
                self._streams.add(stream)
        return stream

    def remove(self, stream: EventStream) -> None:
        """No more events for this one."""
        with self._lock:
            self._streams.discard(stream)

    def emit(self, event: ProcessEvent) -> None:
        """Does not block."""
        for stream in self._listening():
            _call(stream, stream.put, event)

    def end(self) -> None:
        """Ends every stream after what it has, and those that are still to be made."""
        with self._lock:
            self._ended = True
        for stream in self._listening():
            self.remove(stream)
            _call(stream, stream.end)

    def _listening(self) -> list[EventStream]:
        with self._lock:
            return list(self._streams)


def _call(stream: EventStream, method: Callable[..., None], *arguments: ProcessEvent) -> None:
    try:
        here = asyncio.get_running_loop() is stream.loop
    except RuntimeError:
        here = False
    if here:
        method(*arguments)
    else:
        with contextlib.suppress(RuntimeError):  # its event loop is closed: nobody listens there
            stream.loop.call_soon_threadsafe(method, *arguments)
