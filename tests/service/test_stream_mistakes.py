"""StreamPipeline with mistakes in it: each ends the stream with an error that says what was wrong, and OK."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
import pytest
import remotemedia_v1_pb2 as pb

pytestmark = pytest.mark.usefixtures("leak_check")

Control = pb.StreamControl
VALIDATION = pb.ERROR_TYPE_VALIDATION


def data(sv: Any, node_id: str = "n0", sequence: int = 0, **fields: Any) -> dict[str, Any]:
    return {"data_chunk": pb.DataChunk(node_id=node_id, sequence=sequence, **fields)}


# Requests after `init` (none at all in the first), what the error says, and which node is to blame.
MISTAKES: dict[str, tuple[Callable[[Any], list[dict[str, Any]]], str, str]] = {
    "a second init": (
        lambda sv: [{"init": pb.StreamInit(manifest=sv.chain("t-echo"))}],
        "StreamInit already received",
        "",
    ),
    "no such node": (
        lambda sv: [data(sv, "nx", buffer=sv.text("x"))],
        "chunk 0: node 'nx' is not in the pipeline; the input nodes are: 'n0'",
        "nx",
    ),
    "a node that is fed": (
        lambda sv: [data(sv, "n1", buffer=sv.text("x"))],
        "chunk 0: node 'n1' takes no input; the input nodes are: 'n0'",
        "n1",
    ),
    "nothing in it": (lambda sv: [data(sv)], "DataChunk must have buffer or named_buffers", "n0"),
    "an empty buffer": (lambda sv: [data(sv, buffer=pb.DataBuffer())], "chunk 0: the DataBuffer holds nothing", "n0"),
    "out of order": (
        lambda sv: [data(sv, sequence=number, buffer=sv.text("x")) for number in (3, 4, 0, 4)],
        "Out-of-order chunk: expected sequence 5, got 4",
        "n0",
    ),
    "audio out of order": (
        lambda sv: [
            {"audio_chunk": pb.AudioChunk(node_id="n0", sequence=number, buffer=pb.AudioBuffer(sample_rate=8000))}
            for number in (2, 1)
        ],
        "Out-of-order chunk: expected sequence 3, got 1",
        "n0",
    ),
    "two inputs of a node with one": (
        lambda sv: [data(sv, named_buffers={"a": sv.text("x"), "b": sv.text("y")})],
        "chunk 0: node 'n0' has no input port 'a'",
        "n0",
    ),
    "an unknown command": (
        lambda sv: [{"control": Control(command=77)}],
        "there is no command 77; those are COMMAND_UNSPECIFIED, COMMAND_CLOSE, ",
        "",
    ),
    "the end of no input": (
        lambda sv: [{"control": Control(command=Control.COMMAND_END_INPUT, node_id="n1")}],
        "COMMAND_END_INPUT: node 'n1' takes no input",
        "n1",
    ),
    "a chunk after the end of an input": (
        lambda sv: [
            {"control": Control(command=Control.COMMAND_END_INPUT, node_id="n0")},
            data(sv, buffer=sv.text("x")),
        ],
        "a chunk came after the end of the input of node 'n0'",
        "n0",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(px: Any, sv: Any, name: str) -> None:
    """Each ends the stream with an error of the true type, and OK: no status hides it."""
    requests, message, node_id = MISTAKES[name]

    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.open(sv.chain("t-declared", "t-echo"))
            for request in requests(sv):
                await stream.send(**request)
            error = await stream.error()
            assert error.message.startswith(f"Validation error: {message}"), error.message
            assert (error.error_type, error.failing_node_id) == (VALIDATION, node_id)
            assert client.pids() == []

    px.run(main())


def test_mistakes_before_anything_starts(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            first = [
                (data(sv, buffer=sv.text("x")), "StreamInit required before anything else"),
                ({"control": Control(command=Control.COMMAND_CLOSE)}, "StreamInit required before anything else"),
                ({"init": pb.StreamInit()}, "Manifest validation error: "),
                ({"init": pb.StreamInit(manifest=sv.graph([sv.node("a", "t-x")]))}, "Manifest validation error: Unkn"),
                (
                    {"init": pb.StreamInit(manifest=sv.chain("t-echo"), data_inputs={"nx": sv.text("x")})},
                    "data_inputs: node 'nx' is not in the pipeline",
                ),
            ]
            for request, message in first:
                stream = sv.Stream(client.streaming.StreamPipeline())
                await stream.send(**request)
                error = await stream.error()
                assert error.error_type == VALIDATION and len(stream.came) == 1
                assert error.message.startswith(f"Validation error: {message}"), error.message
            raw = client.channel.stream_stream("/remotemedia.v1.StreamingPipelineService/StreamPipeline")()
            await raw.write(b"\x0a\x7fcut")
            error = pb.StreamResponse.FromString(await raw.read()).error
            assert error.message.startswith("Validation error: 5 bytes are not a remotemedia.v1.StreamRequest: ")
            assert await raw.read() is grpc.aio.EOF and await raw.code() is grpc.StatusCode.OK

    px.run(main())
