"""Pipelines that run in a gRPC service, used as if they ran here.

::

    async with PipelineClient("media.example:50051") as client, client.session(pipeline) as session:
        await session.send("asr", RuntimeData.audio(samples, 16_000))
        await session.end_input()
        async for node_id, data in session.outputs():
            ...

``with PipelineClient(...) as client:`` gives the same calls without ``await``. docs/client.md says more.
"""

# May import: core.multiprocessing, core.data, audio, manifest, wire, errors, _event_loop, _install,
#   _libraries, _naming, _rules

try:
    import google.protobuf  # noqa: F401
    import grpc  # noqa: F401
    import remotemedia_v1_pb2  # noqa: F401  it checks the version of protobuf
except Exception as error:
    from remotemedia._install import install_advice
    from remotemedia._libraries import unfit_library

    if unfit := unfit_library():
        raise ImportError(f"remotemedia.client cannot use its libraries: {unfit}") from error
    if not isinstance(error, ImportError):
        raise
    raise ImportError(f"remotemedia.client needs grpcio and protobuf ({error}); {install_advice('grpc')}") from error

from remotemedia.client._blocking import BlockingClient, BlockingSession, BlockingTurn
from remotemedia.client._client import PipelineClient
from remotemedia.client._result import ExecutionResult, ServiceVersion
from remotemedia.client._session import RemoteSession
from remotemedia.client._turns import RemoteTurn

__all__ = [
    "BlockingClient",
    "BlockingSession",
    "BlockingTurn",
    "ExecutionResult",
    "PipelineClient",
    "RemoteSession",
    "RemoteTurn",
    "ServiceVersion",
]
