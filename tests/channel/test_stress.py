"""Two processes, mixed sizes, sequence numbers and checksums; each side blocks now in a futex, now in asyncio."""

from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import Subscriber

SENDER = """
import asyncio, random, zlib
import numpy as np
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import Publisher

name, seed, count, capacity, spin_us = sys.argv[1], *map(int, sys.argv[2:])
rng = random.Random(seed)
source = np.random.default_rng(seed).integers(0, 256, 300_000, np.uint8)

def message(publisher, i):
    kind = rng.random()
    size = rng.choice([0, 1, 64, 100, 1000, 5000]) if kind < 0.97 else rng.randrange(60_000)
    start = rng.randrange(300_000 - size)
    raw = source[start : start + size]
    if kind < 0.1:
        loaned = publisher.try_loan(size, np.uint8)
        if loaned is not None:
            loaned[:] = raw
            raw = loaned
    session = "s" * 300 if kind > 0.95 else "s"
    return RuntimeData.tensor(raw, timestamp=float(i), session_id=session, metadata={"crc": zlib.crc32(raw)})

async def some(publisher, i, n):
    for i in range(i, i + n):
        await publisher.publish_async(message(publisher, i))

with Publisher(name, capacity, pool_bytes=600_000, spin_us=spin_us) as publisher:
    i = 0
    while i < count:
        n = min(rng.randrange(1, 400), count - i)
        if rng.random() < 0.5:
            asyncio.run(some(publisher, i, n))
        else:
            for j in range(i, i + n):
                publisher.publish(message(publisher, j))
        i += n
    say("sent", publisher.statistics()["blocked_count"])
    hear()
"""


@pytest.mark.parametrize(("capacity", "spin_us", "count"), [(1, 0, 15_000), (3, 5, 35_000), (64, 20, 50_000)])
def test_stress(
    child_python: Callable[..., Any], channel_name: Callable[[], str], capacity: int, spin_us: int, count: int
) -> None:
    name, rng = channel_name(), random.Random(capacity)
    with Subscriber(name, spin_us=spin_us) as subscriber:
        child = child_python(SENDER, name, str(capacity), str(count), str(capacity), str(spin_us))
        held: list[RuntimeData] = []
        received = 0

        def check(data: RuntimeData | None) -> None:
            nonlocal received
            assert data is not None
            assert data.sequence == received
            assert data.timestamp == received
            assert data.metadata == {"crc": zlib.crc32(data.payload)}  # type: ignore[arg-type]
            received += 1
            # Four of the largest at most: five gaps between them, one of which has room for the next. With more, this
            # side would wait for a message and the other for the memory that this side holds.
            held.append(data)
            if len(held) > rng.randrange(4):
                gone = held.pop(rng.randrange(len(held)))
                # Held for a while, and still what it was.
                assert gone.metadata == {"crc": zlib.crc32(np.asarray(gone.payload))}

        async def some(n: int) -> None:
            for _ in range(n):
                check(await subscriber.receive_async())

        while received < count:
            n = min(rng.randrange(1, 400), count - received)
            if rng.random() < 0.5:
                asyncio.run(some(n))
            else:
                for _ in range(n):
                    check(subscriber.receive())
        word, blocked = child.hear()
        assert word == "sent"
        assert blocked > 0
        now = subscriber.statistics()
        assert now is not None
        assert (now["published"], now["received"], now["occupancy"]) == (count, count, 0)
        child.say("done")
        assert child.wait() == 0
        assert subscriber.receive() is None
        assert subscriber.ended
