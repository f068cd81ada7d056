"""Turns in random graphs: each gets all that is made of its input, ends then, and never before."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import MultiprocessConfig, Pipeline, Session

pytestmark = pytest.mark.usefixtures("leak_check")

KINDS = ("pass", "pass", "many", "some", "fail", "late", "gather", "keep")


@pytest.fixture
def tx(beside: Any) -> Any:
    return beside("turn_nodes")


class Graph:
    """Up to seven nodes, each with one before it, or several; and what the model says comes of a text."""

    def __init__(self, tx: Any, chance: random.Random) -> None:
        self.tx = tx
        names = "abcdefg"[: chance.randint(1, 7)]
        self.kinds = {name: chance.choice(KINDS) for name in names}
        self.before: dict[str, list[str]] = {name: [] for name in names}
        for at, name in enumerate(names[1:], 1):
            self.before[name] = chance.sample(names[:at], min(at, chance.choice([0, 1, 1, 1, 2, 2, 3])))

    @property
    def keeps(self) -> bool:
        """Whether some outputs are also of another turn, from which a node still held something."""
        return "keep" in self.kinds.values()

    def pipeline(self) -> Pipeline:
        pipeline = Pipeline()
        for name, kind in self.kinds.items():
            pipeline.add_node("i-turn", name, {"kind": kind})
        for name, before in self.before.items():
            for one in before:
                pipeline.connect(one, "output", name, "input")
        return pipeline

    def answers(self, turn: str, fed: dict[str, list[str]], outputs: list[str]) -> tuple[Counter[Any], int]:
        """The outputs of one turn, each with its node, and how many messages fail; the input by node."""
        made: dict[str, list[str]] = {}
        failures = 0
        for name, kind in self.kinds.items():
            texts = [*fed.get(name, ()), *(text for one in self.before[name] for text in made[one])]
            made[name] = []
            for text in texts:
                found = self.tx.outcome(kind, name, text)
                failures += found is None
                made[name] += found or []
            if kind == "gather":
                made[name] += self.tx.gathered(name, turn, texts)
        return Counter((name, text) for name in outputs for text in made[name]), failures


class Run:
    """A session of a random graph, asked at random by several at a time."""

    def __init__(self, px: Any, tx: Any, chance: random.Random) -> None:
        self.px, self.chance = px, chance
        self.graph = Graph(tx, chance)
        pipeline = self.graph.pipeline()
        self.session = Session("s", pipeline, MultiprocessConfig(channel_capacity=chance.choice([1, 2, 3, 8])))
        self.turns = 0
        self.cuts = 0

    async def go(self) -> None:
        async with self.session:
            for _ in range(3):
                askers = [asyncio.create_task(self.ask_some(whole=True)) for _ in range(self.chance.randint(1, 4))]
                await asyncio.gather(*askers)
                askers = [asyncio.create_task(self.ask_some(whole=False)) for _ in range(self.chance.randint(1, 4))]
                for _ in range(self.chance.randint(0, 3)):
                    await asyncio.sleep(self.chance.choice([0, 0.001, 0.005]))
                    names = self.chance.sample(sorted(self.graph.kinds), self.chance.choice([0, 1, 1]))
                    await self.session.interrupt(from_node=names or None)
                    self.cuts += 1
                await asyncio.gather(*askers)
            assert not self.session._books._live or all(t.is_over for t in list(self.session._books._live.values()))

    async def ask_some(self, *, whole: bool) -> None:
        for _ in range(self.chance.randint(1, 3)):
            await self.ask(whole=whole)
            self.turns += 1

    async def ask(self, *, whole: bool) -> None:
        """One turn, fed at one input or several. While there are interruptions (not ``whole``) parts may be missing."""
        inputs = self.session.pipeline.input_nodes
        turn = self.session.turn(self.chance.choice(inputs))
        number = str(turn.origin.number)
        fed: dict[str, list[str]] = {}
        for part in range(self.chance.randint(1, 3)):
            fed.setdefault(self.chance.choice(inputs), []).append(f"{number}|{part}")
        expected, failures = self.graph.answers(number, fed, self.session.pipeline.output_nodes)
        if expected.total() > 300:
            turn.give_up()
            return

        async def feed() -> None:
            for node_id, texts in fed.items():
                for text in texts:
                    await turn.send(RuntimeData.text(text), node_id=node_id)
            await turn.end()

        feeding = asyncio.create_task(feed())
        came: Counter[Any] = Counter()
        async for node_id, data in turn.outputs(on_failure="report"):
            came[node_id, str(data.payload)] += 1
        await feeding
        assert turn.is_over
        mine = Counter({one: count for one, count in came.items() if one[1].partition("|")[0] == number})
        if not self.graph.keeps:
            assert mine == came, "an output of another turn"
        if whole:
            assert mine == expected
            # A failure of what is also of another turn is a failure of both.
            assert len([error for error in turn.failures if f" {number}|" in error.reason]) == failures
            assert self.graph.keeps or len(turn.failures) == failures
        elif "gather" not in self.graph.kinds.values():  # what that gives depends on what was left of its turn
            assert mine <= expected


@pytest.mark.watchdog(7200)
@pytest.mark.promise(
    "turns",
    "a turn gets every output that is made of its input, ends once, after the last of them, and always",
    "random graphs with fan-out, fan-in, generators, emits, holds, failures and interruptions, several turns at a time",
)
def test_turns_end_after_their_last_output(px: Any, tx: Any, ledger: Any, scale: Any) -> None:
    for seed in range(scale(30, 1000)):
        run = None
        try:
            run = Run(px, tx, random.Random(seed))
            px.run(run.go(), patience_secs=60)
        except BaseException as error:
            error.add_note(f"seed {seed}: {run and (run.graph.kinds, run.graph.before)}")
            raise
        ledger.count("turns", run.turns)
        ledger.count("interruptions", run.cuts)
