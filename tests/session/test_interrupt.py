"""``session.interrupt()``: the old turn is gone, the new one is complete.

Wherever the nodes are, and whatever else happens: tests/faults/test_interruption*.py.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from remotemedia.core.multiprocessing import (
    NodeProcessError,
    Session,
)

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


def test_messages_sent_while_an_interruption_is_pending_are_of_the_new_turn(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-which-turn", channel_capacity=50) as session:
            for turn in range(1, 31):
                for number in range(3):
                    await session.send("n0", px.text(f"old {number}"))
                if turn % 2:
                    data = await session.receive("n0")  # a call is under way
                    assert data is not None and data.payload == f"begun {turn - 1}: old 0"
                interrupting = asyncio.create_task(session.interrupt())
                await asyncio.sleep(0)  # the new turn has begun, and no node knows yet
                sending = asyncio.create_task(px.send_all(session, "n0", [f"{turn}.{n}" for n in range(5)], end=False))
                found = []
                while len(found) < 10:
                    data = await session.receive("n0")
                    assert data is not None
                    found.append(data.payload)
                assert found == [f"{begun}{turn}: {turn}.{n}" for n in range(5) for begun in ("begun ", "")]
                await asyncio.gather(interrupting, sending)
            assert session.node_stats()[0].failures == 0

    px.run(main())


def test_a_task_that_keeps_sending_loses_nothing_of_the_new_turn(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-which-turn", channel_capacity=50) as session:
            turn, last = 0, 15
            sent: list[list[str]] = [[] for _ in range(last + 1)]
            found: list[str] = []

            def queued() -> int:
                return session.get_channel_stats("session_to_n0").current_occupancy

            async def feed() -> None:
                while len(sent[last]) < 10:
                    count, of = len(sent[turn]), turn
                    word = f"{turn}: {turn}.{count}" + " busy" * (count % 20 > 0)
                    sent[turn] += [f"begun {word}", word]
                    await session.send("n0", px.text(word.partition(" ")[2]))
                    # A few ahead of the node; the first of a new turn at once, while the node computes.
                    while turn == of and queued() >= 3:
                        await asyncio.sleep(0)
                await session.end_input("n0")

            async def drain() -> None:
                async for _, data in session.outputs("n0"):
                    found.append(str(data.payload))

            tasks = [asyncio.create_task(feed()), asyncio.create_task(drain())]
            while turn < last:
                count = len(found)
                await px.until(lambda count=count: len(found) > count + 5)
                interrupting = asyncio.create_task(session.interrupt())
                await asyncio.sleep(0)
                turn += 1  # before any other task runs
                await interrupting
            await asyncio.gather(*tasks)
            for number, words in enumerate(sent):
                arrived = [word for word in found if word.removeprefix("begun ").startswith(f"{number}: ")]
                # What a later interruption cut off is the end of a turn, never its beginning.
                assert arrived == (words if number == last else words[: len(arrived)])
                assert arrived

    px.run(main())


def test_the_word_of_an_interruption_comes_after_the_first_message_of_its_turn(
    px: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with px.session("t-which-turn") as session:
            supervisor = session._supervisor
            real, late = supervisor.broadcast, []
            for turn in range(1, 4):
                monkeypatch.setattr(supervisor, "broadcast", lambda *said: late.append(said))
                interrupting = asyncio.create_task(session.interrupt())
                await px.until(lambda: late)
                await session.send("n0", px.text(f"new {turn}"))
                data = await session.receive("n0")  # the node is in the middle of it now
                assert data is not None and data.payload == f"begun {turn}: new {turn}"
                monkeypatch.setattr(supervisor, "broadcast", real)
                real(*late.pop())
                data = await session.receive("n0")
                assert data is not None and data.payload == f"{turn}: new {turn}"
                await interrupting

    px.run(main())


def test_a_node_that_publishes_itself_is_heard_after_an_interruption(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-direct") as session:
            for turn in range(3):
                await session.send("n0", px.text(f"{turn}"))
                for word in ("direct", "returned"):
                    data = await session.receive("n0")
                    assert data is not None and data.payload == f"{word} {turn}"
                await session.interrupt()

    px.run(main())


def test_on_interrupt_that_awaits_a_task_it_cancelled(px: Any) -> None:
    async def main() -> None:
        failed: list[NodeProcessError] = []
        async with px.session(("t-own-task", {"where": "on_interrupt"})) as session:
            session.on_error(failed.append)
            pids = session.pids
            for turn in range(2):
                await session.interrupt()
                await session.send("n0", px.text(f"{turn}"))
                data = await session.receive("n0")
                assert data is not None and data.payload == f"{turn}"
            assert session.pids == pids
            await px.until(lambda: len(failed) == 2)
            assert "CancelledError" in str(failed[0])

    px.run(main())
