"""A consumer that holds every view: nothing under it changes, and everybody else waits, says so, and goes on."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest

from remotemedia.core.multiprocessing import (
    ChannelFullError,
    MultiprocessConfig,
    ProcessCrashError,
    Session,
    SessionStateError,
)

pytestmark = [
    pytest.mark.usefixtures("leak_check"),
    pytest.mark.promise(
        "memory pressure",
        "one holder of every view: nothing under it changes, senders wait and say so, and go on when it lets go",
        "the host and a node as holders; across the end, stop, cleanup and crashes; pages go back to the system after",
    ),
]

MB = 1 << 20
KEPT_BYTES = 4 * MB  # by each pool, once memory goes back
PIECE = 300_000


@pytest.fixture
def mx(beside: Any) -> Any:
    beside("refusals")
    return beside("memory_nodes")


async def fill(px: Any, mx: Any, session: Session) -> asyncio.Task[None]:
    """A task that sends until no pool has room; returned once it waits for memory."""

    async def feed() -> None:
        for n in range(100):
            await session.send("n0", mx.filled(PIECE, n))

    feeding = asyncio.create_task(feed())
    await px.until(lambda: session.channel_stats()[0].blocked_now_secs)
    return feeding


async def end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_the_host_holds_every_view(px: Any, mx: Any, ledger: Any, scale: Any) -> None:
    async def main() -> None:
        async with px.session("t-echo", "t-echo", shm_segment_size=MB) as session:
            for _ in range(scale(5, 200)):
                feeding = await fill(px, mx, session)
                held = [await session.receive("n1") for _ in range(3)]  # as much as the pool has
                await px.until(lambda: session.channel_stats()[0].blocked_now_secs)
                first = session.channel_stats()[0]
                assert first.current_occupancy == 0 and first.blocked_by is None, "no node is to blame"
                assert session.get_metrics().shared_used_bytes > 3 * PIECE
                numbers = [data.metadata["number"] for data in held]
                assert all((data.payload == n).all() for data, n in zip(held, numbers, strict=True))
                held.clear()
                got = [await session.receive("n1") for _ in range(3)]  # it goes on
                assert [data.metadata["number"] for data in got] == [n + 3 for n in numbers]
                ledger.count("messages", 6)
                await end(feeding)
                del got
                await session.interrupt()

    px.run(main())


@pytest.mark.parametrize("how", ["says so", "at the end"])
def test_a_node_holds_every_view(px: Any, mx: Any, ledger: Any, how: str) -> None:
    async def main() -> None:
        config = MultiprocessConfig(shm_segment_size=MB, enable_backpressure=False, extra_paths=(mx.FOLDER,))
        async with Session("s", px.chain("t-echo", "m-keep"), config) as session:
            sent = 0
            with pytest.raises(ChannelFullError, match=r"'session_to_n0' or its payload pool is full .* 1048576 bytes"):
                for sent in range(100):
                    await session.send("n0", mx.filled(PIECE, sent))
            assert sent == 3
            ledger.count("messages", sent)
            if how == "says so":
                await session.send("n0", px.text(""))
                assert (await session.receive("n1")).payload == "3 kept, 0 wrong"
                await px.until(lambda: session._wired().segment.used_bytes == 0)
                await session.send("n0", mx.filled(PIECE, 9))
            await session.end_input()
            assert await px.received(session, "n1") == ["1 kept, 0 wrong" if how == "says so" else "3 kept, 0 wrong"]

    px.run(main())


@pytest.mark.parametrize("how", ["end", "cleanup", "node crashes"])
def test_held_longer_than_the_session(px: Any, mx: Any, ledger: Any, how: str) -> None:
    """What is held stays as it was; its memory is gone with the last view (the leak check looks)."""
    held: list[Any] = []

    async def main() -> None:
        async with px.session("t-echo", "m-more", shm_segment_size=8 * MB, extra_paths=(mx.FOLDER,)) as session:
            for number in range(10):
                await session.send("n0", mx.filled(PIECE, number))
                held.append((await session.receive("n1")).payload)
            if how == "end":
                await session.end_input()
                assert await session.receive("n1") is None
            elif how == "node crashes":
                os.kill(session.pids["n1"], signal.SIGKILL)
                with pytest.raises(ProcessCrashError):
                    await session.receive("n1")
            assert all((array == number + 1).all() for number, array in enumerate(held))

    px.run(main())
    assert all((array == number + 1).all() for number, array in enumerate(held))
    ledger.count("messages", len(held))
    held.clear()


@pytest.mark.parametrize("how", ["stop", "crash"])
@pytest.mark.parametrize("holder", ["host", "node"])
def test_the_session_ends_while_senders_wait(px: Any, mx: Any, ledger: Any, holder: str, how: str) -> None:
    async def main() -> None:
        nodes = ("t-echo", "m-keep" if holder == "node" else "t-echo")
        async with px.session(*nodes, shm_segment_size=MB, extra_paths=(mx.FOLDER,)) as session:
            feeding = await fill(px, mx, session)
            held = [await session.receive("n1") for _ in range(3)] if holder == "host" else []
            await px.until(lambda: session.channel_stats()[0].blocked_now_secs)
            if how == "stop":
                await session.stop()
                with pytest.raises(SessionStateError):
                    await feeding
            else:
                os.kill(session.pids["n1"], signal.SIGKILL)
                with pytest.raises(ProcessCrashError):
                    await feeding
            assert all((data.payload == data.metadata["number"]).all() for data in held)
            ledger.count("sessions")

    px.run(main())


def test_pages_go_back_when_all_is_let_go(px: Any, mx: Any, ledger: Any) -> None:
    async def main() -> None:
        nodes = ("m-more", "m-more")
        async with px.session(*nodes, shm_segment_size=256 * MB, extra_paths=(mx.FOLDER,)) as session:
            held = []
            for number in range(10):
                await session.send("n0", mx.filled(5 * MB, number))
                held.append(await session.receive("n1"))
            assert session.get_metrics().shared_resident_bytes > 50 * MB
            held.clear()
            await session.send("n0", px.text(""))  # a failure there, but everybody is awake once
            await px.until(lambda: session.get_metrics().shared_resident_bytes < 4 * KEPT_BYTES)

    px.run(main())
