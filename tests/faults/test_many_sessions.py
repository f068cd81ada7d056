"""Many sessions of many nodes at the same time: all of them end, and nothing is lost on the way."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from proof.soak_content import Content
from proof.soak_flow import Flow
from remotemedia.core.multiprocessing import (
    ExitReason,
    MultiprocessConfig,
    MultiprocessExecutor,
    Pipeline,
    ProcessExited,
    SessionStatus,
)

NODE_TYPES = {"r": "soak-relay", "g": "soak-generator", "b": "soak-blocker"}
SHAPES = {
    "chain": "r1>g2 g2>b3 b3>r4 r4>b5",
    "fan-out, fan-in": "r1>b2 r1>g3 r1>r4 b2>r5 g3>r5 r4>r5 r5>r6",
    "two in, two out": "r1>b3 r2>b3 b3>g4 g4>r5 g4>b6",
    "every one with every one": "b1>r3 r2>r3 b1>g4 r2>g4 r3>r5 g4>r5 r3>b6 g4>b6",
    "short and long way": "r1>r2 r2>b3 b3>r4 r4>g5 r1>g5 r2>g5",
    "a tree": "g1>r2 g1>b3 r2>r4 r2>r5 b3>r6 b3>r7",
}
SESSIONS_PER_TEST, AT_ONCE = 12, 6


def pipeline_of(shape: str, config: dict[str, Any]) -> Pipeline:
    """``r1>g2``: a connection of two nodes, each named by the letter of its type and a number."""
    pipeline = Pipeline()
    edges = [edge.split(">") for edge in shape.split()]
    for node_id in sorted(set(itertools.chain(*edges)), key=lambda node_id: node_id[1:]):
        times = {"times": 2} if node_id[0] == "g" else {}
        pipeline.add_node(NODE_TYPES[node_id[0]], node_id, {**config, **times, "chance": node_id})
    for left, right in edges:
        pipeline.connect(left, "output", right, "input")
    return pipeline


def settings(chance: random.Random) -> MultiprocessConfig:
    return MultiprocessConfig(
        channel_capacity=chance.choice((1, 2, 16)),
        shm_segment_size=64 * 1024 * 1024,
        spin_us=chance.choice((0, 20)),
        init_timeout_secs=100,  # the machine may be busy
        cleanup_grace_period_secs=60,
        extra_paths=(str(Path(__file__).parents[2]),),
    )


@pytest.mark.promise(
    "SC-001",
    "sessions of five nodes and more, many at a time, never hang; every message comes, whole, once for every way",
    "chains, fan-out and fan-in, async generators, nodes that block; data in every input and output at the same time, "
    "0 bytes to 2.5 MB",
)
@pytest.mark.usefixtures("leak_check")
@pytest.mark.watchdog(240)
@pytest.mark.parametrize("batch", [0, *(pytest.param(n, marks=pytest.mark.long) for n in range(1, 9))])
def test_sessions_at_the_same_time(px: Any, ledger: Any, scale: Any, batch: int) -> None:
    numbers = range(scale(40, 150))
    lost: list[str] = []
    nodes = 0
    ended: Counter[ExitReason] = Counter()

    async def live(executor: MultiprocessExecutor, seed: int, shape: str) -> None:
        nonlocal nodes
        chance = random.Random(seed)
        pipeline = pipeline_of(SHAPES[shape], {"seed": seed})
        session = await executor.create_session(f"s{seed}", pipeline, settings(chance))
        pids = list(session.pids.values())
        flow = Flow(session, Content(seed), chance)
        await flow.run(numbers)
        lost.extend(f"session {seed} ({shape}): {line}" for line in flow.lost(numbers))
        await executor.terminate_session(session.session_id)
        assert session.status is SessionStatus.STOPPED
        assert not [pid for pid in pids if px.exists(pid)]
        nodes += len(pids)
        ledger.count("sessions")
        ledger.count("nodes", len(pids))
        ledger.count("messages", len(numbers) * len(pipeline.input_nodes))

    async def count_ends(executor: MultiprocessExecutor) -> None:
        async for event in executor.events():
            if isinstance(event, ProcessExited):
                ended[event.reason] += 1

    async def main() -> None:
        executor = MultiprocessExecutor()
        counting = asyncio.create_task(count_ends(executor))
        at_once = asyncio.Semaphore(AT_ONCE)

        async def in_turn(seed: int, shape: str) -> None:
            async with at_once:
                await live(executor, seed, shape)

        async with executor, asyncio.TaskGroup() as group:
            for seed, shape in zip(range(SESSIONS_PER_TEST), itertools.cycle(SHAPES), strict=False):
                group.create_task(in_turn(batch * SESSIONS_PER_TEST + seed, shape))
        await counting

    # A hang is the watchdog's to find: it shows where everybody is.
    px.run(main(), patience_secs=3600)
    ledger.lose(len(lost))
    assert not lost
    assert ended == {ExitReason.NORMAL: nodes}
