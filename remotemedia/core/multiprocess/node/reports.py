"""The reports of interruptions that have come to a node, for its ``on_interrupt(report)``."""

from __future__ import annotations

import asyncio
from inspect import CO_VARARGS

from remotemedia.core.multiprocess.node.node import MultiprocessNode
from remotemedia.core.multiprocess.values.interruption import Interruption, is_not_before

__all__ = ["Reports"]


class Reports:
    """Those that were not given to the node yet. A message that was sent after an interruption may be here before its
    report; this one is on its way then.

    Attributes:
        are_wanted: whether the node's ``on_interrupt()`` takes them.
    """

    def __init__(self, node: MultiprocessNode) -> None:
        code = getattr(getattr(node.on_interrupt, "__func__", None), "__code__", None)
        self.are_wanted = code is not None and bool(code.co_argcount > 1 or code.co_flags & CO_VARARGS)
        self._here: list[Interruption] = []
        self._newest: int | None = None
        self._came = asyncio.Event()

    def put(self, report: Interruption) -> None:
        """It has come."""
        if self.are_wanted:
            self._here.append(report)
            self._newest = report.epoch
            self._came.set()

    async def up_to(self, epoch: int) -> list[Interruption]:
        """All that were not given yet, once that of ``epoch`` is here."""
        while self._newest is None or not is_not_before(self._newest, epoch):
            self._came.clear()
            await self._came.wait()
        found, self._here = self._here, []
        return found
