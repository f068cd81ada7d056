"""The system refuses shared memory, to the host program or to a node, at the start or later, or a page of it."""

from __future__ import annotations

import os
import select
import signal
from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import (
    MultiprocessConfig,
    MultiprocessExecutor,
    NodeInitializationError,
    NodeProcessError,
    ProcessCrashError,
)

pytestmark = pytest.mark.usefixtures("leak_check")

REFUSED = pytest.mark.promise(
    "memory pressure",
    "shared memory refused: one error with the system's reason; other sessions and messages go on, nothing left",
    "memfd_create, ftruncate, sealing, mmap, mprotect, eventfd, madvise by seccomp, file size by rlimit; host and node",
)
NO_PAGE = pytest.mark.promise(
    "memory pressure",
    "a page that cannot be had when it is touched: a crash that is named, and nothing lives on",
    "SIGBUS from the kernel: a node copying, filling a loan, reading a message; the host program sending",
)


@pytest.fixture
def mx(beside: Any) -> Any:
    beside("refusals")
    return beside("memory_nodes")


SCRIPT = """
import asyncio, errno, resource, session_support as px
from refusals import refuse
from remotemedia.core.multiprocessing import MultiprocessExecutor, ProcessSpawnError

async def main():
    async with MultiprocessExecutor() as executor:
        first = await executor.create_session("first", px.chain("t-echo", "t-echo"))
        before = px.held()
        exec(sys.argv[1])
        try:
            await executor.create_session("second", px.chain("t-echo", "t-echo"))
            say("no error")
        except ProcessSpawnError as error:
            say(str(error))
        say(px.held() == before, list(executor.sessions))
        await px.works(first)

asyncio.run(main())
"""
MB = 1 << 20
SHARED = (3, "has", 1)
ADD_SEALS = (1, "is", 1033)
HOST = {
    "memfds, as a sandbox does": ('refuse("memfd_create", errno.EPERM)', "Operation not permitted"),
    "memfds": ('refuse("memfd_create", errno.ENFILE)', "Too many open files in system (sysctl fs.file-max)"),
    "size for a pool": (f'refuse("ftruncate", errno.ENOSPC, (1, "at least", {MB}))', "No space left on device"),
    "size for a ring": ('refuse("ftruncate", errno.ENOSPC, (1, "is", 36864))', "No space left on device"),
    "files of that size": (f"resource.setrlimit(resource.RLIMIT_FSIZE, ({MB}, {MB}))", "File too large (ulimit -f)"),
    "sealing": (f'refuse("fcntl", errno.EPERM, {ADD_SEALS})', "Operation not permitted"),
    "mapping a header": (f'refuse("mmap", errno.ENOMEM, {SHARED}, (1, "is", 4096))', "Cannot allocate memory"),
    "mapping a pool": (f'refuse("mmap", errno.ENOMEM, {SHARED}, (1, "at least", {MB}))', "Cannot allocate memory"),
    "a pool for reading": (f'refuse("mprotect", errno.ENOMEM, (2, "is", 1), (1, "at least", {MB}))', "Cannot allocate"),
    "mapping a ring": (f'refuse("mmap", errno.ENOMEM, {SHARED}, (1, "is", 36864))', "Cannot allocate memory"),
    "doorbells": ('refuse("eventfd2", errno.EMFILE)', "Too many open files (ulimit -n)"),
}


@REFUSED
@pytest.mark.parametrize("what", HOST)
def test_to_the_host_program(px: Any, mx: Any, ledger: Any, child_python: Any, what: str) -> None:
    refusal, reason = HOST[what]
    child = child_python(f"{px.PATH_LINES}sys.path.append({mx.FOLDER!r})\n{SCRIPT}", refusal)
    (error,) = child.hear()
    assert reason in error
    child.expect(True, ["first"])
    assert child.wait() == 0, child.stderr()
    ledger.count("refusals")


@REFUSED
@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("pool", "a segment cannot be mapped: Cannot allocate memory"),
        ("ring", "a ring cannot be mapped: Cannot allocate memory"),
    ],
)
@pytest.mark.parametrize("position", [0, 1])
def test_to_a_node_that_starts(px: Any, mx: Any, ledger: Any, what: str, reason: str, position: int) -> None:
    async def main() -> None:
        config = MultiprocessConfig(extra_paths=(mx.FOLDER,), channel_capacity=mx.RING_CAPACITY)
        async with MultiprocessExecutor(config) as executor:
            first = await executor.create_session("first", px.chain("t-echo", "t-echo"))
            nodes: list[Any] = ["t-echo", "t-echo"]
            nodes[position] = ("m-refused", {"what": what})
            with pytest.raises(NodeInitializationError) as caught:
                await executor.create_session("second", px.chain(*nodes))
            assert caught.value.node_id == f"n{position}"
            assert reason in caught.value.reason
            assert list(executor.sessions) == ["first"]
            await px.works(first)
            ledger.count("refusals")

    px.run(main())


