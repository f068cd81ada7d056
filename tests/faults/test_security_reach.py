"""What a node can reach, and what shows of it outside: its own channels, and no more than it was given."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import mmap
import os
import re
import resource
import sys
from pathlib import Path
from typing import Any

import pytest

from remotemedia import _ring
from remotemedia.core.multiprocessing import (
    MultiprocessConfig,
    MultiprocessError,
    MultiprocessExecutor,
    Pipeline,
    Session,
)
from remotemedia.errors import ChannelCorruptedError

pytestmark = [pytest.mark.usefixtures("leak_check", "security_nodes")]
reach_promise = pytest.mark.promise(
    "security",
    "a node holds its own channels and the payloads that may come through them, and no descriptor that it needs not",
    "two sessions with branches: mappings and descriptors of every node; descriptors that the host left inheritable",
)
heirs_promise = pytest.mark.promise(
    "security",
    "what a node, or the program, starts inherits nothing but 0, 1 and 2",
    "fork and exec, posix_spawn, subprocess, multiprocessing; in nodes, and beside open sessions and channels",
)
secrets_promise = pytest.mark.promise(
    "security",
    "configs show in no command line, environment, log, event, status or error",
    "nodes that work, fail to initialize, fail a message, crash; all of /proc that others may read",
)


def mapped(pid: int | str, what: str) -> set[str]:
    """The inodes of the shared memory of a kind that a process has mapped."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {line.split()[4] for line in lines if f"memfd:remotemedia-{what}" in line}


def descriptors(pid: int) -> list[str]:
    return [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]  # noqa: PTH115


@reach_promise
def test_a_node_holds_its_own_channels_only(px: Any, ledger: Any) -> None:
    """a feeds b, b feeds c and d: d cannot look into what goes from b to c."""

    def graph() -> Pipeline:
        pipeline = Pipeline()
        for node_id in "abcd":
            pipeline.add_node("s-echo", node_id)
        return pipeline.connect("a", "o", "b", "i").connect("b", "o", "c", "i").connect("b", "o", "d", "i")

    async def main() -> None:
        # What the node may map: rings it is an end of; memory of its own, of all upstream, and next downstream.
        rings = {"a": 2, "b": 3, "c": 2, "d": 2}
        segments = {"a": "a b", "b": "a b c d", "c": "a b c", "d": "a b d"}
        async with MultiprocessExecutor() as executor:
            sessions = [await executor.create_session(name, graph()) for name in ("first", "second")]
            everything = [{n: mapped(pid, "") for n, pid in s.pids.items()} for s in sessions]
            assert not set.union(*everything[0].values()) & set.union(*everything[1].values())
            for session in sessions:
                seen = {n: mapped(pid, "ring") for n, pid in session.pids.items()}
                assert {n: len(rings) for n, rings in seen.items()} == rings
                assert [len(seen[x] & seen[y]) for x, y in ("ab", "bc", "bd", "cd", "ac", "ad")] == [1, 1, 1, 0, 0, 0]
                memory = {n: mapped(pid, "segment") for n, pid in session.pids.items()}
                assert {n: len(inodes) for n, inodes in memory.items()} == {
                    n: len(others.split()) + 1 for n, others in segments.items()
                }
                for node_id, pid in session.pids.items():
                    kinds = [re.sub(r":\[\d+\]$|\d+$", "", target) for target in descriptors(pid)]
                    assert not [kind for kind in kinds if "memfd" in kind], node_id  # mapped, and closed
                    # One control socket, twice: the death watch has its own. uvloop has pipes and pairs for itself.
                    assert kinds.count("anon_inode:[pidfd]") == 1
                    assert kinds.count("anon_inode:[eventfd]") <= len(segments[node_id].split()) + 2
                    ledger.count("nodes")
                await executor.terminate_session(session.session_id)

    px.run(main())


@reach_promise
def test_memory_can_be_neither_shrunk_nor_grown_nor_unsealed(ledger: Any) -> None:
    """Whoever could would kill all who have it mapped."""
    for make in (lambda: _ring.create_segment(8192, 0), lambda: _ring.create_ring(4)):
        fd = make()
        size = os.fstat(fd).st_size
        libc = ctypes.CDLL(None, use_errno=True)
        again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
        for way in (fd, again):
            for attempt in (0, size - mmap.PAGESIZE, size + mmap.PAGESIZE):
                with pytest.raises(PermissionError):
                    os.ftruncate(way, attempt)
            assert libc.fcntl(way, 1033, 0x8) == -1  # F_SEAL_WRITE: whoever comes later could not map it
            with pytest.raises(PermissionError):
                os.pwrite(way, b"x", size)
            with pytest.raises(PermissionError):
                os.posix_fallocate(way, 0, size + 1)
        os.close(again)
        with contextlib.suppress(ChannelCorruptedError):
            _ring.Segment(fd, -1, False)
        ledger.count("kinds of memory")


