"""A session whose turns are numbered: what of them comes out, and whether its memory comes back."""

from __future__ import annotations

import asyncio
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import ChannelStats, Metrics, NodeStats, Pipeline, Session

CHAIN = {"n0": ["n1"], "n1": ["n2"], "n2": []}
DIAMOND = {"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []}
TWO_SINKS = {"a": ["b", "c"], "b": [], "c": []}
GRAPHS = {"chain": CHAIN, "diamond": DIAMOND, "two sinks": TWO_SINKS}


def pipeline_of(graph: dict[str, list[str]], configs: dict[str, dict[str, Any]] | None = None) -> Pipeline:
    pipeline = Pipeline()
    for name in graph:
        pipeline.add_node("i-act", name, (configs or {}).get(name, {}))
    for name, followers in graph.items():
        for follower in followers:
            pipeline.connect(name, "output", follower, "input")
    return pipeline


def ways(graph: dict[str, list[str]], name: str) -> list[str]:
    """Every way from a node to a sink, as the names on it."""
    rest = [way for follower in graph[name] for way in ways(graph, follower)]
    return [name + way for way in rest] or [name]


def pattern(turn: int, number: int) -> np.ndarray[Any, Any]:
    return np.full(1 + 997 * number % 20_000, (31 * turn + number) % 251, np.uint8)


def in_futex(pid: int) -> bool:
    """Whether the main thread of a process sleeps on a doorbell of ours."""
    words = Path(f"/proc/{pid}/syscall").read_text().split()
    return words[0] == {"x86_64": "202", "aarch64": "98"}[platform.machine()] and words[2] == "0x9"


WITH_WORK = "interrupt to silence, some nodes at a call of 30 ms that does not await, ms"


class Turns:
    """Sends turn after turn into a running session and keeps the books of what comes out."""

    def __init__(self, session: Session, graph: dict[str, list[str]], ledger: Any) -> None:
        self.session, self.graph, self.ledger = session, graph, ledger
        self.source = next(iter(graph))
        self.sinks = [name for name, followers in graph.items() if not followers]
        self.turn = 0
        self.sent = 0

    def message(self, **more: Any) -> RuntimeData:
        """The next message of the turn."""
        number, self.sent = self.sent, self.sent + 1
        words = {"turn": self.turn, "number": number, **more}
        return RuntimeData.tensor(pattern(self.turn, number), metadata=words)

    async def send(self, **more: Any) -> None:
        await self.session.send(self.source, self.message(**more))

    async def interrupt(self, figure: str = "interrupt to silence, ms", p95_at_most: float | None = 20) -> None:
        self.turn += 1
        self.sent = 0
        started = time.perf_counter()
        await self.session.interrupt()
        self.ledger.took(figure, (time.perf_counter() - started) * 1000, p95_at_most=p95_at_most)
        self.ledger.count("interruptions")

    def wrong(self, data: RuntimeData | None, number: int) -> str:
        """What is wrong with what should be that message of this turn; empty when nothing is."""
        if data is None or not isinstance(data.metadata, dict):
            return f"{data!r} came instead of message {number} of turn {self.turn}"
        if (data.metadata["turn"], data.metadata["number"]) != (self.turn, number):
            return f"{data.metadata} came instead of message {number} of turn {self.turn}"
        same = np.array_equal(data.as_numpy(), pattern(self.turn, number))
        return "" if same else f"the bytes of {data.metadata} are others"

    async def new_turn(self, messages: int = 5) -> None:
        """What is sent now comes out of every sink by every way, whole, in order, and nothing else does."""

        wrong: list[str] = []
        numbers = range(self.sent, self.sent + messages)

        async def feed() -> None:
            for _ in range(messages):
                await self.send()

        async def check(sink: str) -> None:
            expected = {way: iter(numbers) for way in ways(self.graph, self.source) if way.endswith(sink)}
            for _ in range(messages * len(expected)):
                data = await self.session.receive(sink)
                way = data.metadata["via"] if data is not None and isinstance(data.metadata, dict) else ""
                wrong.append(self.wrong(data, next(expected.get(way, iter(())), -1)))
            wrong.extend(f"more came: {data.metadata}" for data in self.there_now(sink))

        await asyncio.gather(feed(), *map(check, self.sinks))
        wrong = list(filter(None, wrong))
        self.ledger.count("messages of new turns", messages * len(ways(self.graph, self.source)))
        self.ledger.lose(len(wrong))
        assert not wrong, wrong

    def there_now(self, sink: str) -> list[RuntimeData]:
        subscriber, found = self.session._wired().outputs[sink], []
        while (data := subscriber.try_receive()) is not None:
            found.append(data)
        return found

    async def memory_is_back(self) -> None:
        """Every block of every pool is free again. Each round wakes every node with a message that needs no block."""
        while self.used_bytes():
            await self.session.send(self.source, RuntimeData.text(""))
            for sink in self.sinks:
                for way in ways(self.graph, self.source):
                    if way.endswith(sink):
                        await self.session.receive(sink)
            await asyncio.sleep(0)

    def used_bytes(self) -> int:
        assert self.session._wired().segment.used_bytes >= 0  # takes back what was returned
        metrics: Metrics = self.session.get_metrics()
        return metrics.shared_used_bytes

    def node(self, name: str) -> NodeStats:
        return next(stats for stats in self.session.node_stats() if stats.node_id == name)

    def channels(self, *, into: str = "", out_of: str = "") -> list[ChannelStats]:
        return [s for s in self.session.channel_stats() if into in ("", s.subscriber) and out_of in ("", s.publisher)]
