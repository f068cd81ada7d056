"""MultiprocessExecutor: sessions under one configuration (seed ``002``)."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from remotemedia.core.multiprocess.config import MultiprocessConfig
from remotemedia.core.multiprocess.pipeline import Pipeline
from remotemedia.core.multiprocess.session import Session
from remotemedia.errors import MultiprocessError

__all__ = ["MultiprocessExecutor"]


class MultiprocessExecutor:
    """Creates sessions with one configuration and ends them together."""

    def __init__(self, config: MultiprocessConfig | None = None) -> None:
        self.config = config if config is not None else MultiprocessConfig()
        self.sessions: dict[str, Session] = {}

    async def create_session(self, session_id: str, pipeline: Pipeline) -> Session:
        """A running session. Raises like ``Session.initialize``; MultiprocessError when the id is in use."""
        if session_id in self.sessions:
            raise MultiprocessError(f"session {session_id!r} exists already")
        session = Session(session_id, pipeline, self.config)
        self.sessions[session_id] = session
        try:
            await session.initialize()
            await session.start()
        except BaseException:
            self.sessions.pop(session_id, None)  # shutdown() may have been there first
            await session.cleanup()
            raise
        return session

    async def terminate_session(self, session_id: str) -> None:
        """Stops one session and gives back what it had; MultiprocessError when there is none of that id."""
        session = self.sessions.pop(session_id, None)
        if session is None:
            raise MultiprocessError(
                f"no session {session_id!r}; the sessions are: {', '.join(self.sessions) or 'none'}"
            )
        await session.cleanup()

    async def shutdown(self) -> None:
        """Stops every session, all at the same time."""
        sessions, self.sessions = list(self.sessions.values()), {}
        await asyncio.gather(*(session.cleanup() for session in sessions))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.shutdown()
