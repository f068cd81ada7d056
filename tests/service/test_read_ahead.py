"""The few requests between a client and its pipeline: in order, none lost, never more than a few."""

from __future__ import annotations

import asyncio

import remotemedia_v1_pb2 as pb
from hypothesis import example, given
from hypothesis import strategies as st

from remotemedia.service._read_ahead import ReadAhead
from remotemedia.wire.payload import Envelope

MOST_REQUESTS, MOST_BYTES = 8, 1 << 20
SIZES = st.lists(st.sampled_from([0, 100, 200_000, 600_000, MOST_BYTES, 5 * MOST_BYTES]), max_size=40)


def request(number: int, size: int) -> Envelope[pb.StreamRequest]:
    chunk = pb.DataChunk(sequence=number)
    return Envelope(pb.StreamRequest(data_chunk=chunk), [memoryview(bytes(size))] if size else [])


@example([100] * 20, [])
@given(SIZES, st.lists(st.booleans(), max_size=60))
def test_model(sizes: list[int], pauses: list[bool]) -> None:
    """Whoever is let run first, and however often the other pauses in between."""

    async def main() -> None:
        ahead, inside = ReadAhead(), 0
        turns = iter(pauses)

        async def pause() -> None:
            if next(turns, False):
                await asyncio.sleep(0)

        async def put_all() -> None:
            nonlocal inside
            for number, size in enumerate(sizes):
                await ahead.put(request(number, size), number)
                inside += 1
                assert inside <= MOST_REQUESTS
                held = sum(sizes[number + 1 - inside : number + 1])
                assert held <= MOST_BYTES or inside == 1
                await pause()
            await ahead.put(None, len(sizes))

        async def get_all() -> None:
            nonlocal inside
            for number in range(len(sizes)):
                await pause()
                found, epoch = await ahead.get()
                inside -= 1
                assert found is not None and epoch == found.message.data_chunk.sequence == number
            assert await ahead.get() == (None, len(sizes))

        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            group.create_task(put_all())
            group.create_task(get_all())

    asyncio.run(main())


def test_eight_small_ones_never_wait() -> None:
    """Also when many have passed before: what was taken counts no more."""

    async def main() -> None:
        ahead = ReadAhead()
        async with asyncio.timeout(5):
            for _ in range(3):
                for number in range(MOST_REQUESTS):
                    await ahead.put(request(number, MOST_BYTES // MOST_REQUESTS), 0)
                for number in range(MOST_REQUESTS):
                    found, _ = await ahead.get()
                    assert found is not None and found.message.data_chunk.sequence == number

    asyncio.run(main())
