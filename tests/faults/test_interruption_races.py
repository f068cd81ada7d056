"""``session.interrupt()`` beside other things that happen: its like, the end, a crash, full pools, and chance."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from remotemedia.core.multiprocessing import (
    ChannelFullError,
    Interruption,
    MultiprocessConfig,
    ProcessCrashError,
    Session,
    SessionStateError,
)

pytestmark = pytest.mark.usefixtures("leak_check")


def graphs(*names: str) -> pytest.MarkDecorator:
    """The last of them always, all in the long form."""
    return pytest.mark.parametrize("graph", [*(pytest.param(n, marks=pytest.mark.long) for n in names[:-1]), names[-1]])


@pytest.fixture
def ix(beside: Any) -> Any:
    beside("interruption_nodes")
    return beside("interruption_support")


@pytest.mark.promise(
    "interruption",
    "many at once: each returns, the last one counts",
    "a hundred in a row and ten at a time; again while on_interrupt() runs, with a message of the turn between taken",
)
def test_again_and_again(px: Any, ix: Any, ledger: Any, scale: Any) -> None:
    async def main() -> None:
        async with Session("s", ix.pipeline_of(ix.DIAMOND)) as session:
            turns = ix.Turns(session, ix.DIAMOND, ledger)
            for _ in range(scale(5, 200)):
                for _ in range(20):
                    await turns.send(at=turns.session.pipeline.node_ids[turns.turn % 4], act="wait")
                    await turns.interrupt()
                await asyncio.gather(*(turns.interrupt() for _ in range(10)))
                await turns.new_turn()
            await turns.memory_is_back()

    px.run(main())


@pytest.mark.promise(
    "interruption",
    "many at once: each returns, the last one counts",
    "a hundred in a row and ten at a time; again while on_interrupt() runs, with a message of the turn between taken",
)
def test_again_while_a_node_still_forgets(px: Any, ix: Any, ledger: Any, scale: Any, tmp_path: Path) -> None:
    """It has taken a message of the turn that it was at: that turn is over, too."""
    slow = tmp_path / "slow"
    graph: dict[str, list[str]] = {"n0": []}

    async def main() -> None:
        # A node that spins takes the message before it hears of the interruption.
        config = MultiprocessConfig(spin_us=1_000_000)
        async with Session("s", ix.pipeline_of(graph, {"n0": {"slow": str(slow)}}), config) as session:
            turns = ix.Turns(session, graph, ledger)

            async def let_go() -> None:
                while True:
                    await px.until(slow.exists)
                    slow.unlink()

            for _ in range(scale(3, 30)):
                await turns.new_turn()
                first = asyncio.create_task(turns.interrupt("on_interrupt() taken apart, ms", None))
                await asyncio.sleep(0)
                await turns.send(at="n0", act="wait")
                await px.until(slow.exists)
                second = asyncio.create_task(turns.interrupt("on_interrupt() taken apart, ms", None))
                await asyncio.sleep(0)
                letting_go = asyncio.create_task(let_go())
                await asyncio.gather(first, second)
                letting_go.cancel()
                await turns.new_turn()

    px.run(main(), patience_secs=20)


@pytest.mark.promise(
    "interruption",
    "at the end of the stream: finish() knows nothing of the old turn, and the end still comes",
    "end_input() and interrupt() at once; interrupted while finish() waits, streams into a full channel, computes",
)
@graphs("chain", "diamond")
def test_together_with_the_end(px: Any, ix: Any, ledger: Any, scale: Any, graph: str) -> None:
    """What the end says is of the turn it comes in: a node may see the end before it hears of the interruption."""
    nodes = ix.GRAPHS[graph]

    async def main() -> None:
        for _ in range(scale(3, 30)):
            async with Session("s", ix.pipeline_of(nodes)) as session:
                turns = ix.Turns(session, nodes, ledger)
                await turns.new_turn()
                await asyncio.gather(session.end_input(), turns.interrupt())
                found = [data async for _, data in session.outputs()]
                stale = [data.metadata for data in found if data.metadata["gathered"]]
                ledger.lose(len(stale))
                assert not stale, stale
                assert [await session.receive(sink) for sink in turns.sinks] == [None] * len(turns.sinks)

    px.run(main(), patience_secs=100)


@pytest.mark.promise(
    "interruption",
    "at the end of the stream: finish() knows nothing of the old turn, and the end still comes",
    "end_input() and interrupt() at once; interrupted while finish() waits, streams into a full channel, computes",
)
@pytest.mark.parametrize("act", ["wait", "stream", "clings", "work"])
@pytest.mark.parametrize(
    "name", [pytest.param("n0", marks=pytest.mark.long), "n1", pytest.param("n2", marks=pytest.mark.long)]
)
def test_during_finish(px: Any, ix: Any, ledger: Any, tmp_path: Path, act: str, name: str) -> None:
    begun = tmp_path / "begun"

    async def main() -> None:
        pipeline = ix.pipeline_of(ix.CHAIN, {name: {"finish": act, "begun": str(begun)}})
        async with Session("s", pipeline, MultiprocessConfig(channel_capacity=2)) as session:
            turns = ix.Turns(session, ix.CHAIN, ledger)
            await turns.new_turn()
            await session.end_input()
            await px.until(begun.exists)
            await turns.interrupt(ix.WITH_WORK, None)
            found = [data.metadata["gathered"] async for _, data in session.outputs()]
            stale = [gathered for gathered in found if gathered]
            ledger.lose(len(stale))
            assert not stale, stale

    px.run(main())


@pytest.mark.promise(
    "interruption",
    "a node that waits for payload memory in loan() gets on, and memory comes back",
    "each node of a chain streaming loans into pools that are exhausted, nobody receiving",
)
def test_while_loan_waits_for_memory(px: Any, ix: Any, ledger: Any, scale: Any) -> None:
    async def main() -> None:
        async with Session("s", ix.pipeline_of(ix.CHAIN), MultiprocessConfig(shm_segment_size=1 << 20)) as session:
            turns = ix.Turns(session, ix.CHAIN, ledger)
            for name in [*ix.CHAIN] * scale(2, 50):
                await turns.send(at=name, act="exhaust")
                await px.until(lambda name=name: ix.in_futex(session.pids[name]))
                await turns.interrupt()
                await turns.new_turn()
                await turns.memory_is_back()

    px.run(main(), patience_secs=20)


@pytest.mark.promise(
    "interruption",
    "without backpressure too, nothing of the new turn is lost: it finds its channels empty",
    "channels of four messages full of the old turn, which nobody received, in three graphs",
)
@graphs("chain", "two sinks", "diamond")
def test_with_backpressure_off(px: Any, ix: Any, ledger: Any, scale: Any, graph: str) -> None:
    nodes = ix.GRAPHS[graph]
    messages = 2  # two ways into a channel of four

    async def main() -> None:
        config = MultiprocessConfig(channel_capacity=4, enable_backpressure=False)
        async with Session("s", ix.pipeline_of(nodes), config) as session:
            turns = ix.Turns(session, nodes, ledger)
            for _ in range(scale(5, 200)):
                await turns.send(at=turns.source, act="stream")
                await px.until(lambda: all(s.current_occupancy == 4 for s in turns.channels(into="session")))
                with contextlib.suppress(ChannelFullError):
                    while True:
                        await turns.send()
                await turns.interrupt()
                handled = {sink: turns.node(sink).messages for sink in turns.sinks}
                for _ in range(messages):
                    await turns.send()
                # Only then is received: what the session had not yet received must take up no room.
                for way in ix.ways(nodes, turns.source):
                    handled[way[-len(turns.sinks[0]) :]] += messages
                await px.until(lambda want=handled: all(turns.node(sink).messages == n for sink, n in want.items()))
                got = [data for sink in turns.sinks for data in turns.there_now(sink)]
                ledger.lose(missing := messages * len(ix.ways(nodes, turns.source)) - len(got))
                assert not missing and all(data.metadata["turn"] == turns.turn for data in got)
                ledger.count("messages of new turns", len(got))

    px.run(main(), patience_secs=20)


@pytest.mark.promise(
    "interruption",
    "when the session ends meanwhile, so does the call: done, or with the session's error",
    "stop() and cleanup() at the same time, a node killed at the same time, in turn and out of turn",
)
@pytest.mark.parametrize("what", ["stop", "cleanup", "crash before", "crash after"])
def test_together_with_the_end_of_the_session(px: Any, ix: Any, ledger: Any, scale: Any, what: str) -> None:
    async def main() -> None:
        for number in range(scale(2, 20)):
            # Not interrupted any more, the node drains for as long as it may.
            config = MultiprocessConfig(cleanup_grace_period_secs=0.1)
            async with Session("s", ix.pipeline_of(ix.DIAMOND), config) as session:
                turns = ix.Turns(session, ix.DIAMOND, ledger)
                name = "abcd"[number % 4]
                await turns.send(at=name, act="wait")
                await px.until(lambda turns=turns, name=name: turns.node(name).current_secs)
                if what == "crash before":
                    os.kill(session.pids[name], signal.SIGKILL)
                call = asyncio.create_task(session.interrupt())
                if number % 2:
                    await asyncio.sleep(0)
                if what == "crash after":
                    os.kill(session.pids[name], signal.SIGKILL)
                elif what in ("stop", "cleanup"):
                    await getattr(session, what)()
                (outcome,) = await asyncio.gather(call, return_exceptions=True)
                ledger.count("interruptions")
                crash = what.startswith("crash")
                assert isinstance(outcome, (Interruption, ProcessCrashError if crash else SessionStateError))
                # Killed once it was told, it may have answered before.
                told_first = what == "crash after" and number % 2
                assert not crash or told_first or not isinstance(outcome, Interruption), (
                    "a dead node acknowledges nothing"
                )
                assert not isinstance(outcome, ProcessCrashError) or outcome.node_id == name

    px.run(main(), patience_secs=100)


@pytest.mark.promise(
    "interruption",
    "whatever the order of sends, receives and interruptions: what comes out is what a queue would give",
    "random schedules against a model, one at a time and several at once; the seed is in the error",
)
@graphs("chain", "diamond")
def test_by_chance(px: Any, ix: Any, ledger: Any, scale: Any, graph: str) -> None:
    """The model: a queue by way through the graph, emptied by an interruption."""
    nodes = ix.GRAPHS[graph]
    ways = ix.ways(nodes, next(iter(nodes)))
    seed = int(os.environ.get("REMOTEMEDIA_SEED", 0)) or random.randrange(1 << 32)
    chance = random.Random(seed)

    async def main() -> None:
        async with Session("s", ix.pipeline_of(nodes), MultiprocessConfig(channel_capacity=4)) as session:
            turns = ix.Turns(session, nodes, ledger)
            taken = dict.fromkeys(ways, 0)

            async def receive() -> None:
                data = await session.receive(turns.sinks[0])
                way = data.metadata["via"]
                if wrong := turns.wrong(data, taken[way]):
                    ledger.lose(1)
                    raise AssertionError(f"{wrong} (by way of {way}, REMOTEMEDIA_SEED={seed})")
                taken[way] += 1
                ledger.count("messages of new turns")

            for _ in range(scale(300, 5_000)):
                on_the_way = turns.sent * len(ways) - sum(taken.values())
                step = chance.random()
                if step < 0.5 and on_the_way < 4:  # so few that no send has to wait for a receive
                    await turns.send(at=chance.choice(list(nodes)), act=chance.choice(["go_on", "work"]))
                elif step < 0.9 and on_the_way:
                    await receive()
                elif step < 0.95:
                    taken = dict.fromkeys(ways, 0)
                    # With a send before it in the same breath, which is of the old turn, and one after it.
                    old = asyncio.create_task(turns.send(at=chance.choice(list(nodes)), act="wait"))
                    await asyncio.sleep(0)
                    await turns.interrupt(ix.WITH_WORK, None)
                    await old
            while turns.sent * len(ways) > sum(taken.values()):
                await receive()
            await turns.memory_is_back()

    px.run(main(), patience_secs=100)
