"""How many messages a second, when one process sends all it can and another checks each of them?

Nothing may be lost: a full channel holds its sender up.
"""

from __future__ import annotations

import time

from bench.contender import WORD_BYTES, Receiver, Sender, check
from bench.run import Pair, Run, figures, pairs

MODE = "throughput"


def flood(sender: Sender, length: int, count: int) -> int:
    """When the first message was begun."""
    send = sender.send
    start = time.monotonic_ns()
    for value in range(count):
        send(value)
    return start


def drain(receiver: Receiver, length: int, count: int) -> int:
    """When the last message was checked."""
    receive = receiver.receive
    for value in range(count):
        array = receive()
        check(array, length, value)
        del array
    return time.monotonic_ns()


class Stream:
    def __init__(self, pair: Pair, size: int, turn_secs: float) -> None:
        self.name = pair.name
        self.per_message_ns: list[float] = []
        self._pair = pair
        self._length = size // WORD_BYTES
        self._turn_ns = turn_secs * 1e9
        self._count = 0

    def play(self) -> None:
        if not self._count:
            # A short stream first: it warms up, and tells how long a turn may be.
            for count in (50, 500):
                took_ns = self._go(count)
                if took_ns > self._turn_ns / 10:
                    break
            self._count = int(max(10, count * self._turn_ns / took_ns))
        self.per_message_ns.append(self._go(self._count) / self._count)

    def _go(self, count: int) -> int:
        args = (self._length, count)
        start, end = self._pair.ask((flood, args), (drain, args))
        return int(end - start)


def measure(run: Run) -> None:
    for size in run.sizes:
        where = f"throughput, {size} B"
        with pairs(run, MODE, size, where, both_ways=False) as ready:
            players = [Stream(pair, size, 0.05 if run.quick else 0.1) for pair in ready]
            run.alternate(players, where)
        for pair, player in zip(ready, players, strict=True):
            if player.per_message_ns:
                found = figures(player.per_message_ns)
                run.add(
                    MODE,
                    size,
                    pair.contender,
                    pair.name,
                    found,
                    messages_per_s=round(1e9 / found["p50"]),
                    gb_per_s=round(size / found["p50"], 3),
                )
