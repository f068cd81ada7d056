"""How long does a hop between two nodes of a pipeline take, and does it depend on what is passed on?

Five nodes in a row pass on stereo audio, 50 times a second: ten seconds of it (3.84 MB), and 1 kB. A hop is the time
from one node having its input to the next having it, the first node's own work included: note the time, check the
message, give it on. The message that goes through is the same array; with "loan" each node sends a new one, of which
it writes the first and the last sample.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from bench.contender import check
from bench.limits import Limit
from bench.peers import installed
from bench.run import Run, figures
from bench.workers import Team

MODE = "pipeline"
NODES = 5
SIZES = (1_000, 3_840_000)
HZ = 50

Samples = npt.NDArray[np.float32]


class Stage(Protocol):
    """One node's end of the pipeline, for those whose nodes the runner may ask."""

    def send(self, value: int) -> None: ...
    def receive(self) -> Samples: ...
    def forward(self) -> None: ...


def samples_of(size: int) -> Samples:
    """The audio that goes through: stereo, float32."""
    return np.zeros((size // 8, 2), np.float32)


def source(stage: Stage, size: int, count: int) -> list[int]:
    at_ns = []
    due_ns = time.monotonic_ns()
    for value in range(count):
        due_ns += 1_000_000_000 // HZ
        time.sleep(max(0, due_ns - time.monotonic_ns()) / 1e9)
        at_ns.append(time.monotonic_ns())
        stage.send(value)
    return at_ns


def hop(stage: Stage, size: int, count: int) -> list[int]:
    at_ns = []
    for value in range(count):
        samples = stage.receive()
        at_ns.append(time.monotonic_ns())
        check(samples, size // 4, value)
        del samples
        stage.forward()
    return at_ns


def sink(stage: Stage, size: int, count: int) -> list[int]:
    at_ns = []
    for value in range(count):
        samples = stage.receive()
        at_ns.append(time.monotonic_ns())
        check(samples, size // 4, value)
        del samples
    return at_ns


class Chain(Protocol):
    """A pipeline that runs."""

    def play(self, size: int, count: int) -> list[list[int]]:
        """For each node, when it had each message."""

    def close(self) -> None: ...


class SessionChain:
    """Ours. A worker holds the session."""

    def __init__(self, run: Run, size: int, *, loan: bool) -> None:
        from bench.peers.remotemedia_session import SessionEnd

        self._team = Team([[partial(SessionEnd, NODES, loan)]], [None])
        self._team.wait_ready()

    def play(self, size: int, count: int) -> list[list[int]]:
        from bench.peers.remotemedia_session import SessionEnd

        times: list[list[int]] = self._team.play((SessionEnd.play, (size, count)))[0]
        return times

    def close(self) -> None:
        self._team.close()


class DoraChain:
    """dora's. Each of its nodes is a worker."""

    def __init__(self, run: Run, size: int) -> None:
        from bench.peers.dora import DoraStage, DoraTeam

        self._team = DoraTeam([[partial(DoraStage, samples_of(size))]] * NODES, run.scratch)
        self._team.wait_ready()

    def play(self, size: int, count: int) -> list[list[int]]:
        args = (size, count)
        return self._team.play((source, args), *[(hop, args)] * (NODES - 2), (sink, args))

    def close(self) -> None:
        self._team.close()


class Passing:
    def __init__(self, name: str, family: str, chain: Chain, size: int, count: int) -> None:
        self.name, self.family, self.chain = name, family, chain
        self.ns: list[float] = []
        self._size, self._count = size, count

    def play(self) -> None:
        if not self.ns:
            self.chain.play(self._size, 5)
        at_ns = self.chain.play(self._size, self._count)
        for before, after in pairwise(at_ns):
            self.ns += [there - here for here, there in zip(before, after, strict=True)]


def measure(run: Run) -> None:
    families = {contender.family for contender in run.contenders}
    makers: list[tuple[str, str, Callable[[Run, int], Any]]] = [
        ("remotemedia, passed on", "remotemedia", lambda run, size: SessionChain(run, size, loan=False)),
        ("remotemedia, loan in each node", "remotemedia", lambda run, size: SessionChain(run, size, loan=True)),
        ("dora, passed on", "dora", DoraChain),
    ]
    count = 12 if run.quick else 25
    for size in SIZES:
        where = f"pipeline of {NODES}, {size} B"
        players: list[Passing] = []
        try:
            for name, family, make in makers:
                if family in families and installed(family):
                    run.say(f"{where}: starting {name}")
                    try:
                        players.append(Passing(name, family, make(run, size), size, count))
                    except Exception as error:
                        run.failed(name, where, error)
            limits = [
                Limit("futex wake (C)", partial(run.limits.futex_wake, HZ, count)),
                Limit("eventfd wake (C)", partial(run.limits.eventfd_wake, HZ, count)),
            ]
            run.alternate([*limits, *players], where)
        finally:
            for player in players:
                player.chain.close()
        for limit in limits:
            if limit.ns:
                run.add(MODE, size, None, limit.name, figures(limit.ns), hz=HZ)
        for player in players:
            if player.ns:
                run.add(MODE, size, None, player.name, figures(player.ns), hz=HZ, family=player.family)
