"""``session.loan``: into the pipeline without a copy."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import (
    MultiprocessConfig,
    PayloadError,
    Pipeline,
    ProcessCrashError,
    Session,
    SessionStateError,
)

pytestmark = pytest.mark.usefixtures("leak_check")


def test_a_loaned_array_is_sent_without_a_copy(px: Any) -> None:
    async def main() -> None:
        async with Session("s", Pipeline().add_node("t-echo", "a")) as session:
            array = await session.loan((100, 10), np.float32)
            array[:] = 7
            await session.send("a", RuntimeData.tensor(array))
            assert not array.flags.writeable
            got = await session.receive("a")
            assert got is not None
            assert (got.payload == 7).all()
            assert got.payload.base.references == array.base.references == 2  # one block: theirs, not the node's
            assert [stats.bytes_copied for stats in session.channel_stats()] == [0, 0]
            with pytest.raises(PayloadError, match="can never fit"):
                await session.loan(1 << 40, np.uint8)
        with pytest.raises(SessionStateError):
            await session.loan(1, np.uint8)

    px.run(main())


def test_a_loan_waits_for_memory_and_a_crash_ends_the_wait(px: Any) -> None:
    config = MultiprocessConfig(shm_segment_size=1 << 20)

    async def main() -> None:
        async with Session("s", Pipeline().add_node("t-echo", "a"), config) as session:
            held = [await session.loan(1 << 19, np.uint8) for _ in range(2)]
            waiting = asyncio.create_task(session.loan(1 << 19, np.uint8))
            while not session._wired().doorbell._waiters:
                await asyncio.sleep(0)
            held.pop()
            held.append(await waiting)
            waiting = asyncio.create_task(session.loan(1 << 19, np.uint8))
            while not session._wired().doorbell._waiters:
                await asyncio.sleep(0)
            os.kill(session.pids["a"], signal.SIGKILL)
            with pytest.raises(ProcessCrashError):
                await waiting

    px.run(main())
