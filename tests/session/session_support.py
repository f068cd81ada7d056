"""What tests of whole sessions share; reached through the fixture ``px``."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import platform
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import (
    InitProgress,
    MultiprocessConfig,
    MultiprocessError,
    Pipeline,
    Session,
    SessionStateError,
)

NODES_FOLDER = str(Path(__file__).parent)
REPOSITORY = str(Path(__file__).parents[2])
PATH_LINES = f"import sys\nsys.path[:0] = [{NODES_FOLDER!r}]\nimport session_nodes\n"
"""First lines of a script that uses the node classes of these tests."""

PATIENCE_SECS = 60
"""Nothing is expected to take this long: it makes one test fail where the watchdog would end the whole run."""

text = RuntimeData.text


def run(coroutine: Coroutine[Any, Any, Any], patience_secs: float = PATIENCE_SECS) -> Any:
    """In an event loop of its own, which must not be left with complaints."""
    complaints: list[dict[str, Any]] = []

    def complain(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # gRPC tells the loop at hand that the one of an earlier test, where something of it was under way, is closed.
        if "PollerCompletionQueue" not in context["message"]:
            complaints.append(context)

    async def main() -> Any:
        asyncio.get_running_loop().set_exception_handler(complain)
        async with asyncio.timeout(patience_secs):
            return await coroutine

    try:
        return asyncio.run(main())
    finally:
        assert not complaints, complaints


def chain(*nodes: str | tuple[str, dict[str, Any]]) -> Pipeline:
    """Nodes in a row: n0, n1, ..."""
    pipeline = Pipeline()
    for number, node in enumerate(nodes):
        node_type, config = (node, {}) if isinstance(node, str) else node
        pipeline.add_node(node_type, f"n{number}", config)
        if number:
            pipeline.connect(f"n{number - 1}", "output", f"n{number}", "input")
    return pipeline


def session(*nodes: str | tuple[str, dict[str, Any]], **config: Any) -> Session:
    return Session("s", chain(*nodes), MultiprocessConfig(**config))


async def until(condition: Callable[[], Any]) -> None:
    """Returns once the condition holds; the watchdog knows how long is too long."""
    while not condition():
        await asyncio.sleep(0.002)


async def received(session: Session, node_id: str) -> list[Any]:
    """The payloads of all that is still to come."""
    found = []
    while (data := await session.receive(node_id, on_failure="report")) is not None:
        found.append(data.payload)
    return found


async def send_all(session: Session, node_id: str, messages: list[Any], end: bool = True) -> None:
    for message in messages:
        await session.send(node_id, message if isinstance(message, RuntimeData) else text(message))
    if end:
        await session.end_input(node_id)


async def collect(outputs: AsyncIterator[tuple[str, RuntimeData]]) -> dict[str, list[Any]]:
    """Payloads by output node."""
    found: dict[str, list[Any]] = {}
    async for node_id, data in outputs:
        found.setdefault(node_id, []).append(data.payload)
    return found


def held() -> tuple[list[str], int, list[str]]:
    """What this process has: descriptors, mappings of ours, children."""
    gc.collect()
    found = []
    for number in os.listdir("/proc/self/fd"):  # noqa: PTH208  Path.iterdir would have one open itself
        with contextlib.suppress(FileNotFoundError):  # the one listdir used
            found.append(str(Path(f"/proc/self/fd/{number}").readlink()).partition(":[")[0])
    maps = Path("/proc/self/maps").read_text().count("memfd:remotemedia")
    return sorted(found), maps, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


async def works(session: Session) -> None:
    """A message goes in at n0 and comes out at n1."""
    await session.send("n0", text("still here"))
    data = await session.receive("n1")
    assert data is not None and data.payload == "still here"


def stat(pid: int | str) -> list[str] | None:
    """State, parent, group and so on of a process; None when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def stopped(pid: int) -> bool:
    """Whether SIGSTOP has arrived in every thread: before that the kernel does not take the process for stopped."""
    threads = [stat(f"{pid}/task/{path.name}") for path in Path(f"/proc/{pid}/task").iterdir()]
    return all(thread is not None and thread[0] == "T" for thread in threads)


def sticks(pid: int) -> bool:
    """Whether a node has come to ``hold_the_gil``: until then its event loop may still hear what it is told."""
    in_nanosleep = {"x86_64": ("35", "230"), "aarch64": ("101", "115")}[platform.machine()]
    return Path(f"/proc/{pid}/syscall").read_text().split()[0] in in_nanosleep


def exists(pid: int) -> bool:
    """Whether there is such a process at all, be it a zombie."""
    return Path(f"/proc/{pid}").exists()


def lives(pid: int) -> bool:
    """Whether it can still do anything: an orphan's zombie waits for the machine's init and cannot."""
    fields = stat(pid)
    return fields is not None and fields[0] not in "ZX"


def group(pgid: int) -> list[int]:
    """The living members of a process group."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            fields = stat(folder.name)
            if fields is not None and int(fields[2]) == pgid and fields[0] not in "ZX":
                found.append(int(folder.name))
    return found


def grandchild(message: str | None) -> int | None:
    """The pid in a node's progress message."""
    return int(message.split()[1]) if message and message.startswith("grandchild ") else None


async def refused(session: Session, kind: type[BaseException], heard: list[InitProgress] | None = None) -> Any:
    """The error of initialize(), after which nothing is left and the session says what it is."""
    import pytest  # here: programs that run without it use this module, too

    heard = [] if heard is None else heard
    with pytest.raises(kind) as caught:
        await session.initialize(heard.append)
    assert session.pids == {}
    for progress in heard:
        if pid := grandchild(progress.message):
            await until(lambda pid=pid: not lives(pid))
    with pytest.raises((SessionStateError, MultiprocessError)):
        await session.start()
    await session.cleanup()
    return caught.value
