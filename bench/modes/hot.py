"""How long does a message take while both sides are awake?

Two processes play ping-pong; half a round trip is one way. Round trips are timed one by one, for the percentiles, and
in batches, since reading the clock costs a part of the shortest ones; ``batch_p50`` is the figure that ratios use.
"""

from __future__ import annotations

import time
from functools import partial

from bench.contender import WORD_BYTES, Receiver, Sender, check
from bench.limits import Limit, Limits
from bench.run import Pair, Run, figures, pairs

MODE = "hot"
_LIMIT_ROUNDS = 20_000
_BATCH = 100
_WARM_UP = 20


def lead(sender: Sender, receiver: Receiver, length: int, singles: int, batches: int, batch: int) -> list[list[int]]:
    """Times of single round trips, and of batches of them."""
    send, receive, now = sender.send, receiver.receive, time.monotonic_ns
    single_ns, batch_ns = [], []
    for value in range(singles):
        start = now()
        send(value)
        array = receive()
        check(array, length, value)
        single_ns.append(now() - start)
        del array
    for _ in range(batches):
        start = now()
        for value in range(batch):
            send(value)
            array = receive()
            check(array, length, value)
            del array
        batch_ns.append(now() - start)
    return [single_ns, batch_ns]


def follow(receiver: Receiver, sender: Sender, length: int, singles: int, batches: int, batch: int) -> None:
    send, receive = sender.send, receiver.receive
    for rounds in (singles, *[batch] * batches):
        for value in range(rounds):
            array = receive()
            check(array, length, value)
            del array
            send(value)


class PingPong:
    def __init__(self, pair: Pair, size: int, turn_secs: float) -> None:
        self.name = pair.name
        self.single_ns: list[float] = []
        self.batch_ns: list[float] = []
        self._pair = pair
        self._length = size // WORD_BYTES
        self._turn_ns = turn_secs * 1e9
        self._shape: tuple[int, int, int] | None = None

    def play(self) -> None:
        if self._shape is None:
            warm = sorted(self._go((_WARM_UP, 0, 1))[0])
            # A third of a turn for singles; a slow contender has fewer of both.
            rounds = int(max(3, self._turn_ns / 3 / warm[len(warm) // 2]))
            batch = min(_BATCH, rounds)
            self._shape = (min(rounds, 2000), max(1, 2 * rounds // batch), batch)
        single, batched = self._go(self._shape)
        self.single_ns += [took / 2 for took in single]
        self.batch_ns += [took / 2 / self._shape[2] for took in batched]

    def _go(self, shape: tuple[int, int, int]) -> list[list[int]]:
        args = (self._length, *shape)
        times: list[list[int]] = self._pair.ask((lead, args), (follow, args))[0]
        return times


def machine_limits(limits: Limits, size: int) -> list[Limit]:
    copies = 10 if size > 1_000_000 else 50
    return [
        Limit("cache line ping-pong (C)", partial(limits.ping_pong, _LIMIT_ROUNDS)),
        Limit("memcpy (C)", partial(limits.memcpy, size, copies)),
    ]


def measure(run: Run) -> None:
    for size in run.sizes:
        where = f"hot, {size} B"
        with pairs(run, MODE, size, where, both_ways=True) as ready:
            players = [PingPong(pair, size, 0.02 if run.quick else 0.06) for pair in ready]
            limits = machine_limits(run.limits, size)
            run.alternate([*limits, *players], where)
        for limit in limits:
            if limit.ns:
                found = figures(limit.ns)
                run.add(MODE, size, None, limit.name, found, batch_p50=found["p50"])
        for pair, player in zip(ready, players, strict=True):
            if player.batch_ns:
                run.add(
                    MODE,
                    size,
                    pair.contender,
                    pair.name,
                    figures(player.single_ns),
                    batch_p50=figures(player.batch_ns)["p50"],
                    batch_min=figures(player.batch_ns)["min"],
                )
