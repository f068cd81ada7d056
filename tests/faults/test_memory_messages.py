"""Messages as large as memory allows, and larger; and thousands of tiny ones."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import NodeProcessError, PayloadError, Session

pytestmark = pytest.mark.usefixtures("leak_check")

MB = 1 << 20
ODD_BYTES = 293 * 4096  # between the sizes that the allocator sorts by


@pytest.fixture
def mx(beside: Any) -> Any:
    beside("refusals")
    return beside("memory_nodes")


async def exchange(ledger: Any, session: Session, sink: str, messages: list[Any], wrong: Callable[..., bool]) -> None:
    """All of ``messages`` go in at n0, and each comes out at ``sink``, in order."""

    async def feed() -> None:
        for message in messages:
            await session.send("n0", message() if callable(message) else message)

    feeding = asyncio.create_task(feed())
    bad = 0
    for number in range(len(messages)):
        bad += wrong(await session.receive(sink), number)
    await feeding
    ledger.count("messages", len(messages))
    ledger.lose(bad)
    assert not bad


# --- huge ------------------------------------------------------------------------------------------------------

HUGE = pytest.mark.promise(
    "memory pressure",
    "huge messages: one too large is refused at once, one as large as the pool goes through, more than there is room "
    "for wait",
    "arrays, text, bytes, metadata and loans beyond the pool; its very size; forty pools' worth; random sizes",
)


@HUGE
@pytest.mark.parametrize("full", [False, True], ids=["empty", "full"])
def test_larger_than_the_pool(px: Any, mx: Any, ledger: Any, full: bool) -> None:
    """Told at once, also where others wait for room; in a node it fails that message."""
    messages = [
        RuntimeData.tensor(np.zeros(MB + 1, np.uint8)),
        RuntimeData.text("ä" * (MB // 2 + 1)),
        RuntimeData.text("", metadata={"much": "x" * (MB + 1)}),
    ]

    async def main() -> None:
        errors: list[NodeProcessError] = []
        async with px.session("m-tries", shm_segment_size=MB, channel_capacity=2, extra_paths=(mx.FOLDER,)) as session:
            session.on_error(errors.append)
            held = [await session.loan(MB - 64, "u1")] if full else []
            for message in messages:
                with pytest.raises(PayloadError, match=r"can never fit the pool of 1048576 bytes \(shm_segment_size\)"):
                    await session.send("n0", message)
                ledger.count("refusals")
            with pytest.raises(PayloadError, match="can never fit"):
                await session.loan(MB + 1, "u1")
            held.clear()
            await px.send_all(session, "n0", ["copy", f"loan {MB + 1}", f"loan {MB // 2}", "the rest"])
            found = [data.payload async for _, data in session.outputs()]
            assert [word for word in found if isinstance(word, str)][-1] == "the rest" and len(found) == 5
            await px.until(lambda: len(errors) == 2)
            assert all("PayloadError" in e.reason and "can never fit" in e.reason for e in errors)

    px.run(main())


@HUGE
def test_as_large_as_the_pool(px: Any, mx: Any, ledger: Any, scale: Any) -> None:
    """Each needs all of it, in one piece: the next waits for it."""

    async def main() -> None:
        nodes = ("t-echo", "m-more", "t-echo")
        async with px.session(*nodes, shm_segment_size=ODD_BYTES, extra_paths=(mx.FOLDER,)) as session:
            messages = [mx.filled(ODD_BYTES, number) for number in range(scale(20, 500))]
            await exchange(ledger, session, "n2", messages, lambda data, n: not (data.payload == n % 251 + 1).all())
            waited = {stats.name: stats.blocked_memory_secs > 0 for stats in session.channel_stats()}
            assert waited["session_to_n0"]

    px.run(main())


@HUGE
def test_many_pools_worth(px: Any, mx: Any, ledger: Any, scale: Any) -> None:
    """Random sizes up to the pool's own, copied by every node: memory is what they wait for, and nothing is lost."""
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)

    async def main() -> None:
        async with px.session("m-more", "m-more", shm_segment_size=MB, extra_paths=(mx.FOLDER,)) as session:
            sizes = [chance.choice([MB, MB // 3, 4096, 100]) - chance.randrange(99) for _ in range(scale(200, 3_000))]

            def wrong(data: RuntimeData, number: int) -> bool:
                array = data.as_numpy()
                return len(array) != sizes[number] or not (array == (number % 251 + 2) % 256).all()

            messages = [lambda s=s, n=n: mx.filled(s, n) for n, s in enumerate(sizes)]
            await exchange(ledger, session, "n1", messages, wrong)
            assert all(s.blocked_memory_secs > 0 for s in session.channel_stats() if s.publisher == "session"), seed

    px.run(main(), patience_secs=110)


# --- tiny ------------------------------------------------------------------------------------------------------


STRETCH = 8000  # of one kind: more than all channels hold


def tiny(number: int) -> RuntimeData:
    """0 to 100 bytes of each kind; metadata within the slot, or in a block of its own; or nothing but metadata."""
    size, metadata = number % 101, {"n": number} if number % 10 else {"n": number, "more": "x" * 150}
    kind = number // STRETCH % 4
    if kind == 0:
        return RuntimeData.text("ab"[number % 2] * size, metadata=metadata)
    if kind == 1:
        return RuntimeData.text("", metadata=metadata)
    if kind == 2:
        return RuntimeData.tensor(np.full(size, number % 251, np.uint8), metadata=metadata)
    return RuntimeData.tensor(np.full(size // 8, float(number)), metadata=metadata)


def changed(data: RuntimeData | None, number: int) -> bool:
    wanted = tiny(number)
    assert data is not None
    same = np.array_equal(data.payload, wanted.payload) and type(data.payload) is type(wanted.payload)
    return not same or data.metadata != wanted.metadata


@pytest.mark.promise(
    "memory pressure",
    "thousands of tiny messages: each once, in order, whole, with slots and memory running out in turn",
    "texts, arrays and metadata of 0 to 100 bytes through the smallest pools, receivers that stop and go",
)
@pytest.mark.parametrize(("capacity", "count"), [(3, 20_000), (1500, 90_000)])
def test_thousands_of_tiny_ones(px: Any, ledger: Any, scale: Any, capacity: int, count: int) -> None:
    count *= scale(1, 5)

    async def main() -> None:
        config = {"shm_segment_size": 64 * 1024, "channel_capacity": capacity}
        async with px.session("t-echo", "t-echo", **config) as session:

            async def feed() -> None:
                for number in range(count):
                    await session.send("n0", tiny(number))

            feeding = asyncio.create_task(feed())
            lost = number = 0
            while number < count:
                if number % 9000 == 0 and number < count - STRETCH:
                    # Until nothing moves any more: every channel is full, or the pool in front of it is empty.
                    await px.until(lambda: session.channel_stats()[0].blocked_now_secs)
                lost += changed(await session.receive("n1"), number)
                number += 1
            await feeding
            ledger.count("messages", count)
            ledger.lose(lost)
            assert not lost
            first = session.channel_stats()[0]
            # Room for few messages: slots run out. For many: memory does, and slots where there is little but metadata.
            assert first.blocked_by == "n0"
            assert (first.blocked_memory_secs > 0) == (capacity > 1000)

    px.run(main(), patience_secs=110)
