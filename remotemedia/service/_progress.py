"""What loading nodes say, on its way to the client."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import remotemedia_v1_pb2 as pb

from remotemedia.core.multiprocessing import InitProgress
from remotemedia.service._errors import sendable

__all__ = ["STATUS_NODE", "Progress"]

STATUS_NODE = "_status"
"""The node that older servers say progress is a result of."""

_BACKLOG = 1000


class Progress:
    """Sends what ``tell`` gets, in order; if a client does not read, the oldest are lost.

    ``as_results``: also as results, in the way of older servers.
    """

    def __init__(self, send: Callable[[pb.StreamResponse], Awaitable[None]], as_results: bool) -> None:
        self._send = send
        self._as_results = as_results
        self._said: deque[InitProgress] = deque(maxlen=_BACKLOG)
        self._news = asyncio.Event()
        self._done = False
        self._task: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def told(self) -> AsyncIterator[None]:
        """The time in which it sends."""
        self._task = asyncio.create_task(self._send_all())
        try:
            yield
        finally:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def tell(self, progress: InitProgress) -> None:
        """Does not wait."""
        self._said.append(progress)
        self._news.set()

    async def finish(self) -> None:
        """Waits until all of it is sent. Nothing is sent afterwards."""
        assert self._task is not None
        self._done = True
        self._news.set()
        await self._task

    async def _send_all(self) -> None:
        while self._said or not self._done:
            if not self._said:
                self._news.clear()
                await self._news.wait()
                continue
            said = self._said.popleft()
            message = sendable(said.message or "")
            progress = pb.InitProgress(
                node_id=said.node_id, status=said.status, progress=said.progress, message=message
            )
            await self._send(pb.StreamResponse(init_progress=progress))
            if self._as_results:
                text = f"[{said.node_id}] status={said.status} message={message}"
                buffer = pb.DataBuffer(text=pb.TextBuffer(text_data=text.encode(), encoding="utf-8"))
                await self._send(pb.StreamResponse(result=pb.ChunkResult(data_outputs={STATUS_NODE: buffer})))
