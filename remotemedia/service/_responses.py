"""The way from a stream to its client."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeAlias

import grpc.aio
import remotemedia_v1_pb2 as pb

from remotemedia.service._call import Call
from remotemedia.wire.payload import Envelope, encode

if TYPE_CHECKING:
    Context: TypeAlias = grpc.aio.ServicerContext[bytes, bytes]

__all__ = ["Responses"]


class Responses:
    """The way to the client, for several tasks; waits while the client does not read.

    Attributes:
        writing: whoever sends holds it.
    """

    def __init__(self, context: Context, call: Call) -> None:
        self._context = context
        self._call = call
        self._write: asyncio.Future[None] | None = None
        self.writing = asyncio.Lock()

    async def send(self, message: pb.StreamResponse) -> None:
        async with self.writing:
            await self.put(Envelope(message))

    async def put(self, envelope: Envelope[pb.StreamResponse]) -> None:
        """For the task that holds ``writing``. Cancelled, the message goes out all the same: gRPC cannot take back what
        it has begun, and knows one write at a time."""
        raw = encode(envelope)
        if self._write is not None:
            await asyncio.shield(self._write)
        self._write = asyncio.ensure_future(self._context.write(raw))
        self._write.add_done_callback(_take_note)
        self._call.count_out(len(raw))
        await asyncio.shield(self._write)

    async def close(self) -> None:
        """Nothing is sent any more; what the client has not taken by now is lost."""
        if self._write is not None:
            self._write.cancel()
            await asyncio.wait({self._write})


def _take_note(write: asyncio.Future[None]) -> None:
    # The call learns of a lost client another way; nobody may be waiting here.
    if not write.cancelled():
        write.exception()
