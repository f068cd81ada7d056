"""A gRPC server whose every call passes a Gate and then does what its request says; reached through ``gated``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from remotemedia.service._gate import Call, Gate
from remotemedia.service._tls import server_credentials
from remotemedia.service.config import ServiceConfig


class Gated:
    """Requests are words: "hold" waits until ``free()``, "processes N" takes them, "abort" and "raise" fail, ..."""

    def __init__(self, config: ServiceConfig) -> None:
        self.config = config
        self.gate = Gate(config)
        self.held = 0
        self._change = asyncio.Condition()
        self._free = asyncio.Event()
        self.server = grpc.aio.server()
        handlers = {"Run": grpc.unary_unary_rpc_method_handler(self._run)}
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))

    async def _run(self, request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        async with self.gate.open(context, "Run") as call:
            call.session_id = "s-1"
            call.count_in(len(request))
            for order in request.decode().split(","):
                await self._obey(order.split(), call, context)
            call.count_out(4)
            return b"done"

    async def _obey(self, words: list[str], call: Call, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        match words:
            case ["hold"]:
                await self._note_held(1)
                try:
                    await self._free.wait()
                finally:
                    await asyncio.shield(self._note_held(-1))
            case ["processes", count]:
                call.take_processes(int(count))
            case ["error", name]:
                call.error_type = name
            case ["abort"]:
                await context.abort(grpc.StatusCode.INTERNAL, "as asked")
            case ["code"]:
                context.set_code(grpc.StatusCode.DATA_LOSS)
            case ["raise"]:
                raise OSError("as asked")

    async def _note_held(self, by: int) -> None:
        async with self._change:
            self.held += by
            self._change.notify_all()

    async def wait_held(self, count: int) -> None:
        """Returns once so many calls hold."""
        async with self._change:
            await self._change.wait_for(lambda: self.held == count)

    def free(self) -> None:
        """Calls that hold, now or later, go on."""
        self._free.set()

    def has_given_back(self) -> bool:
        """Whether no call has anything of the limits."""
        limits = self.gate.limits
        return (limits.sessions, limits.processes, dict(limits._by_client)) == (0, 0, {})


@asynccontextmanager
async def serve(**settings: Any) -> AsyncIterator[tuple[Gated, int]]:
    """A server with such settings, and its port."""
    gated = Gated(ServiceConfig(**settings))
    credentials = server_credentials(gated.config)
    if credentials is None:
        port = gated.server.add_insecure_port("127.0.0.1:0")
    else:
        port = gated.server.add_secure_port("127.0.0.1:0", credentials)
    await gated.server.start()
    try:
        yield gated, port
    finally:
        await gated.server.stop(None)


@asynccontextmanager
async def serve_client(**settings: Any) -> AsyncIterator[tuple[Gated, Any]]:
    """The same, and what calls it: ``run("hold", token="t")``."""
    async with serve(**settings) as (gated, port), grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield gated, caller(channel)


def caller(channel: grpc.aio.Channel) -> Any:
    run = channel.unary_unary("/test/Run")

    def call(orders: str, *, token: str | None = None, metadata: Any = (), **more: Any) -> Any:
        own = () if token is None else (("authorization", f"Bearer {token}"),)
        return run(orders.encode(), metadata=(*metadata, *own), **more)

    return call


async def status_of(call: Any) -> tuple[str, str]:
    """Name of its status, and its text."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code().name, error.details() or ""
    except asyncio.CancelledError:
        return "CANCELLED", ""
    return "OK", ""
