"""The event loop can watch no more descriptors: one clear error, nothing left, and the other sessions go on."""

from __future__ import annotations

import asyncio
import errno
from typing import Any

import pytest

from remotemedia.core.multiprocessing import MultiprocessExecutor, ProcessSpawnError

pytestmark = [
    pytest.mark.usefixtures("leak_check"),
    pytest.mark.promise(
        "system limits",
        "no more watches: a clear error, nothing left",
        "epoll refusing at each step of a start in turn",
    ),
]

NODES, WATCHED_PER_NODE = 2, 4


@pytest.mark.parametrize("allowed", range(NODES * WATCHED_PER_NODE))
def test_a_process_that_cannot_be_watched(px: Any, monkeypatch: pytest.MonkeyPatch, allowed: int) -> None:
    # The kernel's limit on watches is one for all programs of a user: here the event loop says what it would say.
    async def main() -> None:
        async with MultiprocessExecutor() as executor:
            other = await executor.create_session("other", px.chain("t-echo"))
            loop = asyncio.get_running_loop()
            left, add_reader = allowed, loop.add_reader

            def limited(*args: Any) -> None:
                nonlocal left
                if not left:
                    raise OSError(errno.ENOSPC, "No space left on device")
                left -= 1
                add_reader(*args)

            with monkeypatch.context() as patch:
                patch.setattr(loop, "add_reader", limited)
                with pytest.raises(ProcessSpawnError, match=f"node 'n{allowed // WATCHED_PER_NODE}': .*No space left"):
                    await executor.create_session("s", px.chain(*["t-echo"] * NODES))
            assert list(executor.sessions) == ["other"]
            await px.send_all(other, "n0", ["still here"])
            assert await px.received(other, "n0") == ["still here"]

    px.run(main())
