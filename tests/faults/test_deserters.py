"""A node that goes on without its control socket is none any more: it is ended, and the crash says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from remotemedia.core.multiprocessing import ProcessCrashError

pytestmark = [
    pytest.mark.usefixtures("leak_check"),
    pytest.mark.promise(
        "SC-005",
        "a node that can no longer be reached is ended, and the crash says why",
        "exec and close, loading, in process() and at rest, also from another process group",
    ),
]

whenever = pytest.mark.parametrize("when", ["loading", "processing", "idle"])


@pytest.mark.parametrize("how", ["exec", "leave the group, exec"])
@whenever
def test_it_is_ended_and_the_crash_says_why(px: Any, how: str, when: str) -> None:
    crashes: list[ProcessCrashError] = []

    async def main() -> None:
        session = px.session("t-echo", ("t-desert", {"how": how, "when": when}), "t-echo")
        session.on_process_crash(crashes.append)
        with pytest.raises(ProcessCrashError) as caught:
            async with session:
                await session.send("n0", px.text("go"))
                await px.received(session, "n2")
        error = caught.value
        assert (error.node_id, error.exit_code, error.signal) == ("n1", 137, 9)
        assert "closed its control socket" in error.reason
        assert crashes == [error]

    px.run(main())


@pytest.mark.parametrize("told", ["stop", "interrupt"])
@pytest.mark.parametrize("when", ["processing", "idle"])
def test_one_that_only_closed_it_works_on_and_ends_when_it_is_told_something(
    px: Any, when: str, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with px.session("t-echo", ("t-desert", {"how": "close", "when": when})) as session:
            await px.works(session)
            descriptor = Path(f"/proc/{session.pids['n1']}/fd/3")
            await px.until(lambda: not descriptor.exists())
            if told == "interrupt":
                with pytest.raises(ProcessCrashError, match="n1 crashed with code 0"):
                    await session.interrupt()

    px.run(main())
    assert "did not stop within" not in caplog.text
