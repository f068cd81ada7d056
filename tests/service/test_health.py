"""What a service says of itself: health, version, reflection."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import grpc
import pytest
import remotemedia_v1_pb2 as pb
from grpc_health.v1 import health_pb2, health_pb2_grpc

import remotemedia
from remotemedia.service.config import ServiceConfig
from remotemedia.service.server import Service

pytestmark = pytest.mark.usefixtures("leak_check")

SERVICES = ("", "remotemedia.v1.PipelineExecutionService", "remotemedia.v1.StreamingPipelineService")
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def about(service: str) -> health_pb2.HealthCheckRequest:
    return health_pb2.HealthCheckRequest(service=service)


def test_health(px: Any, sv: Any) -> None:
    """SERVING up to the moment it is told to stop, and NOT_SERVING while it lets its calls end."""

    async def main() -> None:
        async with sv.serving() as client:
            stub = health_pb2_grpc.HealthStub(client.channel)
            assert [(await stub.Check(about(name))).status for name in SERVICES] == [SERVING] * 3
            watching = [stub.Watch(about(name)) for name in SERVICES]
            assert [(await each.read()).status for each in watching] == [SERVING] * 3
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await stub.Check(about("remotemedia.v1.PipelineControl"))
            assert raised.value.code() is grpc.StatusCode.NOT_FOUND

            stream = await client.ready(sv.chain("t-echo"))
            stopping = asyncio.ensure_future(client.service.stop(drain_secs=px.PATIENCE_SECS))
            assert [(await each.read()).status for each in watching] == [NOT_SERVING] * 3
            assert [(await stub.Check(about(name))).status for name in SERVICES] == [NOT_SERVING] * 3
            # Who is in goes on, and nobody else comes in.
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await client.execute(sv.chain("t-echo"))
            assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
            await stream.chunk("n0", "x", 1)
            await stream.close()
            assert await stream.results() == [(1, "n0", "x")]
            await stopping
            await client.service.wait()

    px.run(main())


def test_version(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            for version in ("", "v1", "test-v1.0", "session1"):
                answer = await client.execution.GetVersion(pb.VersionRequest(client_version=version))
                assert answer.compatible and answer.HasField("version_info")
            info = answer.version_info
            assert (info.protocol_version, info.runtime_version) == ("v1", remotemedia.__version__)
            assert list(info.supported_protocols) == ["v1"]
            assert datetime.fromisoformat(info.build_timestamp).tzinfo is not None
            # What it lists may be used, and what may not be used is not there.
            assert {"t-echo", "t-tag"} <= set(info.supported_node_types)
            assert not {"AudioFileReaderNode", "AudioFileWriterNode"} & set(info.supported_node_types)

    px.run(main())


def test_a_port_that_is_taken(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            second = Service(ServiceConfig(port=client.service.port))
            with pytest.raises(OSError, match=f"cannot listen at 127.0.0.1:{client.service.port}"):
                await second.start()
            await client.result(sv.chain("t-echo"))

    px.run(main())


def test_stopping_twice_and_before_it_began(px: Any, sv: Any) -> None:
    async def main() -> None:
        await Service(ServiceConfig(port=0)).stop()
        async with sv.serving() as client:
            await asyncio.gather(client.service.stop(), client.service.stop())
            await client.service.stop()

    px.run(main())


def test_reflection_can_be_left_out(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving(reflection=False) as client:
            method = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await client.channel.stream_stream(method)().read()
            assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED

    px.run(main())
