"""``session.interrupt(from_node=...)`` in random graphs: what comes out is what a queue per way would give."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import MultiprocessConfig, Pipeline, Session

pytestmark = pytest.mark.usefixtures("leak_check")

CAPACITY = 3


@pytest.fixture
def cx(beside: Any) -> Any:
    beside("cut_nodes")
    return beside("cut_model")


def random_graph(chance: random.Random) -> dict[str, list[str]]:
    """Up to six nodes; each but the first has one before it, or several."""
    names = "abcdef"[: chance.randint(2, 6)]
    graph: dict[str, list[str]] = {name: [] for name in names}
    for at, name in enumerate(names[1:], 1):
        for before in chance.sample(names[:at], min(at, chance.choice([0, 1, 1, 1, 2, 2, 3]))):
            graph[before].append(name)
    return graph


class Run:
    """A session of that graph, driven at random, and the model beside it."""

    def __init__(self, px: Any, cx: Any, folder: Path, chance: random.Random) -> None:
        self.px, self.chance = px, chance
        self.graph = random_graph(chance)
        self.model = cx.Model(self.graph, folder)
        pipeline = Pipeline()
        for name in self.graph:
            pipeline.add_node("i-cut", name, {"diary": str(folder / name)})
        for name, followers in self.graph.items():
            for follower in followers:
                pipeline.connect(name, "output", follower, "input")
        config = MultiprocessConfig(channel_capacity=CAPACITY, shm_segment_size=1 << 20)
        self.session = Session("s", pipeline, config)
        self.number = 0
        self.to_send: dict[str, asyncio.Queue[RuntimeData]] = {}

    async def go(self) -> None:
        async with self.session, asyncio.TaskGroup() as group:
            self.to_send = {name: asyncio.Queue() for name in self.session.pipeline.input_nodes}
            senders = [group.create_task(self.send_all(source)) for source in self.to_send]
            for _ in range(self.chance.randint(2, 4)):
                await self.send_some()
                await self.settle()
                self.receive_some(self.chance.randint(0, 4))
                await self.settle()
                await self.cut(self.nodes_to_cut())
            await self.end()
            for sender in senders:
                sender.cancel()
            assert self.model.came() == self.model.expected()
            for name in self.graph:
                reached = sum(name in cut for cut in self.model.cuts)
                told = self.model.diary(name).count(["interrupted"])
                assert (told > 0) == (reached > 0) and told <= reached

    async def send_all(self, source: str) -> None:
        while True:
            data = await self.to_send[source].get()
            assert isinstance(data.metadata, dict)
            self.model.send(source, data.metadata["number"])
            await self.session.send(source, data)
            self.to_send[source].task_done()

    async def send_some(self) -> None:
        for _ in range(self.chance.randint(1, 6)):
            source, self.number = self.chance.choice(list(self.to_send)), self.number + 1
            words: dict[str, Any] = {"number": self.number}
            if self.chance.random() < 0.4:
                words["at"] = self.chance.choice(sorted(self.model.reached([source])))
                words["act"] = self.chance.choice(["wait", "pause", "cling"])
            payload = np.full(500, self.number % 251, np.uint8)
            self.to_send[source].put_nowait(RuntimeData.tensor(payload, metadata=words))
            await asyncio.sleep(0)

    async def settle(self) -> None:
        """Until nothing moves: each node waits for ever, for room, or for messages."""
        last: Any = None
        while True:
            channels = self.session.channel_stats()
            nodes = self.session.node_stats()
            seen = [(c.message_count, c.current_occupancy) for c in channels], [n.messages for n in nodes]
            blocked = {c.publisher for c in channels if c.blocked_now_secs}
            waiting = {c.subscriber for c in channels if c.current_occupancy and c.subscriber != "session"}
            busy = {n.node_id for n in nodes if n.current_secs} | waiting
            if seen == last and all(name in blocked or self.model.at_rest(name) for name in busy):
                return
            last = seen
            await asyncio.sleep(0.003)

    def receive_some(self, most: int) -> None:
        for name in self.session.pipeline.output_nodes:
            subscriber = self.session._wired().outputs[name]
            for _ in range(most):
                if (data := subscriber.try_receive()) is None:
                    break
                self.note(data)

    def note(self, data: RuntimeData) -> None:
        if data.metadata is None:
            return
        assert isinstance(data.metadata, dict)
        assert set(data.as_numpy().tolist()) == {data.metadata["number"] % 251}
        self.model.received.append((data.metadata["via"], data.metadata["number"]))

    def nodes_to_cut(self) -> list[str]:
        return self.chance.sample(sorted(self.graph), self.chance.choice([0, 1, 1, 1, 1, min(2, len(self.graph))]))

    async def cut(self, names: list[str]) -> None:
        self.model.cut(names)
        await self.session.interrupt(from_node=names or None)

    async def end(self) -> None:
        """Cuts the nodes that still wait, one after the other; then all that is left comes out."""
        while True:
            await self.settle()
            self.receive_some(1000)
            await self.settle()
            busy = [stats.node_id for stats in self.session.node_stats() if stats.current_secs]
            if stuck := [name for name in busy if self.model.at_rest(name)]:
                await self.cut([self.chance.choice(stuck)])
            elif not busy and not any(stats.current_occupancy for stats in self.session.channel_stats()):
                break
        await self.memory_is_back()
        await self.session.end_input()
        assert [data.metadata async for _, data in self.session.outputs() if data.metadata] == []

    async def memory_is_back(self) -> None:
        """Every block is free again. Each round wakes every node, to take back its own."""
        while self.session.get_metrics().shared_used_bytes:
            assert self.session._wired().segment.used_bytes >= 0  # takes back the session's
            for source in self.to_send:
                await self.session.send(source, RuntimeData.text(""))
            await self.settle()
            self.receive_some(1000)


@pytest.mark.watchdog(7200)
@pytest.mark.promise(
    "interruption",
    "from a node on: what that node had been given is gone, what waits for it and what comes by other branches stays",
    "random graphs with fan-out and fan-in, nodes that wait, pause and cling, one or two nodes cut, or all",
)
def test_a_queue_per_way_through_the_graph(px: Any, cx: Any, ledger: Any, scale: Any, tmp_path: Path) -> None:
    for seed in range(scale(75, 5000)):
        folder = tmp_path / str(seed)
        folder.mkdir()
        try:
            run = Run(px, cx, folder, random.Random(seed))
            px.run(run.go(), patience_secs=60)
        except BaseException as error:
            error.add_note(f"seed {seed}: {run.graph}, cuts {run.model.cuts}")
            raise
        ledger.count("interruptions from a node on", len(run.model.cuts))
