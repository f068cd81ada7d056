"""A hundred sessions in a row, 500 processes: nothing of them is left in between, or after the last."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from remotemedia.core.multiprocessing import MultiprocessConfig, Session

pytestmark = pytest.mark.usefixtures("leak_check")

SESSIONS = 100


@pytest.mark.watchdog(600)
def test_a_hundred_sessions_in_a_row_leave_nothing(
    px: Any, files_of_this_run: Any, record_property: pytest.RecordProperty, capsys: pytest.CaptureFixture[str]
) -> None:
    def held() -> tuple[int, ...]:
        counts = [len(list(Path(folder).iterdir())) for folder in ("/proc/self/fd", "/proc/self/task")]
        return (*counts, Path("/proc/self/maps").read_text().count("memfd:"))

    async def one() -> None:
        async with Session("s", px.chain(*["t-echo"] * 5), MultiprocessConfig(shm_segment_size=1 << 20)) as session:
            pids.extend(session.pids.values())
            await px.send_all(session, "n0", ["x"])
            assert await px.received(session, "n4") == ["x"]

    async def main() -> None:
        nonlocal before
        for number in range(SESSIONS):
            await one()
            if number == 0:
                before = held()  # the event loop's own descriptors are there by now
            else:
                assert held() == before

    before: tuple[int, ...] = ()
    files_before = files_of_this_run()
    pids: list[int] = []
    started = time.monotonic()
    px.run(main(), patience_secs=500)
    elapsed = time.monotonic() - started
    record_property("hundred_sessions_secs", elapsed)
    record_property("held", before)
    with capsys.disabled():
        print(f" [{SESSIONS} sessions of 5 nodes in {elapsed:.1f} s; fds, threads, mappings: {before}]", end="")
    assert files_of_this_run() - files_before == set()
    assert len(pids) == 5 * SESSIONS
    assert not any(px.exists(pid) and px.stat(pid)[1] == str(os.getpid()) for pid in pids)
