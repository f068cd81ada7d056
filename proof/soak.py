"""Does anything go wrong in hours of chance? Random graphs, sizes, pauses, held views, interruptions and kills.

    python -m proof.soak --minutes 60 [--seed S] [--nodes K]

Every message is compared with what its number says it is, to the last byte, in every node and at the end; each must
come out as often as there are ways through the graph. After each round nothing may be left: no descriptor, thread,
process or mapping. Round r of seed S is round 0 of seed S + r, so a failure is repeated from where it happened.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import math
import os
import random
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from proof.soak_content import Content
from proof.soak_flow import Flow
from proof.soak_nodes import Held
from remotemedia.core.multiprocessing import (
    ChannelClosedError,
    MultiprocessConfig,
    MultiprocessExecutor,
    Pipeline,
    ProcessCrashError,
    Publisher,
    Session,
    Subscriber,
)

REPOSITORY = str(Path(__file__).parents[1])
# All that nodes and receivers may hold, with the gaps between, leaves room for the largest message.
POOL_BYTES = 64 * 1024 * 1024
INIT_TIMEOUT_SECS = 120.0  # the machine may have other things to do
REPORT_SECS = 5


class Tally:
    """What happened so far; says so every few seconds."""

    def __init__(self, console: Console, limit_secs: float = math.inf, limit_messages: float = math.inf) -> None:
        self.counts: Counter[str] = Counter()
        self._console = console
        self._started = self._said = time.monotonic()
        self._limit_secs, self._limit_messages = limit_secs, limit_messages

    @property
    def over(self) -> bool:
        return self.counts["messages"] >= self._limit_messages or time.monotonic() - self._started >= self._limit_secs

    def count(self, what: str, by: int = 1) -> None:
        self.counts[what] += by
        if time.monotonic() - self._said >= REPORT_SECS:
            self.report()

    def say(self, words: str) -> None:
        self._console.print(words, soft_wrap=True)

    def report(self) -> None:
        self._said = time.monotonic()
        figures = "  ".join(f"{name} {count}" for name, count in self.counts.items())
        self.say(f"{self._said - self._started:7.0f} s  {figures}")


def held_by_this_process() -> Counter[str]:
    """Descriptors by kind, threads, children, and mappings of shared memory."""
    gc.collect()
    held = Counter(f"thread {thread.name}" for thread in threading.enumerate())
    for number in os.listdir("/proc/self/fd"):  # noqa: PTH208  Path.iterdir would have one open itself
        with suppress(OSError):  # the one that listdir used
            held[f"descriptor {os.readlink(f'/proc/self/fd/{number}').partition(':[')[0]}"] += 1  # noqa: PTH115
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # a thread that has just ended
            held.update(f"child {pid}" for pid in (task / "children").read_text().split())
    held["mappings"] = Path("/proc/self/maps").read_text().count("memfd:remotemedia")
    return held


# --- a session -------------------------------------------------------------------------------------------------


def random_pipeline(chance: random.Random, most_nodes: int, config: dict[str, object]) -> Pipeline:
    """A graph without cycles."""
    pipeline = Pipeline()
    for number in range(chance.randint(1, most_nodes)):
        node_id, before = f"n{number}", pipeline.node_ids
        pipeline.add_node("soak-relay", node_id, {**config, "chance": chance.random()})
        for feed in chance.sample(before, min(len(before), chance.choice((1, 1, 2)))):
            pipeline.connect(feed, "output", node_id, "input")
    for node_id in sorted(set(pipeline.node_ids) - set(pipeline.output_nodes)):
        if chance.random() < 0.2:
            pipeline.add_output(node_id)
    return pipeline


class SessionRound(Flow):
    """One session from start to end, and the accounts of it. ``kills``: how likely one of its nodes is killed."""

    def __init__(
        self,
        seed: int,
        most_nodes: int,
        tally: Tally,
        plant: str | None = None,
        *,
        kills: float = 0.2,
        most_messages: int = 600,
        executor: MultiprocessExecutor | None = None,
    ) -> None:
        chance = random.Random(seed)
        self._tally = tally
        self._numbers = range(chance.randrange(50, most_messages))
        config = {"seed": seed, "plant": plant, "plant_at": len(self._numbers) // 2}
        pipeline = random_pipeline(chance, most_nodes, config)
        self._kill_at = chance.choice(self._numbers) if chance.random() < kills and not plant else -1
        self._interrupts = 0.005 if chance.random() < 0.3 and not plant else 0
        settings = MultiprocessConfig(
            channel_capacity=chance.choice((1, 2, 8, 32)),
            shm_segment_size=POOL_BYTES,
            spin_us=chance.choice((0, 20)),
            init_timeout_secs=INIT_TIMEOUT_SECS,
            extra_paths=(REPOSITORY,),
        )
        session = Session(f"soak-{seed}", pipeline, settings, executor)
        super().__init__(session, Content(seed), chance, on_sent=lambda: tally.count("messages"))

    async def live(self) -> None:
        """From start to end; AssertionError for messages lost or changed."""
        crashed = False
        try:
            async with self.session:
                self._tally.count("starts", len(self.session.pids))
                await self.run(self._numbers)
        except* ProcessCrashError as crashes:
            if self._kill_at < 0 or any(crash.signal != signal.SIGKILL for crash in crashes.exceptions):
                raise
            crashed = True
        if crashed:
            self._tally.count("crashes")
        elif lost := self.lost(self._numbers):
            raise AssertionError("\n".join(lost))
        self._tally.count("sessions")

    async def after(self, number: int, chance: random.Random) -> None:
        if number == self._kill_at:
            os.kill(chance.choice(sorted(self.session.pids.values())), signal.SIGKILL)
        elif chance.random() < self._interrupts:
            await self.interrupt(number + 1)
            self._tally.count("interruptions")


# --- a named channel -------------------------------------------------------------------------------------------


def channel_round(seed: int, tally: Tally) -> None:
    """Two threads that block in the kernel, over a channel with little memory; either may close first."""
    chance = random.Random(seed)
    content = Content(seed)
    count = chance.randrange(100, 1500)
    leaves_at = chance.randrange(count) if chance.random() < 0.3 else count
    sent = [0]
    name = f"soak-{os.getpid()}-{seed}"

    def publish() -> None:
        with suppress(ChannelClosedError), publisher:
            for number in range(count):
                data = content.message(number)
                if loans.random() < 0.3 and not isinstance(data.payload, str | bytes):
                    loaned = publisher.loan(data.payload.shape, data.payload.dtype)
                    loaned[...] = data.payload
                    data = replace(data, payload=loaned)
                publisher.publish(data)
                sent[0] += 1

    loans = random.Random(seed + 1)
    pool_bytes = chance.choice((24, 48)) * 1024 * 1024
    publisher = Publisher(name, chance.choice((1, 3, 16)), pool_bytes=pool_bytes, spin_us=chance.choice((0, 20)))
    with Subscriber(name, spin_us=chance.choice((0, 20))) as subscriber:
        thread = threading.Thread(target=publish, name="soak-publisher")
        thread.start()
        held = Held(content, chance, "in a channel")
        received = 0
        while received < leaves_at and (data := subscriber.receive()) is not None:
            number = content.check(data, "in a channel")
            if number != received:
                raise AssertionError(f"message {number} came where {received} was due")
            received += 1
            held.keep_for_a_while(data)
            tally.count("messages")
        del data
        held.let_all_go()
    thread.join()
    if leaves_at == count and (received, sent[0]) != (count, count):
        raise AssertionError(f"{received} of {count} messages came, {sent[0]} were sent")
    tally.count("channels")


# --- the program -----------------------------------------------------------------------------------------------


def soak(seed: int, most_nodes: int, tally: Tally, plant: str | None) -> None:
    before = held_by_this_process()
    while not tally.over:
        try:
            if random.Random(seed).random() < 0.25 and not plant:
                channel_round(seed, tally)
            else:
                asyncio.run(SessionRound(seed, most_nodes, tally, plant).live())
            if plant == "leak":
                os.dup(0)
            if left := held_by_this_process() - before:
                raise AssertionError("left behind: " + ", ".join(f"{name} (x{n})" for name, n in left.items()))
        except BaseException:
            tally.say(f"ended in this round: --seed {seed} --nodes {most_nodes} begins with it")
            raise
        seed += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=math.inf, help="how long")
    parser.add_argument("--messages", type=float, default=math.inf, help="how many messages, at least")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--nodes", type=int, default=5, help="most nodes in a graph (5)")
    parser.add_argument("--plant", choices=("flip", "lose", "leak"), help="a bug, to see it found")
    options = parser.parse_args()
    tally = Tally(Console(), options.minutes * 60, options.messages)
    tally.say(f"seed {options.seed}")
    soak(options.seed, options.nodes, tally, options.plant)
    tally.report()


if __name__ == "__main__":
    main()
