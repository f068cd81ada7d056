"""``session.interrupt()``: the old turn is gone, the new one is complete, wherever the nodes were."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from remotemedia.core.multiprocessing import MultiprocessConfig, NodeProcessError, Pipeline, Session

pytestmark = pytest.mark.usefixtures("leak_check")


async def new_turn(px: Any, session: Session, sink: str, words: list[str]) -> None:
    """What is sent now, all of it and nothing else, comes out now."""
    source = session.pipeline.input_nodes[0]
    sending = asyncio.create_task(px.send_all(session, source, words, end=False))
    for word in words:
        data = await session.receive(sink)
        assert data is not None and data.payload == word
    await sending
    with pytest.raises(TimeoutError):
        await session.receive(sink, timeout=0)


def test_while_idle_fifty_times(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-echo", "t-echo") as session:
            for turn in range(50):
                await session.interrupt()
                await new_turn(px, session, "n1", [f"{turn}", "again"])

    px.run(main())


def test_while_messages_are_queued_fifty_times(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-echo", ("t-work", {"secs": 0.001}), "t-echo", channel_capacity=50) as session:
            for turn in range(50):
                for number in range(20):
                    await session.send("n0", px.text(f"old {turn}.{number}"))
                await session.interrupt()
                await new_turn(px, session, "n2", [f"{turn}.{number}" for number in range(3)])

    px.run(main())


@pytest.mark.parametrize("capacity", [1, 10])
def test_while_a_process_call_awaits_fifty_times(px: Any, capacity: int) -> None:
    async def main() -> None:
        async with px.session("t-echo", "t-do", "t-echo", channel_capacity=capacity) as session:
            for turn in range(50):
                await session.send("n0", px.text("wait"))
                data = await session.receive("n2")  # it is in process() now
                assert data is not None and data.payload == "wait"
                for _ in range(capacity):
                    await session.send("n0", px.text("old"))
                await session.interrupt()
                await new_turn(px, session, "n2", [f"{turn}", "again"])
            assert [stats.failures for stats in session.node_stats()] == [0, 0, 0]

    px.run(main())


@pytest.mark.parametrize(
    "config", [{}, {"stubborn": True}, {"pause": False}], ids=["plain", "swallows the cancellation", "never awaits"]
)
@pytest.mark.parametrize("capacity", [2, 10_000])
def test_inside_an_endless_stream_fifty_times(px: Any, config: dict[str, Any], capacity: int) -> None:
    async def main() -> None:
        async with px.session(("t-stream", config), "t-echo", channel_capacity=capacity) as session:
            for turn in range(50):
                await session.send("n0", px.text("stream"))
                data = await session.receive("n1")
                assert data is not None and data.payload == "stream.0"
                await session.interrupt()
                await new_turn(px, session, "n1", [f"{turn}", "again"])

    px.run(main())


def test_while_blocked_on_a_full_channel_downstream(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-echo", "t-echo", channel_capacity=1) as session:
            for turn in range(50):
                # One in each of three channels, one in the hands of each node, and a send that waits.
                sending = asyncio.create_task(px.send_all(session, "n0", [f"old {turn}"] * 5, end=False))
                await sending
                waiting = asyncio.create_task(session.send("n0", px.text("old")))
                await asyncio.sleep(0)  # now it waits for room: it belongs to the old turn
                await session.interrupt()
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
                await new_turn(px, session, "n1", [f"{turn}.{number}" for number in range(8)])

    px.run(main())


def test_during_a_fan_out_and_a_fan_in(px: Any) -> None:
    pipeline = Pipeline()
    for name in "abcd":
        pipeline.add_node({"c": "t-work", "d": "t-tag"}.get(name, "t-echo"), name)
    for a, b in ("ab", "ac", "bd", "cd"):
        pipeline.connect(a, "output", b, a)

    async def main() -> None:
        async with Session("s", pipeline, MultiprocessConfig(channel_capacity=2)) as session:
            for turn in range(50):
                for number in range(4):
                    await session.send("a", px.text(f"old {turn}.{number}"))
                await session.interrupt()
                sending = asyncio.create_task(px.send_all(session, "a", [f"{turn}.{n}" for n in range(4)], end=False))
                found = [data.payload for data in [await session.receive("d") for _ in range(8)] if data]
                await sending
                for port in "bc":
                    wanted = [f"{turn}.{n}>d.{port}" for n in range(4)]
                    assert [word for word in found if word.endswith(f"d.{port}")] == wanted
                with pytest.raises(TimeoutError):
                    await session.receive("d", timeout=0)

    px.run(main())


def test_a_call_that_does_not_await_is_waited_for(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-do", "t-echo") as session:
            for turn in range(3):
                await session.send("n0", px.text("block 0.1"))
                data = await session.receive("n1")
                assert data is not None and data.payload == "block 0.1"
                await session.send("n0", px.text("old"))
                await session.interrupt()
                await new_turn(px, session, "n1", [f"{turn}", "again"])

    px.run(main())


def test_user_code_that_swallows_the_cancellation(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-stubborn", "t-echo") as session:
            for turn in range(50):
                await new_turn(px, session, "n1", ["in"])
                await session.send("n0", px.text(f"wait {turn}"))
                await px.until(lambda: session.get_channel_stats("session_to_n0").current_occupancy == 0)
                await session.interrupt()
                await new_turn(px, session, "n1", [f"{turn}", "again"])

    px.run(main())


def test_on_interrupt_is_called_once_before_the_new_turn(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-turn", "t-turn") as session:
            for number in range(3):
                await session.send("n0", px.text(f"{number}"))
                assert await session.receive("n1") is not None
                await session.interrupt()
            await new_turn(px, session, "n1", ["x"])
            await session.interrupt()
            await session.send("n0", px.text("tell"))
            data = await session.receive("n1")
            assert data is not None and data.payload == "[1, 1, 1, 1]"

    px.run(main())


def test_while_somebody_keeps_sending(px: Any) -> None:
    # A backlog that never ends must not keep a node from hearing of the interruption.
    async def main() -> None:
        async with px.session(("t-work", {"secs": 0.003}), channel_capacity=5) as session:

            async def feed() -> None:
                while True:
                    await session.send("n0", px.text("more"))

            async def drain() -> None:
                while await session.receive("n0") is not None:
                    pass

            tasks = [asyncio.create_task(feed()), asyncio.create_task(drain())]
            for _ in range(5):
                await px.until(lambda: session.get_channel_stats("session_to_n0").current_occupancy == 5)
                await session.interrupt()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    px.run(main(), patience_secs=20)


def test_after_the_end_of_the_stream(px: Any) -> None:
    async def main() -> None:
        async with px.session(("t-repeat", {"times": 1}), "t-echo") as session:
            await px.send_all(session, "n0", ["x"])
            assert await px.received(session, "n1") == ["x.0", "one more", "the last"]
            await session.interrupt()
            assert await session.receive("n1") is None

    px.run(main())


def test_interrupts_at_the_same_time(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-do", "t-turn") as session:
            await session.send("n0", px.text("wait"))
            assert await session.receive("n1") is not None
            await asyncio.gather(*(session.interrupt() for _ in range(5)))
            await new_turn(px, session, "n1", ["x", "y"])
            waiting = asyncio.create_task(session.interrupt())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await session.interrupt()
            await new_turn(px, session, "n1", ["z"])

    px.run(main())


def test_cancellation_of_the_users_own_making_fails_one_message_only(px: Any) -> None:
    async def main() -> None:
        failed: list[NodeProcessError] = []
        async with px.session("t-do") as session:
            session.on_error(failed.append)
            await session.send("n0", px.text("wait"))
            assert await session.receive("n0") is not None
            await session.interrupt()  # a cancellation of the framework's making, of which nothing may be left
            await px.send_all(session, "n0", ["a", "cancel", "b"])
            assert await px.received(session, "n0") == ["a", "cancel", "b"]
            await px.until(lambda: failed)
            assert (failed[0].node_id, failed[0].sequence) == ("n0", 2)
            assert "CancelledError" in str(failed[0])
            assert session.node_stats()[0].failures == 1

    px.run(main())
