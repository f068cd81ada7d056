"""``session.interrupt(from_node=...)`` of a remote session: what is on its way stays or goes, as in a local one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from remotemedia.client import PipelineClient, RemoteSession
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import Pipeline, PipelineError

pytestmark = pytest.mark.usefixtures("leak_check")

text = RuntimeData.text


async def said(session: RemoteSession, node_id: str, count: int = 1) -> list[Any]:
    found = [await session.receive(node_id) for _ in range(count)]
    return [None if data is None else data.payload for data in found]


def beside() -> Pipeline:
    """Two nodes that have nothing to do with each other, and one after the first."""
    return (
        Pipeline()
        .add_node("t-mouth", "left")
        .add_node("t-repeat", "after", {"times": 100})
        .add_node("t-mouth", "right")
        .connect("left", "output", "after", "input")
    )


def test_words_spoken_over_the_answer_wait_and_are_answered(px: Any, service: Any) -> None:
    async def main() -> None:
        async with PipelineClient(service.target) as client, client.session(px.chain("t-mouth", "t-mouth")) as session:
            for turn in range(5):
                await session.send("n0", text(f"long {turn}"))
                assert await said(session, "n1") == [f"{turn}.0"]
                for word in ("he", "was", "not"):
                    await session.send("n0", text(word))
                await session.interrupt(from_node="n0")
                assert await said(session, "n1", 3) == ["he", "was", "not"]
            with pytest.raises(TimeoutError):
                await session.receive("n1", timeout=0)

    px.run(main())


def test_past_all_that_waits_which_stays(px: Any, service: Any) -> None:
    """The node is stuck, the channel is full, and so is all that the service reads ahead."""

    async def main() -> None:
        config = {"channel_capacity": 2}
        pipeline = px.chain("t-mouth", "t-echo")
        async with PipelineClient(service.target) as client, client.session(pipeline, config=config) as session:
            await session.send("n0", text("long x"))
            assert await said(session, "n1") == ["x.0"]
            for number in range(100):
                await session.send("n0", text(f"{number}"))
            await session.interrupt(from_node=["n0"])
            assert await said(session, "n1", 100) == [f"{number}" for number in range(100)]

    px.run(main())


def test_what_the_client_holds_goes_by_what_it_came_through(px: Any, service: Any) -> None:
    """More than it holds without being asked for: the answer must not wait behind it."""

    async def main() -> None:
        async with PipelineClient(service.target) as client, client.session(beside()) as session:
            for turn in range(5):
                for number in range(5):
                    await session.send("left", text(f"old {turn}"))
                    await session.send("right", text(f"{number}"))
                assert session._stream is not None
                while len(session._stream.inbox._nodes["after"].outputs) < 100:
                    await session._stream._changed.wait()
                await session.interrupt(from_node="left")
                await session.send("left", text("new"))
                assert await said(session, "after", 100) == [f"new.{number}" for number in range(100)]
                assert await said(session, "right", 5) == [f"{number}" for number in range(5)]

    px.run(main())


def test_while_nobody_reads_what_stays(px: Any, service: Any) -> None:
    """The client holds all it may, the wire is full, and a message waits to be written: the command must get past."""

    async def main() -> None:
        config = {"channel_capacity": 2}
        async with PipelineClient(service.target) as client, client.session(beside(), config=config) as session:

            async def flood() -> None:
                for _ in range(400):
                    await session.send("right", text("x" * 200_000))

            await session.send("left", text("long old"))
            flooding = asyncio.create_task(flood())
            await service.until("blocked", bool)
            assert session._stream is not None
            sent = -1
            while sent != session._stream._sent:  # until nothing moves
                sent = session._stream._sent
                await asyncio.sleep(0.2)
            assert not flooding.done()
            await session.interrupt(from_node="left")
            for _ in range(400):
                assert await session.receive("right") is not None
            await flooding

    px.run(main())


def test_what_is_held_of_a_stream_that_has_ended(px: Any, service: Any) -> None:
    async def main() -> None:
        pipeline = Pipeline().add_node("t-mouth", "left").add_node("t-mouth", "right")
        async with PipelineClient(service.target) as client, client.session(pipeline) as session:
            for node_id in ("left", "right"):
                await session.send(node_id, text(node_id))
            await session.end_input()
            assert session._stream is not None
            while not session._stream.closed:
                await session._stream.wait()
            await session.interrupt(from_node="left")
            assert await said(session, "right", 2) == ["right", None]
            assert await said(session, "left") == [None]

    px.run(main())


def test_whole_interruptions_and_others_at_once(px: Any, service: Any) -> None:
    async def main() -> None:
        async with PipelineClient(service.target) as client, client.session(beside()) as session:
            for turn in range(10):
                for node_id in ("left", "right"):
                    await session.send(node_id, text("long x"))
                await asyncio.gather(
                    session.interrupt(from_node="left"),
                    session.interrupt(),
                    session.interrupt(from_node=["right", "after"], drop_queued=True),
                    session.interrupt(from_node="left"),
                )
                for node_id in ("left", "right"):
                    await session.send(node_id, text(f"{turn}"))
                assert await said(session, "right") == [f"{turn}"]
                assert await said(session, "after", 100) == [f"{turn}.{number}" for number in range(100)]

    px.run(main())


def test_a_node_that_there_is_not(px: Any, service: Any) -> None:
    async def main() -> None:
        async with PipelineClient(service.target) as client, client.session(px.chain("t-echo")) as session:
            with pytest.raises(PipelineError, match="there is no node 'n'; did you mean 'n0'"):
                await session.interrupt(from_node="n")
            with pytest.raises(PipelineError, match="from_node is empty"):
                await session.interrupt(from_node=[])
            await session.send("n0", text("x"))
            assert await said(session, "n0") == ["x"]

    px.run(main())
