"""StreamPipeline under way: the first output before the last input, slow clients, slow nodes, interruptions."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio
import pytest
import remotemedia_v1_pb2 as pb

pytestmark = pytest.mark.usefixtures("leak_check")

Control = pb.StreamControl
MB = 1_000_000


def test_each_output_comes_before_the_next_input_is_sent(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.ready(sv.chain("t-echo", "t-echo", "t-echo"))
            for number in range(1, 51):
                await stream.chunk("n0", f"{number}", number)
                while (response := await stream.read()) is not None and not response.HasField("result"):
                    pass
                assert sv.said(response.result.data_outputs["n2"]) == f"{number}"
            await stream.close()
            assert len(await stream.results()) == 50

    px.run(main())


def test_a_client_that_does_not_read_is_waited_for(px: Any, sv: Any) -> None:
    """What is made for it stays with the node, and what it sends with itself: no more than a few of either are on the
    way. Then it reads, and nothing is missing."""
    count = 200

    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.ready(sv.chain("t-echo", channel_capacity=4, shm_segment_size=16 * MB))
            written = 0

            async def write_all() -> None:
                nonlocal written
                for number in range(1, count + 1):
                    await stream.chunk("n0", sv.binary(number.to_bytes(2) * (MB // 2)), number)
                    written = number
                await stream.close()

            writing = asyncio.ensure_future(write_all())
            await sv.stalled(client.service)
            (session,) = client.service.executor.sessions.values()
            await sv.until(lambda: any(each.blocked_now_secs > 0.3 for each in session.channel_stats()))
            # In two channels of four, in the node, read ahead, and in gRPC's buffers on either side.
            assert written < 60
            numbers = []
            while (response := await stream.call.read()) is not grpc.aio.EOF:
                if response.HasField("result"):
                    result = response.result
                    numbers.append(result.sequence)
                    assert result.data_outputs["n0"].binary.data == result.sequence.to_bytes(2) * (MB // 2)
            await writing
            assert numbers == list(range(1, count + 1))

    px.run(main())


def test_a_slow_node_is_waited_for(px: Any, sv: Any) -> None:
    """Its client can send no more than a few chunks until it takes one."""
    count = 100

    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.ready(sv.chain("t-do", channel_capacity=4))
            await stream.chunk("n0", "block 1.5")
            written = 0

            async def write_all() -> None:
                nonlocal written
                for number in range(count):
                    await stream.chunk("n0", sv.binary(number.to_bytes(2) * (MB // 2)))
                    written += 1
                await stream.close()

            writing = asyncio.ensure_future(write_all())
            assert [await stream.result() for _ in range(2)] == [("n0", "block 1.5"), ("n0", "blocked no more")]
            assert written < 60
            del stream.came[:]
            await stream.finish()
            await writing
            results = [each.result.data_outputs["n0"] for each in stream.came if each.HasField("result")]
            assert [each.binary.data[:2] for each in results] == [each.to_bytes(2) for each in range(count)]

    px.run(main())


def test_without_backpressure_chunks_are_dropped_and_counted(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.ready(sv.chain("t-do", channel_capacity=2, enable_backpressure=False))
            await stream.chunk("n0", "wait")
            await sv.until(lambda: client.busy("n0"))
            for number in range(1, 20):
                await stream.chunk("n0", "x", number)
            assert sv.said((await stream.read_a("result")).data_outputs["n0"]) == "wait"
            metrics = [await stream.read_a("metrics") for _ in range(2)]
            # Two are in the channel, and one the node waits with.
            assert [(each.chunks_processed, each.chunks_dropped) for each in metrics] == [(10, 7), (20, 17)]
            assert metrics[1].buffer_items == 2
            await stream.command(Control.COMMAND_CANCEL)
            await stream.finish()

    px.run(main())


def test_an_interruption_drops_what_is_under_way(px: Any, sv: Any) -> None:
    """What was sent before it gives nothing after its answer, the rest everything; also with all channels full."""

    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.ready(sv.chain("t-do", "t-echo", channel_capacity=2))
            await stream.chunk("n0", "wait", 1)
            await sv.until(lambda: client.busy("n0"))
            for number in range(2, 8):
                await stream.chunk("n0", "old", number)
            await stream.command(Control.COMMAND_INTERRUPT)
            while (response := await stream.read()) is not None and not response.HasField("interrupted"):
                assert response.result.sequence == 1
            for number in range(8, 12):
                await stream.chunk("n0", "new", number)
            await stream.command(Control.COMMAND_INTERRUPT)
            await stream.chunk("n0", "newest", 12)
            await stream.close()
            del stream.came[:]
            results = await stream.results()
            after = [each.WhichOneof("response") for each in stream.came].index("interrupted")
            assert all(text == "new" for _, _, text in results[:after])
            assert results[after:] == [(12, "n1", "newest")]
            assert stream.came[-1].HasField("closed")

    px.run(main())


def test_an_interruption_drops_the_rest_of_what_came_together(px: Any, sv: Any) -> None:
    """One of two buffers waits for room when it comes; the other is of the old turn, too."""

    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.ready(sv.chain("t-do", channel_capacity=1))
            await stream.chunk("n0", "wait")
            await sv.until(lambda: client.busy("n0"))
            await stream.chunk("n0", "fills the channel")
            both = {"x": sv.text("old"), "y": sv.text("old")}
            await stream.send(data_chunk=pb.DataChunk(node_id="n0", named_buffers=both))
            (session,) = client.service.executor.sessions.values()
            await sv.until(lambda: any(each.blocked_now_secs for each in session.channel_stats()))
            await stream.command(Control.COMMAND_INTERRUPT)
            await stream.chunk("n0", "new")
            await stream.close()
            assert [text for _, _, text in await stream.results()] == ["wait", "new"]

    px.run(main())


def test_an_interruption_before_anything_is_ready(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.open(sv.chain("t-echo"), data_inputs={"n0": sv.text("old")})
            await stream.chunk("n0", "old", 1)
            await stream.command(Control.COMMAND_INTERRUPT)
            await stream.chunk("n0", "new", 2)
            await stream.close()
            assert await stream.results() == [(2, "n0", "new")]

    px.run(main())


def test_the_end_of_one_input(px: Any, sv: Any) -> None:
    async def main() -> None:
        manifest = sv.graph([sv.node("a", "t-tag", {"says_end": True}), sv.node("b", "t-tag")])
        async with sv.serving() as client:
            stream = await client.ready(manifest)
            await stream.command(Control.COMMAND_END_INPUT, node_id="a")
            assert await stream.result() == ("a", "end>a")
            await stream.chunk("b", "still open", 1)
            assert await stream.result() == ("b", "still open>b.input")
            await stream.command(Control.COMMAND_END_INPUT, node_id="b")
            # Nothing can come any more, and nobody said CLOSE.
            assert (await stream.read_a("closed")).reason == "Client requested close"

    px.run(main())


def test_a_service_that_stops(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.ready(sv.chain("t-echo"))
            await client.service.stop(drain_secs=0)
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await stream.read()
            assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
            assert raised.value.details() == "the service is stopping" and client.pids() == []

    px.run(main())


@pytest.mark.parametrize("when", ["loading", "working", "not reading"])
def test_a_client_that_goes_takes_its_processes_along(px: Any, sv: Any, when: str) -> None:
    async def main() -> None:
        first = {"loading": ("t-init", {"how": "wait"}), "working": "t-do", "not reading": "t-flood"}[when]
        async with sv.serving() as client:
            stream = await client.open(sv.chain(first, "t-echo"))
            if when != "loading":
                await stream.chunk("n0", str(MB) if when == "not reading" else "wait")
            await {
                "loading": lambda: sv.until(lambda: len(client.pids()) == 2),
                "working": lambda: sv.until(lambda: client.busy("n0")),
                "not reading": lambda: sv.stalled(client.service),
            }[when]()
            pids = client.pids()
            stream.call.cancel()
            await sv.until(lambda: not client.service.executor.sessions)
            assert pids and not any(sv.lives(pid) for pid in pids)
            await client.result(sv.chain("t-echo"), {"n0": "the next"})

    px.run(main())
