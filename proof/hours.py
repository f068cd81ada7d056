"""Does anything grow in hours of operation? As many messages, starts, stops and crashes, in minutes.

    python -m proof.hours [--hours 8] [--rounds 60] [--sessions 12] [--seed S]

One session is fed as many messages as speech would be in that time; beside it sessions and named channels start, stop
and crash. Every message is compared, to the last byte. After each round, when all is quiet, this process and the nodes
that stay are looked at; nothing may grow from round to round. Says at the end, as JSON, what happened and what grew.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import faulthandler
import itertools
import json
import mmap
import os
import random
import signal
import sys
import threading
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from proof.soak import INIT_TIMEOUT_SECS, POOL_BYTES, REPOSITORY, SessionRound, Tally, channel_round
from proof.soak_content import SPEECH_HZ, Speech
from proof.soak_figures import MAY_GROW, WARM_UP, growth, leaks, look
from proof.soak_flow import Flow
from remotemedia.core.multiprocessing import MultiprocessConfig, MultiprocessExecutor, Pipeline, Session

AT_ONCE = 3
MOST_NODES = 5
MOST_MESSAGES = 200
PAUSES = 0.0005
INTERRUPTIONS = 0.0005


class Stream(Flow):
    """The session that stays."""

    def __init__(self, session: Session, seed: int, tally: Tally) -> None:
        super().__init__(session, Speech(seed), random.Random(seed), PAUSES, lambda: tally.count("speech messages"))
        self._tally = tally
        self._last = 0

    async def feed(self, numbers: range) -> None:
        """All of them through all nodes; afterwards nobody holds anything."""
        self._last = numbers[-1]
        await self.run(numbers, end=False)
        if lost := self.lost(numbers):
            raise AssertionError("\n".join(lost[:10]))
        self.forget()
        await self.interrupt(numbers.stop)

    async def after(self, number: int, chance: random.Random) -> None:
        if number < self._last and chance.random() < INTERRUPTIONS:
            await self.interrupt(number + 1)
            self._tally.count("interruptions")


async def hours(options: argparse.Namespace, tally: Tally) -> tuple[list[str], npt.NDArray[np.float64]]:
    """The figures, a row of them for each round. AssertionError for messages lost or changed."""
    messages = int(options.hours * 3600 * SPEECH_HZ)
    ends = [messages * number // options.rounds for number in range(options.rounds + 1)]
    seeds = itertools.count(options.seed)
    planted: list[Any] | None = [] if options.plant else None
    # Made before the first look: the memory of the looks must not look like a leak.
    names, looks = list(MAY_GROW), np.zeros((options.rounds, len(MAY_GROW)))

    async def others(number: int) -> None:
        for seed in itertools.islice(seeds, options.sessions // AT_ONCE + (number < options.sessions % AT_ONCE)):
            beside = SessionRound(seed, MOST_NODES, tally, kills=0.5, most_messages=MOST_MESSAGES, executor=executor)
            await beside.live()
            if planted is not None:
                planted.append(await plant_leaks(session))

    settings = MultiprocessConfig(
        shm_segment_size=POOL_BYTES, init_timeout_secs=INIT_TIMEOUT_SECS, extra_paths=(REPOSITORY,)
    )
    async with MultiprocessExecutor(settings) as executor:
        session = await executor.create_session("stream", stream_pipeline(options.seed))
        tally.count("starts", len(session.pids))
        stream = Stream(session, options.seed, tally)
        for number, numbers in enumerate(itertools.starmap(range, itertools.pairwise(ends))):
            async with asyncio.TaskGroup() as group:
                group.create_task(stream.feed(numbers))
                for task in range(AT_ONCE):
                    group.create_task(others(task))
            channel_round(options.seed + number, tally)
            found = look(session)
            looks[number] = [found[name] for name in names]
    return names, looks


def stream_pipeline(seed: int) -> Pipeline:
    """Four nodes: one way splits into two, and they meet again."""
    pipeline = Pipeline()
    for node_id in "abcd":
        config = {"content": "speech", "seed": seed, "chance": node_id, "pauses": PAUSES}
        pipeline.add_node("soak-relay", node_id, config)
    for left, right in ("ab", "ac", "bd", "cd"):
        pipeline.connect(left, "output", right, "input")
    return pipeline


async def plant_leaks(stream: Session) -> list[Any]:
    """One of each kind, to see it found; returns the objects to keep."""
    os.dup(0)
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    fd = os.memfd_create("planted")
    os.truncate(fd, mmap.PAGESIZE)
    shared = mmap.mmap(fd, mmap.PAGESIZE)
    # Without its flags it would be shared memory, which no resident figure of a process counts as its own.
    private = mmap.mmap(-1, 16 * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    os.close(fd)
    shared[0] = 1
    private[:] = bytes(len(private))
    return [shared, private, bytes(1000), await stream.loan(mmap.PAGESIZE, "u1")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=8, help=f"how many, of {SPEECH_HZ} messages a second (8)")
    parser.add_argument("--rounds", type=int, default=60, help="how often to look (60)")
    parser.add_argument("--sessions", type=int, default=12, help="how many come and go in a round (12)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plant", action="store_true", help="leaks, to see them found")
    options = parser.parse_args()
    tally = Tally(Console(stderr=True))
    names, looks = asyncio.run(hours(options, tally))
    tally.report()
    grown = dict(zip(names, growth(looks).tolist(), strict=True))
    found = leaks(grown, int(options.rounds * (1 - WARM_UP)) * options.sessions)
    for name, values in zip(names, looks.T, strict=True):
        verdict = "GROWS" if name in found else "flat"
        tally.say(f"{verdict} {grown[name]:9.1f}  {name}: {' '.join(f'{value:.0f}' for value in values)}")
    print(json.dumps({"counts": tally.counts, "growth": grown, "leaks": found}))
    return 1 if found else 0


if __name__ == "__main__":
    if os.environ.get("PYTHONMALLOC") != "malloc":
        # One heap, counted to the byte: nothing free is put aside, and large blocks go back at once.
        os.environ["PYTHONMALLOC"] = "malloc"
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.tcache_count=0:glibc.malloc.mmap_threshold=65536"
        os.execv(sys.executable, [sys.executable, "-m", "proof.hours", *sys.argv[1:]])
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: it dies with its parent
    faulthandler.register(signal.SIGQUIT)
    sys.exit(main())
