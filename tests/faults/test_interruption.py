"""``session.interrupt()`` wherever the nodes are: silence soon, the old turn gone, the new one whole, memory free."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from remotemedia.core.multiprocessing import MultiprocessConfig, Session

pytestmark = pytest.mark.usefixtures("leak_check")

CAPACITY = 3


@pytest.fixture
def ix(beside: Any) -> Any:
    beside("interruption_nodes")
    return beside("interruption_support")


@dataclass(frozen=True)
class Phase:
    """What one node is made to do, and how it is known that it does.

    Attributes:
        act: what the node does with the first message of the old turn.
        reached: by the session's turns and the node's name: whether it is there.
        more: how many messages follow the first, at most.
        figure: the name of the time it takes, where user code keeps a node from hearing of the interruption.
        p95_at_most: what it should take at most, in ms, where we have a say.
    """

    act: str
    reached: Callable[[Any, str], Any]
    more: int = 0
    figure: str = "interrupt to silence, ms"
    p95_at_most: float | None = 20


def in_process(turns: Any, name: str) -> bool:
    return bool(turns.node(name).current_secs)


def at_work(turns: Any, name: str) -> bool:
    """Or done with it: it is not waited for."""
    return in_process(turns, name) or turns.node(name).messages > turns.handled


def queue_full(turns: Any, name: str) -> bool:
    return all(stats.current_occupancy == CAPACITY for stats in turns.channels(into=name))


def all_upstream_blocked(turns: Any, name: str) -> bool:
    return queue_full(turns, name) and turns.channels(out_of="session")[0].blocked_now_secs > 0


def blocked_downstream(turns: Any, name: str) -> bool:
    return any(stats.blocked_now_secs for stats in turns.channels(out_of=name))


PHASES = {
    "awaiting, alone": Phase("wait", in_process),
    "messages queued before it": Phase("wait", queue_full, more=8),
    "everybody before it blocked, and a send": Phase("wait", all_upstream_blocked, more=40),
    "swallowing the cancellation": Phase("swallow", in_process, more=2),
    "holding views and loans, and failing": Phase("hold", in_process, more=2),
    "between two yields": Phase("pause", lambda turns, name: turns.node(name).published > turns.published),
    "streaming into a full channel": Phase("stream", blocked_downstream),
    "streaming, and clinging to it": Phase("clings", blocked_downstream),
    "a call that does not await": Phase(
        "work", at_work, figure="the same with a call of 30 ms that does not await, ms", p95_at_most=None
    ),
}


def matrix() -> Iterator[Any]:
    """Every phase in every graph; the quick form has them all in one graph, and one of them in all."""
    for graph, phase in itertools.product(("chain", "diamond", "two sinks"), PHASES):
        quick = graph == "diamond" or phase.startswith("everybody")
        yield pytest.param(graph, phase, marks=[] if quick else [pytest.mark.long], id=f"{graph}, {phase}")


async def reach(px: Any, turns: Any, phase: Phase, name: str) -> asyncio.Task[None]:
    """The old turn, as far as the phase; what still sends of it, until it is interrupted."""
    turns.published, turns.handled, turn = turns.node(name).published, turns.node(name).messages, turns.turn

    async def feed() -> None:
        for _ in range(phase.more):
            if turns.turn == turn:
                await turns.send()

    await turns.send(at=name, act=phase.act)
    feeding = asyncio.create_task(feed())
    await px.until(lambda: phase.reached(turns, name))
    return feeding


@pytest.mark.parametrize(("graph", "phase"), list(matrix()))
@pytest.mark.promise(
    "interruption",
    "silence soon; nothing of the old turn afterwards, nothing of the new one lost, no block of memory kept",
    "every node of three graphs in every phase: waiting, queued, blocked, streaming, swallowing the cancellation",
)
def test_wherever_a_node_is(px: Any, ix: Any, ledger: Any, scale: Any, graph: str, phase: str) -> None:
    nodes = ix.GRAPHS[graph]
    what = PHASES[phase]

    async def main() -> None:
        config = MultiprocessConfig(channel_capacity=CAPACITY, shm_segment_size=1 << 20)
        async with Session("s", ix.pipeline_of(nodes), config) as session:
            failed: list[Any] = []
            session.on_error(failed.append)
            turns = ix.Turns(session, nodes, ledger)
            for _, name in itertools.product(range(scale(2, 30)), nodes):
                feeding = await reach(px, turns, what, name)
                await turns.interrupt(what.figure, what.p95_at_most)
                assert not any(stats.current_secs for stats in session.node_stats()), "a call of the old turn goes on"
                await feeding
                await turns.new_turn()
                await turns.memory_is_back()
            assert what.act == "hold" or not failed

    px.run(main(), patience_secs=100)


@pytest.mark.promise(
    "interruption",
    "a message that one branch got and the other did not is gone from both",
    "one branch of a fan-out waiting, its channel full, while the other branch goes on",
)
@pytest.mark.parametrize(
    ("graph", "waits"),
    [
        ("diamond", "b"),
        ("two sinks", "c"),
        pytest.param("diamond", "c", marks=pytest.mark.long),
        pytest.param("two sinks", "b", marks=pytest.mark.long),
    ],
)
def test_in_the_middle_of_a_fan_out(px: Any, ix: Any, ledger: Any, scale: Any, graph: str, waits: str) -> None:
    nodes = ix.GRAPHS[graph]
    goes_on = "cb"["bc".index(waits)]

    async def main() -> None:
        config = MultiprocessConfig(channel_capacity=CAPACITY)
        async with Session("s", ix.pipeline_of(nodes), config) as session:
            turns = ix.Turns(session, nodes, ledger)
            sink = turns.sinks[0] if graph == "diamond" else goes_on
            for _ in range(scale(5, 100)):
                first = turns.sent
                feeding = await reach(px, turns, Phase("wait", lambda turns, name: True, more=40), waits)
                # Of the one branch a message comes out that the other cannot have taken: it waits with the first.
                got = [await session.receive(sink) for _ in range(CAPACITY)]
                assert all(data.metadata["via"].startswith("a" + goes_on) for data in got)
                assert [data.metadata["number"] for data in got] == list(range(first, first + CAPACITY))
                await px.until(lambda: any(s.blocked_now_secs for s in turns.channels(into=waits)))
                del got
                await turns.interrupt()
                await feeding
                await turns.new_turn()
                await turns.memory_is_back()

    px.run(main())
