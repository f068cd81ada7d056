"""Gate: every call of a pipeline passes it, on the way in and on the way out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from remotemedia.service._access_log import log_call
from remotemedia.service._auth import Authenticator, address_of
from remotemedia.service._call import Call
from remotemedia.service._counters import Counters
from remotemedia.service._limits import Limits, NotAdmitted
from remotemedia.service.config import ServiceConfig

__all__ = ["Gate"]


class Gate:
    """Lets authorized calls in, and no more than the limits allow. Counts them and logs each at its end.

    Used on one event loop.

    Attributes:
        limits: what is taken of them.
        counters: what was counted.
    """

    def __init__(self, config: ServiceConfig) -> None:
        self.limits = Limits(config)
        self.counters = Counters()
        self._access_log = config.access_log
        self._authenticator = Authenticator(config)
        self._stopping = False
        self._idle = asyncio.Event()
        self._idle.set()

    @asynccontextmanager
    async def open(self, context: grpc.aio.ServicerContext[Any, Any], method: str) -> AsyncIterator[Call]:
        """The time of one call; ends it with a status when it may not come in.

        All it took is given back when the block is left, however that happens: the session must be gone by then.
        """
        began_secs = asyncio.get_running_loop().time()
        call = Call(method, address_of(context.peer()), self.limits, self.counters)
        try:
            self._admit(context, call, began_secs)
        except NotAdmitted as refused:
            self.counters.refused[refused.reason] += 1
            self._note_end(call, refused.status, began_secs)
            await context.abort(grpc.StatusCode[refused.status], refused.text)
        status = "UNKNOWN"
        try:
            yield call
            status = _status_set(context)
        except BaseException as error:
            status = _status_of(error, context)
            raise
        finally:
            self.limits.leave(call.client, call.processes)
            if not self.limits.sessions:
                self._idle.set()
            self._note_end(call, status, began_secs)

    async def identify(self, context: grpc.aio.ServicerContext[Any, Any]) -> str:
        """The client of a call that takes nothing, so that no limit holds for it; ends it where ``open`` would not know
        the client."""
        try:
            return self._identify(context)
        except NotAdmitted as refused:
            self.counters.refused[refused.reason] += 1
            await context.abort(grpc.StatusCode[refused.status], refused.text)

    def close(self) -> None:
        """Lets no call in any more. Those that are in go on. May be repeated."""
        self._stopping = True

    async def wait_idle(self) -> None:
        """Returns when no call is in."""
        await self._idle.wait()

    def _admit(self, context: grpc.aio.ServicerContext[Any, Any], call: Call, now_secs: float) -> None:
        """Counts the call in; NotAdmitted when it may not come in, and then nothing is taken."""
        call.client = self._identify(context)
        if self._stopping:
            raise NotAdmitted("stopping", "UNAVAILABLE", "the service is stopping")
        self.limits.enter(call.client, now_secs)
        self._idle.clear()

    def _identify(self, context: grpc.aio.ServicerContext[Any, Any]) -> str:
        metadata = context.invocation_metadata() or ()
        return self._authenticator.identify(metadata, context.peer(), context.auth_context())

    def _note_end(self, call: Call, status: str, began_secs: float) -> None:
        seconds = asyncio.get_running_loop().time() - began_secs
        self.counters.calls[call.method, status, call.error_type] += 1
        self.counters.of(call.method).add_seconds(seconds)
        if self._access_log:
            log_call(call, status, seconds)


_NAME_OF = {status.value[0]: status.name for status in grpc.StatusCode}


def _status_set(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """The status a handler has set; OK when it has not."""
    code: Any = context.code()  # older versions give its number
    return code.name if isinstance(code, grpc.StatusCode) else _NAME_OF.get(code or 0, "UNKNOWN")


def _status_of(error: BaseException, context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """The status of a call that ended with an exception."""
    if isinstance(error, grpc.aio.AbortError):
        return _status_set(context)
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        # gRPC cancels a handler whose client is gone, and one whose time is up.
        return "DEADLINE_EXCEEDED" if context.time_remaining() == 0 else "CANCELLED"
    return "UNKNOWN"
