"""How long does a message take from one process to another?

Two processes play ping-pong; half a round trip is one way. Contenders take turns, a short round each, so that whatever
else the machine does meets all of them alike; every figure is over all rounds. The message is checked (first and last
byte) on arrival, not read in full. "copied" publishes a private array, "loaned" one that lies in shared memory already
and is written anew (first and last byte) each time: what zero copies can give, when the producer computes in place.
``multiprocessing.Pipe`` sends the same bytes with ``send_bytes``; memcpy is one copy of them in one process.

    python -m bench.hop [--quick] [--pin]

Without --pin the scheduler places the two processes; it likes to put a sleeper's waker and the sleeper on one CPU,
where spinning only keeps the other from running. With it each has a CPU of its own, as in a machine with some to spare.

Bias: this is our own benchmark, and both processes are otherwise idle. Quote ratios of one run, not figures.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import Publisher, Subscriber

SIZES = {"64 B": 64, "1 kB": 1_000, "192 kB": 192_000, "10 MB": 10_000_000}
WARM_UP = 20

# Where the other process runs; None: wherever the scheduler likes.
partner_cpu: int | None = None

Bytes = npt.NDArray[np.uint8]


@dataclass
class Contender:
    """One way of sending, and what it took."""

    name: str
    play: Callable[[int], list[int]]
    one_way_ns: list[int] = field(default_factory=list)


def check(array: Bytes, size: int, value: int) -> None:
    if array.size != size or array[0] != value or array[-1] != value:
        raise AssertionError("another message arrived than was sent")


def message(publisher: Publisher, private: Bytes, value: int, *, loaned: bool) -> RuntimeData:
    array = publisher.loan(private.size, np.uint8) if loaned else private
    array[0] = array[-1] = value
    return RuntimeData.tensor(array, session_id="bench")


# --- the other process -----------------------------------------------------------------------------------------


def channel_partner(there: str, back: str, size: int, loaned: bool, use_asyncio: bool) -> None:
    private = np.zeros(size, np.uint8)
    with Subscriber(there) as subscriber, Publisher(back) as publisher:

        async def answer() -> None:
            while (data := await subscriber.receive_async()) is not None:
                value = int(data.as_numpy()[0])
                del data
                await publisher.publish_async(message(publisher, private, value, loaned=loaned))

        if use_asyncio:
            asyncio.run(answer())
            return
        for data in subscriber:
            value = int(data.as_numpy()[0])
            del data
            publisher.publish(message(publisher, private, value, loaned=loaned))


def pipe_partner(connection: Connection, size: int) -> None:
    private = np.zeros(size, np.uint8)
    while True:
        try:
            raw = connection.recv_bytes()
        except EOFError:
            return
        private[0] = private[-1] = raw[0]
        connection.send_bytes(private.data)


# --- this process ----------------------------------------------------------------------------------------------


def pinned(cpu: int | None, target: Callable[..., None], *args: object) -> None:
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    target(*args)


@contextmanager
def partner(target: Callable[..., None], *args: object) -> Iterator[None]:
    process = multiprocessing.get_context("spawn").Process(target=pinned, args=(partner_cpu, target, *args))
    process.start()
    try:
        yield
    finally:
        process.join()


@contextmanager
def over_channels(size: int, *, loaned: bool, use_asyncio: bool) -> Iterator[Callable[[int], list[int]]]:
    name = f"bench-hop-{os.getpid()}-{size}-{loaned}-{use_asyncio}"
    private = np.zeros(size, np.uint8)
    with (
        partner(channel_partner, f"{name}-there", f"{name}-back", size, loaned, use_asyncio),
        Publisher(f"{name}-there") as publisher,
        Subscriber(f"{name}-back") as subscriber,
    ):

        def play(rounds: int) -> list[int]:
            times = []
            for value in (i % 251 for i in range(rounds)):
                start = time.perf_counter_ns()
                publisher.publish(message(publisher, private, value, loaned=loaned))
                data = subscriber.receive()
                times.append((time.perf_counter_ns() - start) // 2)
                assert data is not None
                check(data.as_numpy(), size, value)
            return times

        async def play_async(rounds: int) -> list[int]:
            times = []
            for value in (i % 251 for i in range(rounds)):
                start = time.perf_counter_ns()
                await publisher.publish_async(message(publisher, private, value, loaned=loaned))
                data = await subscriber.receive_async()
                times.append((time.perf_counter_ns() - start) // 2)
                assert data is not None
                check(data.as_numpy(), size, value)
            return times

        yield (lambda rounds: asyncio.run(play_async(rounds))) if use_asyncio else play


@contextmanager
def over_pipe(size: int) -> Iterator[Callable[[int], list[int]]]:
    mine, theirs = multiprocessing.get_context("spawn").Pipe()
    private = np.zeros(size, np.uint8)
    with partner(pipe_partner, theirs, size), mine:
        theirs.close()

        def play(rounds: int) -> list[int]:
            times = []
            for value in (i % 251 for i in range(rounds)):
                private[0] = private[-1] = value
                start = time.perf_counter_ns()
                mine.send_bytes(private.data)
                raw = mine.recv_bytes()
                times.append((time.perf_counter_ns() - start) // 2)
                check(np.frombuffer(raw, np.uint8), size, value)
            return times

        yield play


def memcpy(size: int) -> Callable[[int], list[int]]:
    source, target = np.zeros(size, np.uint8), np.ones(size, np.uint8)

    def play(rounds: int) -> list[int]:
        times = []
        for _ in range(rounds):
            start = time.perf_counter_ns()
            np.copyto(target, source)
            times.append(time.perf_counter_ns() - start)
        return times

    return play


def measure(size: int, turns: int, rounds: int) -> list[Contender]:
    with ExitStack() as stack:
        contenders = [Contender("memcpy", memcpy(size))]
        for use_asyncio in (False, True):
            for loaned in (True, False):
                name = f"{'asyncio' if use_asyncio else 'blocking'}, {'loaned' if loaned else 'copied'}"
                play = stack.enter_context(over_channels(size, loaned=loaned, use_asyncio=use_asyncio))
                contenders.append(Contender(name, play))
        contenders.append(Contender("multiprocessing.Pipe", stack.enter_context(over_pipe(size))))
        for contender in contenders:
            contender.play(WARM_UP)
        for _ in range(turns):
            for contender in contenders:
                contender.one_way_ns += contender.play(rounds)
        return contenders


def main() -> None:
    parser = argparse.ArgumentParser(description="One-way latency between two processes.")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rounds")
    parser.add_argument("--pin", action="store_true", help="each process on a CPU of its own")
    options = parser.parse_args()
    if options.pin:
        global partner_cpu
        mine, partner_cpu, *_ = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {mine})
    where = "pinned" if options.pin else "not pinned"
    table = Table(title=f"One way, in µs ({os.cpu_count()} CPUs, {where}, Python {platform.python_version()})")
    table.add_column("size")
    table.add_column("how")
    for heading in ("p50", "p95", "p99", "max", "p50 / memcpy", "Pipe p50 / p50"):
        table.add_column(heading, justify="right")
    for label, size in SIZES.items():
        rounds = 20 if size > 1_000_000 else 200
        contenders = measure(size, 2 if options.quick else 20, rounds)
        p50 = {contender.name: float(np.percentile(contender.one_way_ns, 50)) for contender in contenders}
        for contender in contenders:
            figures = [*np.percentile(contender.one_way_ns, (50, 95, 99)), max(contender.one_way_ns)]
            table.add_row(
                label,
                contender.name,
                *(f"{figure / 1000:,.1f}" for figure in figures),
                f"{p50[contender.name] / p50['memcpy']:,.2f}",
                f"{p50['multiprocessing.Pipe'] / p50[contender.name]:,.1f}",
            )
        table.add_section()
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
