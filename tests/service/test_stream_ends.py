"""StreamPipeline that ends before its time: mistakes, failures, limits, CANCEL; whether or not the client reads."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
import pytest
import remotemedia_v1_pb2 as pb

pytestmark = pytest.mark.usefixtures("leak_check")

Control = pb.StreamControl
VALIDATION, NODE_EXECUTION = pb.ERROR_TYPE_VALIDATION, pb.ERROR_TYPE_NODE_EXECUTION


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


# What the manifest is, what is sent, what the error says, and its type.
FAILURES: dict[str, tuple[Callable[[Any], pb.PipelineManifest], str, str, int]] = {
    "raises": (
        lambda sv: sv.chain("t-do", "t-echo"),
        "raise out of ideas",
        "Node execution error in n0: Node 'n0' failed on message 0 of port 'input': ValueError: out of ideas",
        NODE_EXECUTION,
    ),
    "raises in finish()": (
        lambda sv: sv.chain("t-fails-at-the-end"),
        "x",
        "Node execution error in n0: Node 'n0' failed on message -1 of port 'finish()': ValueError: out of ideas",
        NODE_EXECUTION,
    ),
    "dies": (
        lambda sv: sv.chain("t-do", "t-echo"),
        "die SIGKILL",
        "Node execution error in n0: Process n0 crashed with code 137 (killed by SIGKILL)",
        NODE_EXECUTION,
    ),
    "does not load": (
        lambda sv: sv.chain(("t-init", {"how": "raise"})),
        "x",
        "Node execution error in n0: Node 'n0' failed to initialize: RuntimeError: no such weights",
        NODE_EXECUTION,
    ),
    "is not ready in time": (
        lambda sv: sv.chain(("t-init", {"how": "wait"}), init_timeout_secs=1.5),
        "x",
        "Node execution error in n0: ",
        NODE_EXECUTION,
    ),
    "too many nodes": (
        lambda sv: sv.chain("t-echo", "t-echo", max_processes_per_session=1),
        "x",
        "Resource limit exceeded: the pipeline has 2 nodes; max_processes_per_session is 1",
        pb.ERROR_TYPE_RESOURCE_LIMIT,
    ),
    "takes too long": (
        lambda sv: sv.chain("t-do"),
        "wait",
        "Resource limit exceeded: not done within the 1.5 s that the stream's max_timeout_ms allows",
        pb.ERROR_TYPE_RESOURCE_LIMIT,
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failures(px: Any, sv: Any, name: str) -> None:
    make, order, message, error_type = FAILURES[name]
    limits = pb.ResourceLimits(max_timeout_ms=1500) if name == "takes too long" else None

    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.open(make(sv), resource_limits=limits)
            await stream.chunk("n0", order, 1)
            await stream.call.done_writing()
            error = await stream.error()
            assert error.message.startswith(message), error.message
            assert error.error_type == error_type
            assert error.failing_node_id == ("n0" if error_type == NODE_EXECUTION else "")
            assert client.pids() == []

    px.run(main())


@pytest.mark.parametrize("when", ["loading", "working", "with all channels full"])
def test_cancel_drops_what_is_under_way(px: Any, sv: Any, when: str) -> None:
    async def main() -> None:
        manifest = sv.chain(("t-init", {"how": "wait"}) if when == "loading" else "t-do", channel_capacity=2)
        async with sv.serving() as client:
            stream = await client.open(manifest)
            await stream.chunk("n0", "wait", 1)
            if when == "loading":
                await sv.until(client.pids)
            else:
                await sv.until(lambda: client.busy("n0"))
            for number in range(2, 8 if when.startswith("with") else 3):
                await stream.chunk("n0", "more", number)
            await stream.command(Control.COMMAND_CANCEL)
            await stream.finish()
            closed = stream.came[-1].closed
            assert closed.reason == "Client requested cancel" and closed.final_metrics.wall_time_ms > 0
            assert all(each.result.sequence < 2 for each in stream.came if each.HasField("result"))
            assert client.pids() == []

    px.run(main())


BIG = 1_000_000


@pytest.mark.parametrize("how", ["cancel", "mistake", "crash"])
def test_an_end_while_the_client_does_not_read(px: Any, sv: Any, how: str) -> None:
    """A write that waits for the client is in gRPC's hands: what ends the stream comes behind it, and comes."""

    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.ready(sv.chain("t-flood"))
            pid = client.pids()[0]
            await stream.chunk("n0", str(BIG), 1)
            await sv.stalled(client.service)
            if how == "cancel":
                await stream.command(Control.COMMAND_CANCEL)
            elif how == "mistake":
                await stream.send(init=pb.StreamInit())
            else:
                os.kill(pid, signal.SIGKILL)
            # The processes do not wait for the client.
            await sv.until(lambda: not client.pids() and not sv.lives(pid))
            await stream.finish()
            last = stream.came[-1]
            if how == "cancel":
                assert last.closed.reason == "Client requested cancel"
            elif how == "mistake":
                assert last.error.message == "Validation error: StreamInit already received"
            else:
                assert last.error.error_type == NODE_EXECUTION and "SIGKILL" in last.error.message
            results = [each.result for each in stream.came if each.HasField("result")]
            assert [each.total_items_processed for each in results] == list(range(1, len(results) + 1))

    px.run(main())


def test_a_service_stops_though_a_client_does_not_read(px: Any, sv: Any) -> None:
    """One whose last word waits, and one whose results do."""

    async def main() -> None:
        async with sv.serving() as client:
            cancelled = await client.ready(sv.chain("t-flood"))
            await cancelled.chunk("n0", str(BIG), 1)
            await sv.stalled(client.service)
            await cancelled.command(Control.COMMAND_CANCEL)
            await sv.until(lambda: not client.pids())
            working = await client.ready(sv.chain("t-flood"))
            await working.chunk("n0", str(BIG), 1)
            await sv.stalled(client.service)
            await client.service.stop(drain_secs=0)
            assert client.pids() == []
            for stream in (cancelled, working):
                with pytest.raises(grpc.aio.AioRpcError) as raised:
                    await stream.finish()
                assert raised.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)

    px.run(main())
