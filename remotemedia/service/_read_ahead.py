"""A few requests between the client and the pipeline."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TypeAlias

import remotemedia_v1_pb2 as pb

from remotemedia.wire.payload import Envelope

__all__ = ["ReadAhead"]

_MOST_REQUESTS = 8
_MOST_BYTES = 1 << 20

Request: TypeAlias = "Envelope[pb.StreamRequest] | None"


class ReadAhead:
    """Requests that were read and not yet taken, each with the epoch in which it came; for one task on either side.

    Holds eight, or a megabyte, or a single one that is larger.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[Request, int]] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()

    async def put(self, request: Request, epoch: int) -> None:
        """Waits for room. None is the end."""
        size = _size_bytes(request)
        while self._waiting and (len(self._waiting) >= _MOST_REQUESTS or self._bytes + size > _MOST_BYTES):
            await self._change()
        self._waiting.append((request, epoch))
        self._bytes += size
        self._changed.set()

    async def get(self) -> tuple[Request, int]:
        """Waits for one."""
        while not self._waiting:
            await self._change()
        request, epoch = self._waiting.popleft()
        self._bytes -= _size_bytes(request)
        self._changed.set()
        return request, epoch

    async def _change(self) -> None:
        # One side waits only while the other has something to do: the queue is never empty and full at once.
        self._changed.clear()
        await self._changed.wait()


def _size_bytes(request: Request) -> int:
    return 0 if request is None else sum(payload.nbytes for payload in request.payloads)
