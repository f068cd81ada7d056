"""Service: pipelines over gRPC, for clients of package ``remotemedia.v1``."""

from __future__ import annotations

import asyncio
import datetime
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import grpc
import grpc.aio
import remotemedia_v1_pb2 as pb
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

import remotemedia
from remotemedia._naming import authority
from remotemedia.core.multiprocessing import MultiprocessConfig, MultiprocessExecutor, registered_nodes
from remotemedia.errors import MultiprocessError
from remotemedia.service._gate import Gate
from remotemedia.service._manifests import BadRequest
from remotemedia.service._session import Shared
from remotemedia.service._stream import stream
from remotemedia.service._tls import server_credentials
from remotemedia.service._unary import execute
from remotemedia.service.config import ServiceConfig
from remotemedia.wire.payload import decode

if TYPE_CHECKING:
    from typing import TypeAlias

    from remotemedia.monitoring import MetricsServer

    Context: TypeAlias = grpc.aio.ServicerContext[bytes, bytes]

__all__ = ["Service"]

EXECUTION, STREAMING = "remotemedia.v1.PipelineExecutionService", "remotemedia.v1.StreamingPipelineService"

_logger = logging.getLogger("remotemedia.service")

_PING_INTERVAL_MS = 30_000
_PING_TIMEOUT_MS = 10_000
_LAST_WORDS_SECS = 2.0


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
        self._shared: Shared | None = None
        self._server: grpc.aio.Server | None = None
        self._health: health.aio.HealthServicer | None = None
        self._gate: Gate | None = None
        self._metrics: MetricsServer | None = None

    @property
    def metrics_url(self) -> str:
        """What Prometheus is to scrape; "" when there is no such page."""
        return "" if self._metrics is None else self._metrics.url

    @property
    def executor(self) -> MultiprocessExecutor:
        """Of all sessions, for their metrics and events; RuntimeError before ``start``."""
        if self._shared is None:
            raise RuntimeError("the service has no executor before start()")
        return self._shared.executor

    async def start(self) -> None:
        """Listens; ``port`` is the port then.

        Raises ConfigurationError for wrong files of TLS, OSError when it cannot listen, and ImportError for a page of
        metrics without the extra ``monitoring``; nothing is left of it then.
        """
        credentials = server_credentials(self.config)
        _check_address(self.config)
        self._shared = Shared(self.config, self.settings)
        await self._shared.executor.initialize()
        self._gate = gate = Gate(self.config)
        if self.config.metrics_port is not None:
            self._metrics = _serve_metrics(self.config, self._shared, gate)
        self._server = server = grpc.aio.server(options=_options(self.config.max_message_bytes))
        server.add_generic_rpc_handlers(_handlers(self._shared, gate))
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if self.config.reflection:
            reflection.enable_server_reflection(
                (EXECUTION, STREAMING, health.SERVICE_NAME, reflection.SERVICE_NAME), server
            )
        address = authority(self.config.host, self.config.port)
        try:
            if credentials is None:
                self.port = server.add_insecure_port(address)
            else:
                self.port = server.add_secure_port(address, credentials)
        except RuntimeError as error:
            await server.start()  # gRPC lets go of started servers only
            await self.stop(0)
            raise OSError(f"cannot listen at {address}: {error}") from None
        if self.config.exposure:
            _logger.warning("%s", self.config.exposure)
        await self._tell_health(health_pb2.HealthCheckResponse.SERVING)
        await server.start()

    async def stop(self, drain_secs: float | None = None) -> None:
        """Lets nobody in any more, waits ``drain_secs`` (else the config's) for the calls that run, ends the others.

        All processes of its sessions are gone when it returns. May be repeated.
        """
        if self._server is None or self._shared is None or self._gate is None:
            return
        await self._tell_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        self._gate.close()
        try:
            await self._idle_within(self.config.drain_secs if drain_secs is None else drain_secs)
        finally:
            self.end()
            # A call that has ended tells its client so, and not every client listens.
            await self._idle_within(_LAST_WORDS_SECS)
            await self._server.stop(None)
            await self._gate.wait_idle()
            await self._shared.executor.shutdown()
            if self._metrics is not None:
                await asyncio.to_thread(self._metrics.close)  # a scrape may be under way

    def end(self) -> None:
        """Ends whatever still runs at once, for callers that will not wait for a ``stop`` under way."""
        if self._shared is not None and not self._shared.ending.done():
            self._shared.ending.set_result(None)

    async def _idle_within(self, secs: float) -> None:
        assert self._gate is not None
        with suppress(TimeoutError):
            async with asyncio.timeout(secs):
                await self._gate.wait_idle()

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


