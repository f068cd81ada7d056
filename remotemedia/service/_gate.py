"""Gate: every call of a pipeline passes it, on the way in and on the way out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from remotemedia.service.config import ServiceConfig

if TYPE_CHECKING:
    import grpc.aio

__all__ = ["Call", "Gate"]


@dataclass
class Call:
    """One call that was let in.

    Attributes:
        client: who calls.
        session_id: of the session that works for it; "" before there is one.
        error_type: name of the in-band error it ended with, if any.
    """

    client: str
    session_id: str = ""
    error_type: str = ""

    def count_in(self, size_bytes: int) -> None:
        """One message came."""

    def count_out(self, size_bytes: int) -> None:
        """One message went."""

    def take_processes(self, count: int) -> None:
        """The call is about to start ``count`` processes; ResourceLimitError when that are too many."""


class Gate:
    """Lets calls in."""

    def __init__(self, config: ServiceConfig) -> None:
        self._config = config

    @asynccontextmanager
    async def open(self, context: grpc.aio.ServicerContext[Any, Any], method: str) -> AsyncIterator[Call]:
        """The time of one call; ends it with a status when it may not come in."""
        yield Call(context.peer())

    def close(self) -> None:
        """Lets nobody in any more."""

    async def wait_idle(self) -> None:
        """Until no call is in."""