@reach_promise
def test_what_the_host_left_inheritable_does_not_reach_a_node(px: Any, ledger: Any) -> None:
    """Also a descriptor above the limit that the host has set itself since."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    read, write = os.pipe()
    high = min(soft, 5000) - 1
    os.dup2(write, high)  # inheritable
    os.close(write)

    async def main() -> None:
        async with px.session("s-echo") as session:
            assert not [fd for fd in descriptors(session.pids["n0"]) if fd == os.readlink(f"/proc/self/fd/{read}")]  # noqa: PTH115
            os.close(high)
            assert os.read(read, 1) == b""
            ledger.count("nodes")

    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1024), hard))
    try:
        px.run(main())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(read)


# --- what is inherited -----------------------------------------------------------------------------------------


@heirs_promise
def test_what_a_node_starts_inherits_nothing(px: Any, security_nodes: Any, ledger: Any) -> None:
    async def main() -> None:
        async with px.session("s-parent") as session:
            for way in security_nodes.WAYS:
                await session.send("n0", px.text(way))
                data = await session.receive("n0")
                assert data is not None
                assert security_nodes.strange(data.payload) == [], way
                ledger.count("processes")

    px.run(main())


@heirs_promise
def test_what_the_program_starts_inherits_nothing(px: Any, child_python: Any, ledger: Any) -> None:
    child = child_python(
        px.PATH_LINES
        + f"""
import asyncio
sys.path.insert(0, {str(Path(__file__).parent)!r})
import security_nodes, session_support as px
from remotemedia.core.multiprocessing import Publisher, Subscriber

async def main():
    name = f"heirs-{{os.getpid()}}"
    async with px.session("t-echo", "t-echo"):
        with Publisher(name), Subscriber(name):
            for way, start in security_nodes.WAYS.items():
                say(way, security_nodes.strange(start()))

asyncio.run(main())
"""
    )
    ways = sys.modules["security_nodes"].WAYS
    for way in ways:
        child.expect(way, [])
        ledger.count("processes")
    assert child.wait() == 0, child.stderr()


# --- what shows ------------------------------------------------------------------------------------------------

SECRET = "sw0rdfish"
CONFIG = {"api_key": SECRET, SECRET: [SECRET, {"deep": SECRET}]}


@secrets_promise
@pytest.mark.parametrize("where", ["nowhere", "initialize", "process", "crash"])
def test_a_config_shows_nowhere(px: Any, ledger: Any, caplog: pytest.LogCaptureFixture, where: str) -> None:
    seen: list[str] = []

    async def main() -> None:
        async with MultiprocessExecutor(MultiprocessConfig(node_memory_limit_bytes=1 << 32)) as executor:
            events = executor.events()
            pipeline = Pipeline().add_node("s-fails", "n0", {"where": where, **CONFIG})
            session = Session("s", pipeline, executor=executor)
            session.on_error(lambda error: seen.append(f"{error} {error!r} {error.__dict__}"))
            with contextlib.suppress(MultiprocessError):
                try:
                    await session.initialize(lambda progress: seen.append(repr(progress)))
                    await session.start()
                    for pid in session.pids.values():
                        for file in ("cmdline", "environ", "comm", "maps", "status"):
                            seen.append(Path(f"/proc/{pid}/{file}").read_bytes().decode(errors="replace"))
                    await session.send("n0", px.text("x"))
                    await session.end_input()
                    await px.received(session, "n0")
                except MultiprocessError as error:
                    seen.append(f"{error} {error!r} {error.__dict__}")
                    raise
            seen.extend(f"{o!r} {o!s}" for o in (session, pipeline, pipeline.nodes, session.get_status(), session.pids))
            seen.append(repr(session.get_metrics()))
            await session.cleanup()
            events.close()
            seen.extend([repr(event) async for event in events])

    with caplog.at_level(logging.DEBUG):
        px.run(main())
    seen += [f"{record.getMessage()} {record.__dict__}" for record in caplog.records]
    caplog.clear()
    assert len(seen) > 5
    assert not [text for text in seen if SECRET in text]
    ledger.count("sessions")
