"""StreamPipeline that goes well: the order of what comes, numbers, ports, metrics, each way to end."""

from __future__ import annotations

from typing import Any

import grpc.aio
import pytest
import remotemedia_v1_pb2 as pb

pytestmark = pytest.mark.usefixtures("leak_check")

Control = pb.StreamControl


def kinds(came: list[pb.StreamResponse]) -> list[str]:
    return [each.WhichOneof("response") for each in came]


def test_from_init_to_closed(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.open(sv.chain("t-tag", "t-tag"), client_version="", expected_chunk_size=320)
            ready = await stream.read_a("ready")
            assert len(ready.session_id) == 36 and client.service.executor.sessions.keys() == {ready.session_id}
            assert (ready.recommended_chunk_size, ready.max_buffer_latency_ms) == (320, 100)
            # All of what was said while they loaded came before, of each node from its start to its being ready.
            assert {each.node_id for each in stream.progress} == {"n0", "n1"}
            for name in ("n0", "n1"):
                steps = [each.status for each in stream.progress if each.node_id == name]
                assert steps[0] == "starting" and steps[-1] == "ready"
            said = len(stream.progress)

            await stream.chunk("n0", "hi", 7)
            result = await stream.read_a("result")
            assert result.sequence == 7 and result.total_items_processed == 1 and result.processing_time_ms > 0
            assert {name: sv.said(each) for name, each in result.data_outputs.items()} == {"n1": "hi>n0.input>n1.input"}
            await stream.close()
            closed = await stream.read_a("closed")
            assert (closed.session_id, closed.reason) == (ready.session_id, "Client requested close")
            metrics = closed.final_metrics
            assert {name: each.items_processed for name, each in metrics.node_metrics.items()} == {"n0": 1, "n1": 1}
            for each in metrics.node_metrics.values():
                assert each.first_outputs == 1
                assert 0 < each.first_output_p50_secs <= each.first_output_p95_secs <= each.first_output_p99_secs
            assert metrics.wall_time_ms > 0 and metrics.data_type_breakdown == {"text": 1}
            await stream.finish()
            assert len(stream.progress) == said
            assert client.pids() == []

    px.run(main())


@pytest.mark.parametrize("service", ["execution", "streaming"])
def test_25_chunks_and_close_at_once(px: Any, sv: Any, service: str) -> None:
    """Nothing of what was accepted is lost, though nobody waits: neither for ready, nor before the end. On both
    services."""

    async def main() -> None:
        async with sv.serving() as client:
            stream = sv.Stream(getattr(client, service).StreamPipeline())
            await stream.send(init=pb.StreamInit(manifest=sv.chain(("t-work", {"secs": 0.005}), "t-echo")))
            for number in range(1, 26):
                await stream.chunk("n0", f"chunk {number}", number)
            await stream.close()
            assert await stream.results() == [(number, "n1", f"chunk {number}") for number in range(1, 26)]
            assert kinds(stream.came)[0] == "ready" and kinds(stream.came)[-1] == "closed"
            metrics = [each.metrics for each in stream.came if each.WhichOneof("response") == "metrics"]
            assert [each.chunks_processed for each in metrics] == [10, 20]
            assert all(each.peak_memory_bytes and each.data_type_breakdown == {"text": 10} for each in metrics[:1])
            assert metrics[1].session_id == stream.came[0].ready.session_id and metrics[1].chunks_dropped == 0

    px.run(main())


@pytest.mark.parametrize(
    ("commands", "reason"),
    [
        ([Control.COMMAND_CLOSE], "Client requested close"),
        ([Control.COMMAND_UNSPECIFIED], "Unspecified"),
        ([], "Client closed the request stream"),
        ([Control.COMMAND_CLOSE, Control.COMMAND_CLOSE, Control.COMMAND_UNSPECIFIED], "Client requested close"),
    ],
)
@pytest.mark.parametrize("when", ["before ready", "after a result"])
def test_ways_to_end(px: Any, sv: Any, commands: list[int], reason: str, when: str) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.open(sv.chain("t-repeat"))
            await stream.chunk("n0", "x", 1)
            if when == "after a result":
                await stream.read_a("ready")
                await stream.read_a("result")
            for command in commands:
                await stream.command(command)
            await stream.call.done_writing()
            texts = ["x.0", "x.1", "x.2", "one more", "the last"]
            assert await stream.results() == [(1, "n0", text) for text in texts]
            assert stream.came[-1].closed.reason == reason

    px.run(main())


def test_close_alone_will_do(px: Any, sv: Any) -> None:
    """A client that reads up to ``closed`` and never ends its requests."""

    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.ready(sv.chain("t-echo"))
            await stream.command(Control.COMMAND_CLOSE)
            await stream.finish()
            assert kinds(stream.came) == ["ready", "closed"]

    px.run(main())


def test_nothing_was_sent(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            stream = sv.Stream(client.streaming.StreamPipeline())
            await stream.call.done_writing()
            assert await stream.finish() == []
            assert not client.service.executor.sessions

    px.run(main())


def test_each_output_is_a_result_with_the_number_of_its_chunk(px: Any, sv: Any) -> None:
    async def main() -> None:
        nodes = [sv.node("a"), sv.node("b", "t-tag"), sv.node("c", "t-repeat", {"times": 2})]
        async with sv.serving() as client:
            stream = await client.open(sv.graph(nodes, "a>b", "a>c"), data_inputs={"a": sv.text("0")})
            # A gap passes, and so does a chunk without a number.
            for number in (3, 4, 0, 9):
                await stream.chunk("a", str(number), number)
            await stream.close()
            results = await stream.results()
            numbers = (0, 3, 4, 0, 9)
            assert [each for each in results if each[1] == "b"] == [(n, "b", f"{n}>b.input") for n in numbers]
            assert [each for each in results if each[1] == "c"] == [
                *((n, "c", f"{n}.{time}") for n in numbers for time in range(2)),
                (9, "c", "one more"),
                (9, "c", "the last"),
            ]
            totals = [each.result.total_items_processed for each in stream.came if each.HasField("result")]
            assert totals == list(range(1, len(results) + 1))

    px.run(main())


def test_numbers_are_counted_for_each_node(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.ready(sv.graph([sv.node("a"), sv.node("b")]))
            for node_id, number in (("a", 5), ("b", 1), ("a", 6), ("b", 2)):
                await stream.chunk(node_id, "x", number)
            await stream.close()
            assert sorted(await stream.results()) == [(1, "b", "x"), (2, "b", "x"), (5, "a", "x"), (6, "a", "x")]

    px.run(main())


def test_named_buffers_go_to_their_ports(px: Any, sv: Any) -> None:
    async def main() -> None:
        manifest = sv.graph([sv.node("a", "t-two-inputs"), sv.node("b", "t-declared")])

        async def named(stream: Any, node_id: str, **buffers: str) -> None:
            texts = {port: sv.text(each) for port, each in buffers.items()}
            await stream.send(data_chunk=pb.DataChunk(node_id=node_id, named_buffers=texts, sequence=1))

        async with sv.serving() as client:
            stream = await client.ready(manifest)
            await named(stream, "a", left="1", right="2")
            # A node with one input: its only buffer may be called as one likes.
            await named(stream, "b", whatever="3")
            # `buffer` goes before them.
            both = pb.DataChunk(node_id="b", buffer=sv.text("4"), named_buffers={"x": sv.text("5")}, sequence=2)
            await stream.send(data_chunk=both)
            await stream.close()
            assert sorted(await stream.results()) == [
                (1, "a", "1 by left"),
                (1, "a", "2 by right"),
                (1, "b", "3>b.words"),
                (2, "b", "4>b.words"),
            ]

    px.run(main())


def test_ports_of_outputs_are_told(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.ready(sv.chain(("t-ports", {"ports": ["left", "right"]})))
            await stream.chunk("n0", "x")
            await stream.close()
            await stream.finish()
            results = [each.result.data_outputs["n0"] for each in stream.came if each.HasField("result")]
            assert [(each.port, sv.said(each)) for each in results] == [
                ("left", "x on left"),
                ("right", "x on right"),
            ]

    px.run(main())


def test_requests_with_nothing_in_them_are_skipped(px: Any, sv: Any) -> None:
    """Whatever a newer client says that is not known here: as the first request, and between chunks."""

    async def main() -> None:
        unknown = b"\xf2\x3f\x02hi"  # field 1022, two bytes
        async with sv.serving() as client:
            raw = client.channel.stream_stream("/remotemedia.v1.StreamingPipelineService/StreamPipeline")()
            manifest = sv.chain("t-echo")
            chunk = pb.StreamRequest(data_chunk=pb.DataChunk(node_id="n0", buffer=sv.text("x"), sequence=1))
            for message in (
                b"",
                unknown,
                pb.StreamRequest(init=pb.StreamInit(manifest=manifest)).SerializeToString() + unknown,
                unknown,
                b"",
                chunk.SerializeToString() + unknown,
            ):
                await raw.write(message)
            await raw.done_writing()
            came = []
            while (response := await raw.read()) is not grpc.aio.EOF:
                came.append(pb.StreamResponse.FromString(response))
            assert [kind for kind in kinds(came) if kind != "init_progress"] == ["ready", "result", "closed"]

    px.run(main())


def test_progress_as_results(px: Any, sv: Any) -> None:
    """In the way of older servers, where the operator wants it."""

    async def main() -> None:
        async with sv.serving(status_results=True) as client:
            stream = await client.open(sv.chain(("t-init", {"how": "progress"})))
            await stream.call.done_writing()
            results = await stream.results()
            assert {(number, name) for number, name, _ in results} == {(0, "_status")}
            assert "[n0] status=loading message=half" in [text for _, _, text in results]
            assert [(each.status, each.progress) for each in stream.progress if each.message == "too much"] == [
                ("loading", 1.0)
            ]
            assert len(stream.progress) == len(results) and kinds(stream.came)[-2:] == ["ready", "closed"]

    px.run(main())
