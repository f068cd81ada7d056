"""Zero copies: a frame exists once, however many nodes pass it on or hold it."""

from __future__ import annotations

import asyncio
import ctypes
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import (
    MultiprocessConfig,
    Pipeline,
    Session,
)

pytestmark = pytest.mark.usefixtures("leak_check")

FRAME = (1080, 1920, 3)
FRAME_BYTES = 1080 * 1920 * 3
PAGE = 4096

_libc = ctypes.CDLL(None, use_errno=True)


def shared_pages() -> int:
    """Pages in memory of all segments of this session; the orchestrator maps each of them.

    Of the memfds themselves (mincore), whichever process touched them.
    """
    found = 0
    seen = set()  # the orchestrator maps its own segment twice
    with Path("/proc/self/maps").open() as lines:
        for line in lines:
            match = re.match(r"(\w+)-(\w+) \S+ (\w+) \S+ (\d+) .*memfd:remotemedia-segment", line)
            if match and match.group(3, 4) not in seen:
                seen.add(match.group(3, 4))
                start, end = (int(part, 16) for part in match.group(1, 2))
                pages = (ctypes.c_ubyte * ((end - start) // PAGE))()
                if _libc.mincore(ctypes.c_void_p(start), ctypes.c_size_t(end - start), pages):
                    raise OSError(ctypes.get_errno(), "mincore")
                found += sum(page & 1 for page in bytes(pages))
    return found


def five_in_a_row_then_four() -> Pipeline:
    pipeline = Pipeline()
    for name in "abcde":
        pipeline.add_node("t-echo", name)
    for left, right in zip("abcd", "bcde", strict=True):
        pipeline.connect(left, "output", right, "input")
    for name in "wxyz":
        pipeline.add_node("t-echo", name).connect("e", "output", name, "input")
    return pipeline


def test_a_frame_through_five_nodes_and_a_fan_out_of_four_exists_once(px: Any) -> None:
    async def main() -> None:
        # Segments of their own size, so that mincore is quick.
        config = MultiprocessConfig(shm_segment_size=64_000_000)
        async with Session("s", five_in_a_row_then_four(), config) as session:
            await session.send("a", RuntimeData.text("warm"))
            for name in "wxyz":
                await session.receive(name)
            before = shared_pages()
            frame = np.random.default_rng(1).integers(0, 256, FRAME, dtype=np.uint8)
            await session.send("a", RuntimeData.video(frame))
            held = [await session.receive(name) for name in "wxyz"]
            grown_bytes = (shared_pages() - before) * PAGE
            # Less the pages that were warm, and not twice.
            assert FRAME_BYTES - 64 * PAGE < grown_bytes < FRAME_BYTES + 64 * PAGE
            for data in held:
                assert data is not None
                assert (data.payload == frame).all()
            copied = {stats.name: stats.bytes_copied for stats in session.channel_stats()}
            assert copied.pop("session_to_a") == FRAME_BYTES + len("warm")
            assert set(copied.values()) == {len("warm")}
            # One block: held by each of the four, and by no message any more.
            blocks = {data.payload.base.references for data in held if data is not None}
            assert blocks == {4}
            first = held.pop()
            assert first is not None
            assert first.as_numpy(writable=True).base is None  # a copy: three others still look at it
            held.clear()
            del data
            assert first.as_numpy(writable=True).base is first.payload.base

    px.run(main())


def test_after_a_burst_an_idle_session_gives_its_memory_back(px: Any) -> None:
    """No timer: the last block that returns wakes its owner, which gives back what it does not keep."""

    async def main() -> None:
        config = MultiprocessConfig(channel_capacity=20, shm_segment_size=256_000_000)
        async with Session("s", Pipeline().add_node("t-echo", "a"), config) as session:
            before = shared_pages()
            for number in range(10):
                await session.send("a", RuntimeData.tensor(np.full(10_000_000, number, np.uint8)))
            held = [await session.receive("a") for _ in range(10)]
            assert (shared_pages() - before) * PAGE >= 100_000_000
            waiting = asyncio.create_task(session.receive("a"))  # this process sleeps on its doorbell, as when idle
            while not session._wired().doorbell._waiters:
                await asyncio.sleep(0)
            held.clear()
            while (shared_pages() - before) * PAGE > 8_000_000:  # the watchdog knows how long is too long
                await asyncio.sleep(0)
            waiting.cancel()

    px.run(main())


def test_what_a_session_receives_is_mapped_read_only_also_its_own(px: Any) -> None:
    """A payload that comes back to its sender may be read by other nodes at the same time."""

    async def main() -> None:
        pipeline = Pipeline().add_node("t-echo", "a").add_node("t-echo", "b").connect("a", "output", "b", "input")
        async with Session("s", pipeline.add_output("a")) as session:
            await session.send("a", RuntimeData.tensor(np.arange(1000)))
            for name in ("a", "b"):
                got = await session.receive(name)
                assert got is not None and isinstance(got.payload, np.ndarray)
                assert _permissions(got.payload.ctypes.data) == "r--s"
            await session.send("a", got)  # its own payload, passed on from the mapping that cannot be written to
            assert session.channel_stats()[0].bytes_copied == 8000
            again = await session.receive("a")
            assert again is not None and again.payload.sum() == 499_500

    px.run(main())


def _permissions(address: int) -> str:
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(part, 16) for part in line.split()[0].split("-"))
        if start <= address < end:
            return line.split()[1]
    raise AssertionError(f"nothing is mapped at {address:#x}")


def test_send_that_waits_for_memory_wakes_when_kept_outputs_are_dropped(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-echo", shm_segment_size=1 << 20) as session:
            for _ in range(3):
                kept = []
                for value in range(3):
                    await session.send("n0", RuntimeData.tensor(np.full(300_000, value, np.uint8)))
                    data = await session.receive("n0")
                    assert data is not None and (data.payload == value).all()
                    kept.append(data)
                    del data
                sending = asyncio.create_task(session.send("n0", RuntimeData.tensor(np.full(900_000, 9, np.uint8))))
                await px.until(lambda: session.get_channel_stats("session_to_n0").blocked_now_secs > 0)
                assert not sending.done()
                kept.clear()
                await sending
                data = await session.receive("n0")
                assert data is not None and (data.payload == 9).all()
                del data

    px.run(main())
