"""What a node asks its session for: an interruption that begins at another node."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from remotemedia.core.multiprocess.values.protocol import FromNode, InterruptAsked
from remotemedia.errors import PipelineError

__all__ = ["Asking"]


class Asking:
    """Numbers what the node asks for, and wakes who asked when it is answered."""

    def __init__(self, report: Callable[[FromNode], None]) -> None:
        self._report = report
        self._asked: dict[int, asyncio.Future[None]] = {}
        self._count = 0

    async def ask(self, from_nodes: list[str], drop_queued: bool) -> None:
        """Returns when the interruption is done; PipelineError says why it cannot be."""
        self._count += 1
        number, done = self._count, asyncio.get_running_loop().create_future()
        self._asked[number] = done
        try:
            self._report(InterruptAsked(number, from_nodes, drop_queued))
            await done
        finally:
            del self._asked[number]

    def answer(self, number: int, why: str) -> None:
        """Called on the event loop: what was asked for under this number is done, or why it is not."""
        done = self._asked.get(number)
        if done is None or done.done():
            return  # the call that asked was cancelled
        if why:
            done.set_exception(PipelineError(why))
        else:
            done.set_result(None)
