"""InterruptStream: an interruption that overtakes the chunks that wait on their way to a pipeline that is full."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest
import remotemedia_v1_pb2 as pb

pytestmark = pytest.mark.usefixtures("leak_check")

INTERRUPT = pb.StreamControl.COMMAND_INTERRUPT


async def interrupt(client: Any, stream: Any, number: int, played: Any = (), **options: Any) -> None:
    session_id = next(each.ready.session_id for each in stream.came if each.HasField("ready"))
    request = pb.InterruptRequest(session_id=session_id, interruption=number, played=played)
    await client.execution.InterruptStream(request, **options)


async def flooded(client: Any, sv: Any) -> Any:
    """A stream whose only node is stuck in a message, with more behind it than the service reads ahead."""
    stream = await client.ready(sv.chain("t-do", channel_capacity=2))
    await stream.chunk("n0", "wait", 1)
    await sv.until(lambda: client.busy("n0"))
    for number in range(2, 30):
        await stream.chunk("n0", "old", number)
    return stream


def test_past_more_chunks_than_are_read_ahead(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            stream = await flooded(client, sv)
            await interrupt(client, stream, 1)  # returns: the node has let go
            await stream.chunk("n0", "old, too", 30)
            await stream.command(INTERRUPT, interruption=1)
            await stream.chunk("n0", "new", 31)
            await stream.close()
            results = await stream.results()
            assert results[-1] == (31, "n0", "new")
            assert {text for _, _, text in results[:-1]} <= {"wait"}
            kinds = [each.WhichOneof("response") for each in stream.came]
            assert kinds.count("interrupted") == 1

    px.run(main())


def test_a_command_that_was_read_first_is_not_carried_out_twice(px: Any, sv: Any) -> None:
    """What was sent after the command is the new turn, however late its other word comes."""

    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.ready(sv.chain("t-echo"))
            await stream.command(INTERRUPT, interruption=1)
            await stream.read_a("interrupted")
            await stream.chunk("n0", "a", 1)
            await stream.read_a("result")
            await interrupt(client, stream, 1)
            await stream.chunk("n0", "b", 2)
            await stream.close()
            assert [text for _, _, text in await stream.results()] == ["a", "b"]

    px.run(main())


def test_the_newest_counts(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            stream = await flooded(client, sv)
            await asyncio.gather(*(interrupt(client, stream, number) for number in (2, 1, 3)))
            for number in (1, 2, 3):
                await stream.chunk("n0", "between", 30 + number)
                await stream.command(INTERRUPT, interruption=number)
            await stream.chunk("n0", "new", 40)
            await stream.close()
            texts = [text for _, _, text in await stream.results()]
            assert texts[-1] == "new" and "between" not in texts and "old" not in texts

    px.run(main())


def test_whose_stream_it_is(px: Any, sv: Any) -> None:
    """Another client learns nothing of it, not even that it is there."""
    one, other = ((("authorization", f"Bearer {token}"),) for token in ("one", "other"))

    async def code(client: Any, session_id: str, metadata: Any) -> grpc.StatusCode:
        call = client.execution.InterruptStream(pb.InterruptRequest(session_id=session_id), metadata=metadata)
        with pytest.raises(grpc.aio.AioRpcError):
            await call
        return await call.code()

    async def main() -> None:
        async with sv.serving(tokens=("one", "other")) as client:
            stream = sv.Stream(client.streaming.StreamPipeline(metadata=one))
            await stream.send(init=pb.StreamInit(manifest=sv.chain("t-echo")))
            session_id = (await stream.read_a("ready")).session_id
            assert await code(client, session_id, other) is grpc.StatusCode.NOT_FOUND
            assert await code(client, "another", one) is grpc.StatusCode.NOT_FOUND
            assert await code(client, session_id, None) is grpc.StatusCode.UNAUTHENTICATED
            await stream.chunk("n0", "goes on", 1)
            await interrupt(client, stream, 1, metadata=one)
            await stream.close()
            await stream.finish()
            assert await code(client, session_id, one) is grpc.StatusCode.NOT_FOUND, "it has ended"

    px.run(main())


def test_bytes_that_are_no_request(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            call = client.channel.unary_unary("/remotemedia.v1.PipelineExecutionService/InterruptStream")(b"\xff\xff")
            assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT

    px.run(main())


# --- from some nodes on ------------------------------------------------------------------------------------------


async def interrupt_from(client: Any, stream: Any, number: int, *from_nodes: str) -> None:
    session_id = next(each.ready.session_id for each in stream.came if each.HasField("ready"))
    request = pb.InterruptRequest(session_id=session_id, interruption=number, from_nodes=from_nodes)
    await client.execution.InterruptStream(request)


def test_from_a_node_on_chunks_that_wait_stay_and_the_answer_says_what_was_cut(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.ready(sv.chain("t-do", "t-echo", channel_capacity=2))
            await stream.chunk("n0", "wait", 1)
            await sv.until(lambda: client.busy("n0"))
            for number in range(2, 30):
                await stream.chunk("n0", f"{number}", number)
            await interrupt_from(client, stream, 1, "n0")
            # Its other word, and once more the first: it is carried out once.
            await stream.command(INTERRUPT, interruption=1, from_nodes=["n0"])
            await interrupt_from(client, stream, 1, "n0")
            await stream.command(INTERRUPT, from_nodes=["n1"], drop_queued=False)
            await stream.close()
            results = [each for each in await stream.results() if each[2] != "wait"]
            cut = [each.interrupted for each in stream.came if each.HasField("interrupted")]
            assert [one.nodes for one in cut] == [1, 2] and cut[0].epoch < cut[1].epoch
            # The second may have met some of them in n1, or past it; none was dropped before.
            numbers = [number for number, _, _ in results]
            assert numbers == sorted(numbers) and numbers[-1] == 29
            # Each says what it came through, and which interruption was the last before it.
            came = [each.result for each in stream.came if each.HasField("result")]
            assert {result.lineage for result in came} == {3}
            assert {result.epoch for result in came} <= {0, cut[0].epoch, cut[1].epoch}

    px.run(main())


def test_from_a_node_that_there_is_not(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.ready(sv.chain("t-echo"))
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await interrupt_from(client, stream, 1, "n")
            assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "from_nodes: there is no node 'n'; did you mean 'n0'" in str(raised.value.details())
            with pytest.raises(grpc.aio.AioRpcError, match="from_nodes: there are more than the pipeline has nodes"):
                await interrupt_from(client, stream, 2, *["n0"] * 2)
            await stream.command(INTERRUPT, interruption=1, from_nodes=["n"])
            error = await stream.read_a("error")
            assert "from_nodes: there is no node 'n'; did you mean 'n0'" in error.message

    px.run(main())


def test_words_whose_commands_never_come_are_not_kept_without_end(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.ready(sv.chain("t-echo"))
            for number in range(1, 101):
                await interrupt_from(client, stream, number, "n0")
            with pytest.raises(grpc.aio.AioRpcError, match="100 interruptions wait for their commands"):
                await interrupt_from(client, stream, 101, "n0")
            for number in range(1, 102):
                await stream.command(INTERRUPT, interruption=number, from_nodes=["n0"])
            await stream.chunk("n0", "goes on", 1)
            await stream.close()
            assert await stream.results() == [(1, "n0", "goes on")]

    px.run(main())


def test_each_has_an_answer_of_its_own(px: Any, sv: Any) -> None:
    """Two overtake their commands; the second finds nothing."""

    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.ready(sv.chain("t-echo"))
            await stream.chunk("n0", "a")
            await stream.result()
            for number in (1, 2):
                await interrupt(client, stream, number)
            for number in (1, 2):
                await stream.command(INTERRUPT, interruption=number)
            answers = [await stream.read_a("interrupted") for _ in range(2)]
            assert [each.epoch for each in answers] == [1, 2]
            assert [each.heard["n0"].HasField("delivered") for each in answers] == [True, False]

    px.run(main())


def test_what_was_played_is_told_by_what_overtakes_it(px: Any, sv: Any) -> None:
    """The command itself comes too late, and is not of the new answer."""
    said = pb.StreamControl(command=pb.StreamControl.COMMAND_PLAYED, node_id="n0", output_sequence=0)

    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.ready(sv.chain("t-echo"))
            for number in (1, 2, 3):
                await stream.chunk("n0", "a")
                await stream.result()
                for _ in range(2):
                    await interrupt(client, stream, number, played=[said] if number != 2 else [])
                said.output_sequence = number
                await stream.send(control=said)
                await stream.command(INTERRUPT, interruption=number)
                heard = (await stream.read_a("interrupted")).heard["n0"]
                assert heard.HasField("played") == (number != 2)
                assert not heard.HasField("played") or heard.played.output_sequence == number - 1

    px.run(main())
