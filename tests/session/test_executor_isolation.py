"""Sessions under one executor share nothing: what befalls one is nothing to the others."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import (
    MultiprocessConfig,
    MultiprocessError,
    MultiprocessExecutor,
    NodeInitializationError,
    ProcessCrashError,
    ResourceLimitError,
    Session,
    SessionStatus,
)

pytestmark = pytest.mark.usefixtures("leak_check")

SENT = 300


async def stream(px: Any, session: Session, until: asyncio.Event) -> None:
    """Sends and receives, in step with what happens elsewhere: half before, half after."""

    async def send() -> None:
        for number in range(SENT):
            if number == SENT // 2:
                await until.wait()
            await session.send("n0", px.text(str(number)))
        await session.end_input()

    sending = asyncio.create_task(send())
    assert await px.received(session, "n2") == [f"{n}>n0.input>n1.input>n2.input" for n in range(SENT)]
    await sending


def test_a_crash_a_stop_and_a_slow_consumer_touch_no_other_session(px: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        config = MultiprocessConfig(shm_segment_size=1 << 20, channel_capacity=4)
        async with MultiprocessExecutor(config) as executor:
            happened = asyncio.Event()
            fine = [await executor.create_session(f"fine {n}", px.chain("t-tag", "t-tag", "t-tag")) for n in range(2)]
            streams = [asyncio.create_task(stream(px, session, happened)) for session in fine]

            # Nobody takes what this one puts out: its ring and its memory are full, and its sender waits.
            slow = await executor.create_session("slow", px.chain("t-echo", "t-echo"))
            block = RuntimeData.tensor(np.zeros(200_000, np.uint8))
            sender = asyncio.create_task(px.send_all(slow, "n0", [block] * 64))
            await px.until(lambda: slow.get_channel_stats("session_to_n0").blocked_now_secs > 0)

            crashing = await executor.create_session("crashing", px.chain("t-do", "t-tag"))
            await crashing.send("n0", px.text("die SIGSEGV"))
            with pytest.raises(ProcessCrashError):
                await px.received(crashing, "n1")

            stopped = await executor.create_session("stopped", px.chain("t-tag"))
            await executor.terminate_session("stopped")

            happened.set()
            await asyncio.gather(*streams)
            assert not sender.done()
            assert stopped.pids == crashing.pids == {}
            count = 0
            while await slow.receive("n1") is not None:  # what is held would keep its memory
                count += 1
            assert count == 64
            await sender

    px.run(main())


def test_executors_keep_their_sessions_apart(px: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with MultiprocessExecutor(MultiprocessConfig(max_processes_per_session=2)) as executor:
            first = await executor.create_session("one", px.chain("t-do"))
            with pytest.raises(MultiprocessError, match="'one' exists already"):
                await executor.create_session("one", px.chain("t-do"))
            with pytest.raises(ResourceLimitError):
                await executor.create_session("two", px.chain("t-do", "t-do", "t-do"))
            with pytest.raises(NodeInitializationError):
                await executor.create_session("two", px.chain("t-do", ("t-init", {"how": "raise"})))
            second = await executor.create_session("two", px.chain("t-do"))
            assert list(executor.sessions) == ["one", "two"]
            await second.send("n0", px.text("die SIGKILL"))
            with pytest.raises(ProcessCrashError):
                await px.received(second, "n0")
            await px.send_all(first, "n0", ["still here"])
            assert await px.received(first, "n0") == ["still here"]
            with pytest.raises(MultiprocessError, match="no session 'three'; the sessions are: one, two"):
                await executor.terminate_session("three")
            await executor.terminate_session("two")
            assert second.status is SessionStatus.STOPPED
        assert first.status is SessionStatus.STOPPED
        assert executor.sessions == {}

    px.run(main())
