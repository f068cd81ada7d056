"""The roll of an executor: its sessions, and the listeners to what happens to them."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from remotemedia.core.multiprocess.session.account import Book
from remotemedia.core.multiprocess.values.events import EventBus
from remotemedia.errors import MultiprocessError, ProcessCrashError

if TYPE_CHECKING:
    from remotemedia.core.multiprocess.session.session import Session

__all__ = ["Roll"]


class Roll:
    """One executor's. No two sessions on it have the same id.

    Attributes:
        bus: takes what happens to every process.
        book: keeps what they did.
        crash_callbacks: called with each crash of a process, after the session's own.
    """

    def __init__(self) -> None:
        self.bus = EventBus()
        self.book = Book()
        self.crash_callbacks: list[Callable[[ProcessCrashError], None]] = []
        # Every session with processes, so that ids differ; and those the executor made, which live until it ends them.
        # The first may be read by any thread, an exporter of metrics for one.
        self._lock = threading.Lock()
        self._admitted: weakref.WeakValueDictionary[str, Session] = weakref.WeakValueDictionary()
        self._made: dict[str, Session] = {}

    @property
    def sessions(self) -> dict[str, Session]:
        """All of them, by id, the oldest first; a copy. From any thread."""
        with self._lock:
            # items() holds each session; by its keys alone one could be collected between the key and the look.
            return {**self._made, **dict(self._admitted.items())}

    @property
    def made(self) -> dict[str, Session]:
        """Those that the executor made, by id; a copy."""
        return self._made.copy()

    def keep(self, session: Session) -> None:
        """The executor made it, and keeps it until ``forget``. MultiprocessError when another has its id."""
        with self._lock:
            self._refuse_double(session)
            self._made[session.session_id] = session

    def admit(self, session: Session) -> None:
        """A session is about to have processes. MultiprocessError when another has its id."""
        with self._lock:
            self._refuse_double(session)
            self._admitted[session.session_id] = session

    def release(self, session: Session) -> None:
        """Its processes are gone."""
        with self._lock:
            if self._admitted.get(session.session_id) is session:
                del self._admitted[session.session_id]

    def forget(self, session: Session) -> None:
        """It is over: its id may be another's now."""
        self.release(session)
        with self._lock:
            if self._made.get(session.session_id) is session:
                del self._made[session.session_id]

    def _refuse_double(self, session: Session) -> None:
        for known in (self._admitted.get(session.session_id), self._made.get(session.session_id)):
            if known is not None and known is not session:
                raise MultiprocessError(f"session {session.session_id!r} exists already")