@REFUSED
def test_to_a_node_that_runs(px: Any, mx: Any, ledger: Any) -> None:
    """A channel that it opens itself: that message fails, and no other."""

    async def main() -> None:
        errors: list[NodeProcessError] = []
        async with px.session("m-tries", "t-echo", extra_paths=(mx.FOLDER,)) as session:
            session.on_error(errors.append)
            words = ["a channel", "no more memfds", "a channel", "the rest"]
            await px.send_all(session, "n0", words)
            assert await px.received(session, "n1") == words
            await px.until(lambda: errors)
        (error,) = errors
        assert (error.node_id, error.sequence) == ("n0", 2)
        assert error.reason == "OSError: [Errno 12] cannot create a ring of 10 messages: Cannot allocate memory"
        ledger.count("refusals")

    px.run(main())


UNTRIMMED = """
import asyncio, errno, numpy as np, session_support as px, memory_nodes
from refusals import refuse
from remotemedia.core.data import RuntimeData

async def main():
    refuse("madvise", errno.EOPNOTSUPP, (2, "is", 9))  # MADV_REMOVE
    async with px.session("m-more", "t-echo", channel_capacity=4, extra_paths=(memory_nodes.FOLDER,)) as session:
        for turn in range(20):
            for number in range(4):
                await session.send("n0", RuntimeData.tensor(np.full(3_000_000, turn + number, np.uint8)))
            for number in range(4):
                assert ((await session.receive("n1")).payload == turn + number + 1).all()
        say("all came")

asyncio.run(main())
"""


@REFUSED
def test_to_take_memory_back(px: Any, mx: Any, ledger: Any, child_python: Any) -> None:
    """A kernel that cannot take pages back keeps them; nothing else changes."""
    child = child_python(f"{px.PATH_LINES}sys.path.append({mx.FOLDER!r})\n{UNTRIMMED}")
    child.expect("all came")
    assert child.wait() == 0, child.stderr()
    ledger.count("refusals")
    ledger.count("messages", 80)


@NO_PAGE
@pytest.mark.parametrize("how", ["copy", "loan", "read"])
@pytest.mark.parametrize("position", [0, 1])
def test_no_page_for_a_node(px: Any, mx: Any, ledger: Any, how: str, position: int) -> None:
    async def main() -> None:
        async with MultiprocessExecutor(MultiprocessConfig(extra_paths=(mx.FOLDER,))) as executor:
            first = await executor.create_session("first", px.chain("t-echo", "t-echo"))
            nodes: list[Any] = ["t-echo", "t-echo"]
            nodes[position] = "m-tries"
            session = await executor.create_session("second", px.chain(*nodes))
            await px.send_all(session, "n0", ["no more pages"], end=False)
            assert (await session.receive("n1")).payload == "no more pages"
            more = RuntimeData.tensor(np.ones(mx.BIG_BYTES, np.uint8)) if how == "read" else RuntimeData.text(how)
            await session.send("n0", more)
            with pytest.raises(ProcessCrashError) as caught:
                await px.received(session, "n1")
            error = caught.value
            assert (error.node_id, error.signal) == (f"n{position}", signal.SIGBUS)
            assert "(killed by SIGBUS): it touched memory that the system has no page for" in str(error)
            assert any("Fatal Python error: Bus error" in line for line in error.stderr_tail)
            await executor.terminate_session("second")
            await px.works(first)
            ledger.count("crashes")

    px.run(main())


SENDER = """
import asyncio, numpy as np, session_support as px
from refusals import take_pages
from remotemedia.core.data import RuntimeData

async def main():
    async with px.session("t-echo", "t-echo") as session:
        await px.works(session)
        say(*session.pids.values())
        hear()
        take_pages()
        await px.works(session)
        await session.send("n0", RuntimeData.tensor(np.ones(8 << 20, np.uint8)))

asyncio.run(main())
"""


@NO_PAGE
def test_no_page_for_the_host_program(px: Any, mx: Any, ledger: Any, child_python: Any) -> None:
    child = child_python(f"{px.PATH_LINES}sys.path.append({mx.FOLDER!r})\n{SENDER}")
    pids = child.hear()
    pidfds = [os.pidfd_open(pid) for pid in pids]
    child.say("go on")
    assert child.wait() == -signal.SIGBUS
    assert "Fatal Python error: Bus error" in child.stderr()
    for pid, pidfd in zip(pids, pidfds, strict=True):
        select.select([pidfd], [], [])  # the death watch; the watchdog knows how long is too long
        assert not px.lives(pid)
        os.close(pidfd)
    ledger.count("crashes")
