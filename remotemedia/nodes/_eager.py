"""An utterance that may have ended is decoded before that is known."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from remotemedia.nodes._common import Float32
from remotemedia.nodes._whisper import Options, Recogniser, Segment

__all__ = ["Eager"]


class Eager:
    """Decodes one utterance at a time in advance. Its owner drops it when more is said, and at the end."""

    def __init__(self, recogniser: Recogniser) -> None:
        self._recogniser = recogniser
        self._count = 0
        self._found: asyncio.Queue[Segment | Exception | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def begin(self, samples: Float32, options: Options) -> None:
        """Decode ``samples``, shape (n,), which are kept; does not wait. What was begun before is dropped."""
        await self.drop()
        self._count, self._found = len(samples), asyncio.Queue()
        self._task = asyncio.create_task(self._decode(samples, options, self._found))

    def has(self, samples: Float32) -> bool:
        """Whether these are the samples that are being decoded: nothing was said since."""
        return self._task is not None and self._count == len(samples)

    async def segments(self) -> AsyncGenerator[Segment]:
        """Yield the segments, as they are decoded, and raise what went wrong."""
        try:
            while (found := await self._found.get()) is not None:
                if isinstance(found, Exception):
                    raise found
                yield found
        finally:
            await self.drop()

    async def drop(self) -> None:
        """Stop. The library goes on to where it can be left, as ``Model.made`` says; this does not wait for it."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _decode(
        self, samples: Float32, options: Options, found: asyncio.Queue[Segment | Exception | None]
    ) -> None:
        try:
            async with aclosing(self._recogniser.segments(samples, options)) as segments:
                async for segment in segments:
                    found.put_nowait(segment)
        except Exception as error:
            found.put_nowait(error)
        finally:
            found.put_nowait(None)
