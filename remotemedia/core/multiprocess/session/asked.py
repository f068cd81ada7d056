"""What nodes ask their session for: an interruption that begins at another node."""

from __future__ import annotations

import asyncio
import weakref

from remotemedia.core.multiprocess.session.flow import SessionFlow
from remotemedia.core.multiprocess.values.protocol import InterruptAnswered, InterruptAsked
from remotemedia.errors import MultiprocessError, PipelineError

__all__ = ["AskedInterrupts"]


class AskedInterrupts:
    """Carries out what nodes ask for, a task for each; ``cancel`` ends those that are under way.

    The event loop knows it, so it keeps its session alive only while one is under way.
    """

    def __init__(self, session: SessionFlow) -> None:
        self._session = weakref.ref(session)
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, node_id: str, asked: InterruptAsked) -> None:
        """Begins what a node asked for; it is answered when that is done, or cannot be."""
        task = asyncio.create_task(self._carry_out(node_id, asked), name=f"interruption asked for by {node_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel(self) -> None:
        """Nobody waits for an answer any more."""
        for task in self._tasks:
            task.cancel()

    async def _carry_out(self, node_id: str, asked: InterruptAsked) -> None:
        why = ""
        if (session := self._session()) is None:
            return
        try:
            _check(session, node_id, asked.from_nodes)
            await session.interrupt(from_node=asked.from_nodes, drop_queued=asked.drop_queued)
        except MultiprocessError as error:  # of the request, or of a session that ends
            why = str(error)
        if session._supervisor is not None:
            session._supervisor.broadcast(InterruptAnswered(asked.number, why), {node_id})


def _check(session: SessionFlow, node_id: str, from_nodes: list[str]) -> None:
    if not from_nodes:
        raise PipelineError("interrupt() of a node needs from_node: a node interrupts others, not the whole session")
    if node_id in session.pipeline.reached_from(from_nodes):
        named = ", ".join(map(repr, from_nodes))
        raise PipelineError(
            f"interrupt(): an interruption from {named} on would reach node {node_id!r}, which asks for it"
        )
