"""What no client should send: each is answered clearly, leaves nothing behind, and the service goes on."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import grpc.aio
import pytest
import remotemedia_v1_pb2 as pb
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("leak_check")

EXECUTE = "/remotemedia.v1.PipelineExecutionService/ExecutePipeline"
STREAM = "/remotemedia.v1.StreamingPipelineService/StreamPipeline"
AS_BYTES: dict[str, Any] = {"request_serializer": None, "response_deserializer": None}

Answer = tuple[str, str]


async def execute(channel: grpc.aio.Channel, raw: bytes, path: str = EXECUTE) -> Answer:
    """The status, or the type of the error in band, and what it says."""
    try:
        answer = pb.ExecuteResponse.FromString(await channel.unary_unary(path, **AS_BYTES)(raw))
    except grpc.aio.AioRpcError as error:
        return error.code().name, str(error.details())
    if answer.HasField("error"):
        return pb.ErrorType.Name(answer.error.error_type), answer.error.message
    return "OK", ""


async def stream(channel: grpc.aio.Channel, *raw: bytes) -> Answer:
    """The same of a stream: its error in band, or how it was closed."""
    call = channel.stream_stream(STREAM, **AS_BYTES)()
    try:
        for each in raw:
            await call.write(each)
        await call.done_writing()
    except asyncio.InvalidStateError:
        pass  # it has ended
    try:
        responses = [response async for response in call]
    except grpc.aio.AioRpcError as error:
        return error.code().name, str(error.details())
    response = pb.StreamResponse.FromString(responses[-1] if responses else b"")
    if response.HasField("error"):
        return pb.ErrorType.Name(response.error.error_type), response.error.message
    return "OK", response.closed.reason


def children() -> str:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text()


@pytest.fixture(scope="module")
def table(bad: ModuleType) -> dict[str, tuple[bytes, str, str]]:
    return dict(bad.rows())


def test_bad_requests(px: Any, sv: Any, table: dict[str, tuple[bytes, str, str]]) -> None:
    async def main() -> list[str]:
        wrong, before = [], children()
        async with sv.serving() as client:
            for name, (raw, expected, said) in table.items():
                kind, message = await execute(client.channel, raw)
                if kind != expected or said not in message or len(message) > 100_000:
                    wrong.append(f"{name}: {kind} {message[:300]!r}")
                assert children() == before, f"{name} left a process"
            await client.result(sv.chain("t-echo"), {"n0": "still here"})
        return wrong

    assert not (wrong := px.run(main())), "\n".join(wrong)


def test_size(px: Any, sv: Any, bad: ModuleType) -> None:
    def sized(size: int) -> bytes:
        return bad.of("binary", data=bytes(size))

    async def main() -> None:
        async with sv.serving() as client:
            most = client.service.config.max_message_bytes
            beside = len(sized(most)) - most
            assert await execute(client.channel, sized(16 << 20)) == ("OK", "")
            kind, _ = await execute(client.channel, sized(most - beside + 1))
            assert kind == "RESOURCE_EXHAUSTED"
            kind, message = await execute(client.channel, sized(most - beside))
            assert kind == "ERROR_TYPE_RESOURCE_LIMIT" and "StreamPipeline sends them one by one" in message
            first = pb.StreamRequest(init=pb.StreamInit(manifest=bad.MANIFEST)).SerializeToString()
            kind, _ = await stream(client.channel, first, bytes(most + 1))
            assert kind == "RESOURCE_EXHAUSTED"
            assert await execute(client.channel, sized(1)) == ("OK", "")

    px.run(main())


def test_no_such_method(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            for path in (
                "/x",
                "/remotemedia.v1.PipelineExecutionService/",
                f"{EXECUTE}Now",
                "/../x",
                "/x/" + "y" * 4000,
            ):
                assert (await execute(client.channel, b"", path))[0] == "UNIMPLEMENTED", path

    px.run(main())


def test_bytes_near_to_a_request(sv: Any, px: Any, bad: ModuleType) -> None:
    """Valid requests, cut, overwritten and with more in them: no byte is a reason to fall over."""
    # Of a type that there is not, so that hardly one of them can start a process.
    node = pb.NodeManifest(id="a", node_type="t-none", params_json='{"a": 1}', params_map={"b": "2"})
    manifest = pb.PipelineManifest(version="v1", nodes=[node, node], metadata={"multiprocess": {"spin_us": 1}})
    manifest.connections.append(pb.Connection(**{"from": "a", "to": "a"}))
    inputs = {"a": pb.DataBuffer(tensor=pb.TensorBuffer(data=bytes(8), shape=[2], dtype=1), metadata={"a": "b"})}
    seeds = [
        pb.ExecuteRequest(manifest=manifest, data_inputs=inputs, resource_limits={"max_timeout_ms": 1000}),
        pb.StreamRequest(init=pb.StreamInit(manifest=manifest, data_inputs=inputs)),
    ]

    @settings(max_examples=400)
    @given(st.data())
    def check(data: Any) -> None:
        which = data.draw(st.integers(0, 1))
        raw = bytearray(seeds[which].SerializeToString())
        for _ in range(data.draw(st.integers(1, 4))):
            at, end = sorted(data.draw(st.tuples(*[st.integers(0, len(raw))] * 2)))
            raw[at : data.draw(st.sampled_from([at, at + 1, end]))] = data.draw(st.binary(max_size=4))
        ask = stream if which else execute
        kind, message = runner.run(ask(client.channel, bytes(raw)))
        assert kind in ("INVALID_ARGUMENT", "ERROR_TYPE_VALIDATION", "ERROR_TYPE_RESOURCE_LIMIT") or (
            which and (kind, message) == ("OK", "")  # nothing was left that asked for anything
        ), (kind, message)
        assert message or which

    with asyncio.Runner() as runner:
        serving = sv.serving()
        client = runner.run(serving.__aenter__())
        try:
            check()
            assert runner.run(execute(client.channel, bad.of("binary", data=b"still here"))) == ("OK", "")
        finally:
            runner.run(serving.__aexit__(None, None, None))
