"""Service: pipelines over gRPC, for clients of package ``remotemedia.v1``."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import grpc
import grpc.aio
import remotemedia_v1_pb2 as pb
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

import remotemedia
from remotemedia.core.multiprocessing import MultiprocessConfig, MultiprocessExecutor, registered_nodes
from remotemedia.service._gate import Gate
from remotemedia.service._session import House
from remotemedia.service._stream import stream
from remotemedia.service._unary import execute
from remotemedia.service.config import ServiceConfig

if TYPE_CHECKING:
    from typing import TypeAlias

    Context: TypeAlias = grpc.aio.ServicerContext[bytes, bytes]

__all__ = ["Service"]

EXECUTION, STREAMING = "remotemedia.v1.PipelineExecutionService", "remotemedia.v1.StreamingPipelineService"

_PING_INTERVAL_MS = 30_000
_PING_TIMEOUT_MS = 10_000


class Service:
    """The gRPC server: each call that runs a pipeline has a session of its own. For one event loop.

    ::

        async with Service(ServiceConfig(port=0)) as service:
            print(service.port)
            await service.wait()

    Args:
        config: where it listens, whom it lets in, what it allows.
        settings: of sessions, where a client's manifest says nothing.
    """

    def __init__(self, config: ServiceConfig | None = None, settings: MultiprocessConfig | None = None) -> None:
        self.config = config if config is not None else ServiceConfig()
        self.settings = settings if settings is not None else MultiprocessConfig()
        self.port = 0
        self._house: House | None = None
        self._server: grpc.aio.Server | None = None
        self._health: health.aio.HealthServicer | None = None
        self._gate: Gate | None = None

    @property
    def executor(self) -> MultiprocessExecutor:
        """Of all sessions, for their metrics and events; RuntimeError before ``start``."""
        if self._house is None:
            raise RuntimeError("the service has no executor before start()")
        return self._house.executor

    async def start(self) -> None:
        """Listens; ``port`` is the port then. OSError when it cannot."""
        self._house = House(self.config, self.settings)
        await self._house.executor.initialize()
        self._gate = gate = Gate(self.config)
        self._server = server = grpc.aio.server(options=_options(self.config.max_message_bytes))
        server.add_generic_rpc_handlers(_handlers(self._house, gate))
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if self.config.reflection:
            reflection.enable_server_reflection(
                (EXECUTION, STREAMING, health.SERVICE_NAME, reflection.SERVICE_NAME), server
            )
        address = f"{_bracketed(self.config.host)}:{self.config.port}"
        try:
            self.port = server.add_insecure_port(address)
        except RuntimeError as error:
            await server.stop(None)
            raise OSError(f"cannot listen at {address}: {error}") from None
        await self._tell_health(health_pb2.HealthCheckResponse.SERVING)
        await server.start()

    async def stop(self, drain_secs: float | None = None) -> None:
        """Lets nobody in any more, waits ``drain_secs`` (else the config's) for the calls that run, ends the others.

        All processes of its sessions are gone when it returns. May be repeated.
        """
        if self._server is None or self._house is None or self._gate is None:
            return
        await self._tell_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        self._gate.close()
        try:
            async with asyncio.timeout(self.config.drain_secs if drain_secs is None else drain_secs):
                await self._gate.wait_idle()
        except TimeoutError:
            pass
        finally:
            self.end()
            await self._gate.wait_idle()
            await self._server.stop(None)
            await self._house.executor.shutdown()

    def end(self) -> None:
        """Ends what still runs, at once; for who does not want to wait for a ``stop`` that is under way."""
        if self._house is not None and not self._house.ending.done():
            self._house.ending.set_result(None)

    async def wait(self) -> None:
        """Until it has stopped."""
        if self._server is not None:
            await self._server.wait_for_termination()

    async def _tell_health(self, status: int) -> None:
        assert self._health is not None
        for name in ("", EXECUTION, STREAMING):
            await self._health.set(name, status)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


def _handlers(house: House, gate: Gate) -> tuple[grpc.GenericRpcHandler, ...]:
    """Messages go through as bytes: ``wire.payload`` reads and writes them without copies of the payload."""

    async def execute_pipeline(raw: bytes, context: Context) -> bytes:
        async with gate.open(context, "ExecutePipeline") as call:
            call.count_in(len(raw))
            answer = await execute(house, call, raw, context)
            call.count_out(len(answer))
            return answer

    async def stream_pipeline(_: object, context: Context) -> None:
        async with gate.open(context, "StreamPipeline") as call:
            await stream(house, call, context)

    async def get_version(_: bytes, context: Context) -> bytes:
        return _version(house.config).SerializeToString()

    streaming: Any = grpc.stream_stream_rpc_method_handler(_untyped(stream_pipeline))
    execution = {
        "ExecutePipeline": grpc.unary_unary_rpc_method_handler(_untyped(execute_pipeline)),
        "GetVersion": grpc.unary_unary_rpc_method_handler(_untyped(get_version)),
        "StreamPipeline": streaming,
    }
    return (
        grpc.method_handlers_generic_handler(EXECUTION, execution),
        grpc.method_handlers_generic_handler(STREAMING, {"StreamPipeline": streaming}),
    )


def _untyped(method: Callable[..., Any]) -> Any:
    # The type stubs of these functions know servers of threads only.
    return method


def _version(config: ServiceConfig) -> pb.VersionResponse:
    built = datetime.datetime.fromtimestamp(Path(remotemedia.__file__).stat().st_mtime, datetime.UTC)
    return pb.VersionResponse(
        version_info=pb.VersionInfo(
            protocol_version="v1",
            runtime_version=remotemedia.__version__,
            supported_node_types=[name for name in registered_nodes() if name not in config.refused_node_types],
            supported_protocols=["v1"],
            build_timestamp=built.isoformat(timespec="seconds"),
        ),
        compatible=True,
    )


def _options(max_message_bytes: int) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.keepalive_time_ms", _PING_INTERVAL_MS),
        ("grpc.keepalive_timeout_ms", _PING_TIMEOUT_MS),
        # A client may ping as often as it likes, also when it has no call.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_ping_strikes", 0),
        # Two services at one port would take turns without a word.
        ("grpc.so_reuseport", 0),
    ]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
