"""``session.interrupt()``: the old turn is gone, the new one is complete.

Wherever the nodes are, and whatever else happens: tests/faults/test_interruption*.py.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from remotemedia.core.multiprocessing import NodeProcessError, Session

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