def _handlers(shared: Shared, gate: Gate) -> tuple[grpc.GenericRpcHandler, ...]:
    """Messages go through as bytes: ``wire.payload`` reads and writes them without copies of the payload."""

    async def execute_pipeline(raw: bytes, context: Context) -> bytes:
        async with gate.open(context, "ExecutePipeline") as call:
            call.count_in(len(raw))
            answer = await execute(shared, call, raw, context)
            call.count_out(len(answer))
            return answer

    async def stream_pipeline(_: object, context: Context) -> None:
        async with gate.open(context, "StreamPipeline") as call:
            await stream(shared, call, context)

    async def get_version(_: bytes, context: Context) -> bytes:
        return _version(shared.service_config).SerializeToString()

    async def interrupt_stream(raw: bytes, context: Context) -> bytes:
        client = await gate.identify(context)
        try:
            request = decode(pb.InterruptRequest, raw).message
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        owner, interrupt = shared.interruptible.get(request.session_id, ("", None))
        if interrupt is None or owner != client:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such stream of this client")
        try:
            await interrupt(request)
        except BadRequest as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except MultiprocessError:  # the stream itself tells which
            await context.abort(grpc.StatusCode.ABORTED, "the stream has failed")
        return pb.Interrupted().SerializeToString()

    streaming: Any = grpc.stream_stream_rpc_method_handler(_untyped(stream_pipeline))
    execution = {
        "ExecutePipeline": grpc.unary_unary_rpc_method_handler(_untyped(execute_pipeline)),
        "GetVersion": grpc.unary_unary_rpc_method_handler(_untyped(get_version)),
        "StreamPipeline": streaming,
        "InterruptStream": grpc.unary_unary_rpc_method_handler(_untyped(interrupt_stream)),
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


def _check_address(config: ServiceConfig) -> None:
    """OSError for an address that cannot be had; gRPC would say why on stderr, and only there."""
    reason: OSError | None = None
    try:
        for family, kind, _, _, address in socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM):
            try:
                with socket.socket(family, kind) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gRPC does
                    probe.bind(address)
                    return
            except OSError as error:
                reason = error
    except OSError as error:
        reason = error
    if reason is not None:
        raise OSError(f"cannot listen at {authority(config.host, config.port)}: {reason.strerror or reason}") from None


def _serve_metrics(config: ServiceConfig, shared: Shared, gate: Gate) -> MetricsServer:
    # In this order: the first says which extra is missing.
    from remotemedia.monitoring import serve_metrics
    from remotemedia.service._prometheus import ServiceCollector

    also = [ServiceCollector(gate)]
    return serve_metrics(
        shared.executor,
        port=config.metrics_port or 0,
        host=config.metrics_host,
        also=also,
        session_ids=config.metrics_session_ids,
    )


def _options(max_message_bytes: int) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.keepalive_time_ms", _PING_INTERVAL_MS),
        ("grpc.keepalive_timeout_ms", _PING_TIMEOUT_MS),
        # A client may ping as often as it likes, even when it has no call.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_ping_strikes", 0),
        # Two services at one port would take turns without a word.
        ("grpc.so_reuseport", 0),
    ]
