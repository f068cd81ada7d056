"""How long does a message take to a receiver that sleeps?

The sender sends at a fixed rate and sleeps in between; so does the receiver. Both note the time on one clock: before
the message is made, and when its array is in hand. At 1 kHz go sizes that audio has, at 50 Hz those of video too.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

from bench.contender import WORD_BYTES, Receiver, Sender, check
from bench.limits import Limit
from bench.run import Pair, Run, figures, pairs

MODE = "paced"
_RATES_HZ = (1000, 50)
_WARM_UP = 3
_LARGEST_AT_1_KHZ = 192_000


def send_paced(sender: Sender, length: int, period_ns: int, count: int) -> list[int]:
    sent_ns = []
    due_ns = time.monotonic_ns()
    for value in range(count):
        due_ns += period_ns
        time.sleep(max(0, due_ns - time.monotonic_ns()) / 1e9)
        sent_ns.append(time.monotonic_ns())
        sender.send(value)
    return sent_ns


def receive_paced(receiver: Receiver, length: int, period_ns: int, count: int) -> list[int]:
    arrived_ns = []
    for value in range(count):
        array = receiver.receive()
        arrived_ns.append(time.monotonic_ns())
        check(array, length, value)
        del array
    return arrived_ns


def receive_paced_asyncio(receiver: Any, length: int, period_ns: int, count: int) -> list[int]:
    async def receive_all() -> list[int]:
        arrived_ns = []
        for value in range(count):
            array = await receiver.receive_async()
            arrived_ns.append(time.monotonic_ns())
            check(array, length, value)
            del array
        return arrived_ns

    return asyncio.run(receive_all())


class Paced:
    def __init__(self, pair: Pair, size: int, hz: int, count: int) -> None:
        self.name = pair.name
        self.ns: list[float] = []
        self._pair = pair
        self._receive = receive_paced_asyncio if pair.contender.use_asyncio else receive_paced
        self._args = (size // WORD_BYTES, 1_000_000_000 // hz)
        self._count = count

    def play(self) -> None:
        if not self.ns:
            self._go(_WARM_UP)
        self.ns += self._go(self._count)

    def _go(self, count: int) -> list[int]:
        args = (*self._args, count)
        sent, arrived = self._pair.ask((send_paced, args), (self._receive, args))
        return [there - here for here, there in zip(sent, arrived, strict=True)]


def measure(run: Run) -> None:
    for hz in _RATES_HZ:
        count = {1000: 50, 50: 6}[hz] if run.quick else {1000: 150, 50: 10}[hz]
        for size in run.sizes:
            if hz == 1000 and size > _LARGEST_AT_1_KHZ:
                continue
            where = f"paced, {hz} Hz, {size} B"
            with pairs(run, MODE, size, where, both_ways=False) as ready:
                players = [Paced(pair, size, hz, count) for pair in ready]
                limits = [
                    Limit("futex wake (C)", partial(run.limits.futex_wake, hz, count)),
                    Limit("eventfd wake (C)", partial(run.limits.eventfd_wake, hz, count)),
                ]
                run.alternate([*limits, *players], where)
            for limit in limits:
                if limit.ns:
                    run.add(MODE, size, None, limit.name, figures(limit.ns), hz=hz)
            for pair, player in zip(ready, players, strict=True):
                if player.ns:
                    run.add(MODE, size, pair.contender, pair.name, figures(player.ns), hz=hz)
