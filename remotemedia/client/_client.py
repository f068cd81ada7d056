"""PipelineClient: the way to a service."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import grpc
import grpc.aio
import remotemedia_v1_pb2 as pb

from remotemedia._event_loop import running_loop
from remotemedia._rules import TEXT, TOKEN, Rule, whole_number
from remotemedia.client._errors import error_of_response, error_of_status
from remotemedia.client._manifest import ConfigSource, PipelineSource, remote_plan
from remotemedia.client._result import ExecutionResult, ServiceVersion, result_of
from remotemedia.client._session import RemoteSession
from remotemedia.client._stream import Calls
from remotemedia.core.data import Payload, RuntimeData
from remotemedia.core.multiprocessing import InitProgress
from remotemedia.errors import PipelineError, ServiceError, SessionStateError
from remotemedia.wire.buffers import buffer_of
from remotemedia.wire.payload import Envelope, decode, encode
from remotemedia.wire.sizes import MESSAGE_BYTES

if TYPE_CHECKING:
    from remotemedia.client._blocking import BlockingClient

__all__ = ["PipelineClient"]

_SERVICE = "/remotemedia.v1.PipelineExecutionService"
_TARGET = Rule("a host and a port, such as 'localhost:50051'", TEXT.has_type, TEXT.allows)
_TOKEN = TOKEN.or_none()
_MESSAGE_BYTES = whole_number((1 << 16) + 1, (1 << 31) - 1)
_KEEPALIVE = (("grpc.keepalive_time_ms", 30_000), ("grpc.keepalive_timeout_ms", 10_000))
"""A call notices that the service's machine is gone."""


