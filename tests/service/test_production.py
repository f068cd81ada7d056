"""The real service behind its gate: who may call what, limits in band and out of it, everything given back."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("grpc")

import grpc
import grpc.aio
import remotemedia_v1_pb2 as pb
import remotemedia_v1_pb2_grpc as pb_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from remotemedia.service.config import ServiceConfig
from remotemedia.service.server import Service

pytestmark = pytest.mark.usefixtures("leak_check", "echo_node")

TOKEN = (("authorization", "Bearer secret-1"),)


def connect(service: Service) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(f"127.0.0.1:{service.port}")


def nodes() -> list[int]:
    """Processes of sessions of this process."""
    pids = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in pids if b"--node-id" in Path(f"/proc/{pid}/cmdline").read_bytes()]


async def status(call: Any) -> str:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


async def status_of_stream(call: Any) -> str:
    await call.done_writing()
    return (await call.code()).name


def test_what_needs_a_token(serving: Any) -> None:
    async def main() -> None:
        async with (
            Service(ServiceConfig(port=0, tokens=("secret-1",))) as service,
            connect(service) as channel,
        ):
            execution = pb_grpc.PipelineExecutionServiceStub(channel)
            streaming = pb_grpc.StreamingPipelineServiceStub(channel)
            request = pb.ExecuteRequest(manifest=serving.MANIFEST)
            assert await status(execution.ExecutePipeline(request)) == "UNAUTHENTICATED"
            # BadRequest before anything is read: these are no messages at all.
            raw = channel.unary_unary("/remotemedia.v1.PipelineExecutionService/ExecutePipeline")
            assert await status(raw(b"\xff\xff")) == "UNAUTHENTICATED"
            for stub in (execution, streaming):
                assert await status_of_stream(stub.StreamPipeline()) == "UNAUTHENTICATED"
            assert nodes() == []
            answer = await execution.ExecutePipeline(request, metadata=TOKEN)
            assert answer.status == pb.EXECUTION_STATUS_SUCCESS
            assert await status_of_stream(streaming.StreamPipeline(metadata=TOKEN)) == "OK"
            # These stay open.
            assert (await execution.GetVersion(pb.VersionRequest())).compatible
            health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            assert health.status == health_pb2.HealthCheckResponse.SERVING
            ask = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
            await ask.write(reflection_pb2.ServerReflectionRequest(list_services=""))
            listed = {found.name for found in (await ask.read()).list_services_response.service}
            assert "remotemedia.v1.PipelineExecutionService" in listed
            ask.cancel()

    asyncio.run(main())


def test_a_place_is_free_when_its_processes_are_gone(serving: Any) -> None:
    async def main() -> None:
        async with Service(ServiceConfig(port=0, max_sessions=2)) as service, connect(service) as channel:
            first, second = serving.Client(channel), serving.Client(channel)
            await first.open()
            await second.open()
            third = serving.Client(channel)
            assert (await third.call.code()).name == "RESOURCE_EXHAUSTED"
            assert "max_sessions" in await third.call.details()
            before = set(nodes())
            first.call.cancel()
            # Until there is room, each try is refused without a process.
            while (await status(unary(channel, serving))) == "RESOURCE_EXHAUSTED":
                assert len(nodes()) <= 2
            assert len(before & set(nodes())) == 1
            assert await second.echo("still here") == "still here"
            assert await second.finish() == "OK"

    asyncio.run(main())


def unary(channel: grpc.aio.Channel, serving: Any) -> Any:
    return pb_grpc.PipelineExecutionServiceStub(channel).ExecutePipeline(pb.ExecuteRequest(manifest=serving.MANIFEST))


def test_too_many_processes_are_an_error_in_band(serving: Any, caplog: Any) -> None:
    two = pb.PipelineManifest(
        version="v1", nodes=[pb.NodeManifest(id=name, node_type="serve-echo") for name in ("a", "b")]
    )

    async def main() -> None:
        async with Service(ServiceConfig(port=0, max_processes=1)) as service, connect(service) as channel:
            answer = await pb_grpc.PipelineExecutionServiceStub(channel).ExecutePipeline(
                pb.ExecuteRequest(manifest=two)
            )
            assert answer.error.error_type == pb.ERROR_TYPE_RESOURCE_LIMIT
            assert answer.error.message == ("2 processes are needed, and 1 of the service's 1 are free (max_processes)")
            client = serving.Client(channel)
            await client.call.write(pb.StreamRequest(init=pb.StreamInit(manifest=two)))
            assert (await client.until("error")).error.error_type == pb.ERROR_TYPE_RESOURCE_LIMIT
            assert (await client.call.code()).name == "OK"
            assert nodes() == []
            assert (await unary(channel, serving)).status == pb.EXECUTION_STATUS_SUCCESS

    caplog.set_level(logging.INFO, logger="remotemedia.access")
    asyncio.run(main())
    ends = [(record.method, record.status, record.error_type) for record in caplog.records]
    assert ends == [
        ("ExecutePipeline", "OK", "RESOURCE_LIMIT"),
        ("StreamPipeline", "OK", "RESOURCE_LIMIT"),
        ("ExecutePipeline", "OK", ""),
    ]


def test_every_end_of_a_stream_gives_back_what_it_took(serving: Any, caplog: Any) -> None:
    async def main() -> None:
        async with Service(ServiceConfig(port=0)) as service, connect(service) as channel:
            clients = [serving.Client(channel) for _ in range(4)]
            owned: list[set[int]] = []
            for client in clients:
                before = set(nodes())
                await client.open()
                owned.append(set(nodes()) - before)
            finishing, leaving, crashing, wrong = clients
            limits = service._gate.limits
            assert (limits.sessions, limits.processes) == (4, 4)
            assert await finishing.finish() == "OK"
            leaving.call.cancel()
            os.kill(*owned[2], signal.SIGKILL)
            assert (await crashing.until("error")).error.failing_node_id == "a"
            await wrong.call.write(pb.StreamRequest(init=pb.StreamInit()))
            await wrong.until("error")
            await service._gate.wait_idle()
            assert (limits.sessions, limits.processes, dict(limits._by_client)) == (0, 0, {})
            assert nodes() == []

    caplog.set_level(logging.INFO, logger="remotemedia.access")
    asyncio.run(main())
    ends = sorted(
        (record.status, record.error_type) for record in caplog.records if record.name == "remotemedia.access"
    )
    assert ends == [("CANCELLED", ""), ("OK", ""), ("OK", "NODE_EXECUTION"), ("OK", "VALIDATION")]


def test_a_start_that_fails_leaves_nothing() -> None:
    async def main() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            for values in ({"port": port}, {"port": 0, "metrics_port": port}):
                service = Service(ServiceConfig(**values))
                with pytest.raises(OSError, match="Address already in use"):
                    await service.start()
                await service.stop()

    asyncio.run(main())


def test_its_page_of_metrics_ends_with_it() -> None:
    pytest.importorskip("prometheus_client")

    async def main() -> None:
        service = Service(ServiceConfig(port=0, metrics_port=0))
        assert service.metrics_url == ""
        async with service:
            assert service.metrics_url.startswith("http://127.0.0.1:")

    asyncio.run(main())