class PipelineClient:
    """A gRPC service that runs pipelines. ``async with`` opens the connection; plain ``with`` gives a BlockingClient.

    Args:
        target: host and port.
        token: sent with every call, as ``authorization: Bearer TOKEN``. Without TLS it can be read on the way.
        tls_ca: a file with the certificates to trust (PEM). It makes the connection a TLS one.
        tls_certificate, tls_key: files with a certificate of this client's own, where the service asks for one.
        max_message_bytes: the longest message sent or taken, its payload in it; the service has a limit of its own.

    Raises TypeError or ValueError for wrong arguments, or some that do not fit each other, and OSError for a file that
    cannot be read.
    """

    def __init__(
        self,
        target: str = "localhost:50051",
        *,
        token: str | None = None,
        tls_ca: Path | str | None = None,
        tls_certificate: Path | str | None = None,
        tls_key: Path | str | None = None,
        max_message_bytes: int = MESSAGE_BYTES,
    ) -> None:
        _TARGET.check("target", target)
        _TOKEN.check("token", token, secret=True)
        _MESSAGE_BYTES.check("max_message_bytes", max_message_bytes)
        if (tls_certificate is None) is not (tls_key is None):
            raise ValueError("tls_certificate and tls_key belong together")
        if tls_certificate is not None and tls_ca is None:
            raise ValueError("tls_certificate needs tls_ca: without it the connection does not use TLS")
        self.target = target
        self.max_message_bytes = max_message_bytes
        self._metadata = (("authorization", f"Bearer {token}"),) if token is not None else ()
        self._credentials: grpc.ChannelCredentials | None = None
        if tls_ca is not None:
            key, certificate = (None if f is None else Path(f).read_bytes() for f in (tls_key, tls_certificate))
            self._credentials = grpc.ssl_channel_credentials(Path(tls_ca).read_bytes(), key, certificate)
        self._channel: grpc.aio.Channel | None = None
        self._blocking: BlockingClient | None = None

    def __repr__(self) -> str:
        return f"<PipelineClient {self.target}>"

    # --- life ---

    async def __aenter__(self) -> Self:
        if self._channel is not None:
            raise SessionStateError("this client is open already")
        running_loop("a client that is not used by `with`")
        options = (
            ("grpc.max_send_message_length", self.max_message_bytes),
            ("grpc.max_receive_message_length", self.max_message_bytes),
            *_KEEPALIVE,
        )
        if self._credentials is None:
            self._channel = grpc.aio.insecure_channel(self.target, options=options)
        else:
            self._channel = grpc.aio.secure_channel(self.target, self._credentials, options=options)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    def __enter__(self) -> BlockingClient:
        from remotemedia.client._blocking import BlockingClient

        self._blocking = BlockingClient(self)
        return self._blocking

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        blocking, self._blocking = self._blocking, None
        if blocking is not None:
            blocking.close()

    # --- calls ---

    def session(
        self,
        pipeline: PipelineSource,
        config: ConfigSource = None,
        on_progress: Callable[[InitProgress], None] | None = None,
    ) -> RemoteSession:
        """A session for ``async with``, which starts it.

        Args:
            pipeline: a Pipeline, or a manifest: a path, a text, or a mapping. Node types need not be known here.
            config: settings over the manifest's own ``metadata.multiprocess``: a mapping of such, or a
                MultiprocessConfig, of which counts what differs from the defaults.
            on_progress: hears of each step of each node on its way to ready.

        Raises ManifestError for a manifest of the wrong form.
        """
        plan = remote_plan(pipeline, config)
        self._open()

        def open_call() -> Any:
            return self._open().stream_stream(f"{_SERVICE}/StreamPipeline")(metadata=self._metadata)

        def interrupt(request: bytes) -> Any:
            call: Any = self._open().unary_unary(f"{_SERVICE}/InterruptStream")
            return call(request, metadata=self._metadata)

        return RemoteSession(Calls(open_call, interrupt), self.target, plan, self.max_message_bytes, on_progress)

    async def execute(
        self,
        pipeline: PipelineSource,
        inputs: Mapping[str, RuntimeData | Payload] | None = None,
        *,
        config: ConfigSource = None,
        timeout_secs: float | None = None,
    ) -> ExecutionResult:
        """Runs a pipeline on one message for each input node, and gives all it puts out; without inputs, what it puts
        out of itself.

        Raises what ``session`` and the pipeline raise, PayloadError for data that have no form on the wire, TypeError
        for a value that is not a message and stands for none (``RemoteSession.send``), and TimeoutError after
        ``timeout_secs``. Cancelled, the processes there end.
        """
        plan = remote_plan(pipeline, config)
        request: Envelope[pb.ExecuteRequest] = Envelope(
            pb.ExecuteRequest(manifest=plan.message, client_version="remotemedia")
        )
        for node_id, data in (inputs or {}).items():
            if node_id not in plan.inputs:
                raise PipelineError(f"node {node_id!r} takes no input; the input nodes are: {', '.join(plan.inputs)}")
            message = plan.graph.as_message(node_id, data)
            request.message.data_inputs[node_id].CopyFrom(buffer_of(message, request.payloads))
        raw = await self._call("ExecutePipeline", encode(request), timeout_secs)
        try:
            response = decode(pb.ExecuteResponse, raw)
            if response.message.WhichOneof("outcome") != "result":
                raise error_of_response(response.message.error)
            return result_of(response, plan.node_ids)
        except ValueError as error:
            if isinstance(error, PipelineError):
                raise
            raise ServiceError(f"the service at {self.target} sent a reply that makes no sense: {error}") from error

    async def version(self) -> ServiceVersion:
        """The version of the service. Needs no token."""
        raw = await self._call("GetVersion", pb.VersionRequest(client_version="remotemedia").SerializeToString(), None)
        info = decode(pb.VersionResponse, raw).message.version_info
        return ServiceVersion(info.runtime_version, info.protocol_version, tuple(info.supported_node_types))

    async def _call(self, method: str, request: bytes, timeout_secs: float | None) -> bytes:
        call: Any = self._open().unary_unary(f"{_SERVICE}/{method}")
        try:
            answer: bytes = await call(request, timeout=timeout_secs, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise error_of_status(error, self.target) from error
        return answer

    def _open(self) -> grpc.aio.Channel:
        if self._channel is None:
            raise SessionStateError("this client is not open: use it in `async with` (or `with`)")
        return self._channel
