"""The memory limit of the control group that the whole program is in, as in a container: errors name it when it killed
a node, and a session that cannot fit below it warns.

Real groups where this user may make them. Elsewhere, and for what cannot be brought about (a machine without memory),
files stand in for the kernel's, and the tests that use them say so.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from remotemedia.core.multiprocess.kernel import cgroup
from remotemedia.core.multiprocess.process import oom
from remotemedia.core.multiprocessing import ProcessCrashError

pytestmark = [
    pytest.mark.usefixtures("leak_check"),
    pytest.mark.promise(
        "memory pressure",
        "the error of a node that the program's control group's memory limit killed names that group and its limit",
        "groups of version 1 and 2, limits of the program's own group and of one above it; kills from elsewhere",
    ),
]

MB = 1_000_000
LIMIT_BYTES = 400 * (1 << 20)
LIMIT = "memory limit of 419.4 MB of control group"


# --- real groups ---


@pytest.fixture(params=["version 1", "version 2"])
def groups(request: pytest.FixtureRequest) -> Iterator[tuple[Path, Path]]:
    """A group, and one in it."""
    outer = Path()
    try:
        if request.param == "version 1":
            found = oom._find(Path("/proc/self/cgroup").read_text(), Path("/proc/self"))
            if found is None or not (found[0] / "memory.limit_in_bytes").exists():
                pytest.skip("no memory controller of version 1")
            outer = found[0] / f"test-{os.getpid()}"
            outer.mkdir()
        else:
            outer = cgroup._delegated_group() / f"test-{os.getpid()}"
            outer.mkdir()
            (outer / "cgroup.subtree_control").write_text("+memory")
        inner = outer / "inner"
        inner.mkdir()
    except OSError as error:
        with contextlib.suppress(OSError):
            outer.rmdir()
        pytest.skip(f"no control groups of {request.param} with a memory controller for this process: {error}")
    yield outer, inner
    inner.rmdir()
    outer.rmdir()


def limit(group: Path) -> None:
    for name, value in (
        ("memory.limit_in_bytes", LIMIT_BYTES),
        ("memory.memsw.limit_in_bytes", LIMIT_BYTES),
        ("memory.max", LIMIT_BYTES),
        ("memory.swap.max", 0),
    ):
        if (group / name).exists():
            (group / name).write_text(str(value))


PROGRAM = """
import asyncio, logging, session_support as px
from remotemedia.core.multiprocessing import ProcessCrashError

logging.disable()

async def crash(order):
    async with px.session("t-do", "t-echo", shm_segment_size=1 << 20) as session:
        await session.send("n0", px.text(order))
        try:
            await px.received(session, "n1")
        except ProcessCrashError as error:
            say(error.node_id, error.exit_code, error.reason)

async def main():
    await crash("eat 600")
    await crash("die SIGKILL")

with open(sys.argv[1] + "/cgroup.procs", "w") as file:
    file.write(str(os.getpid()))
asyncio.run(main())
"""


@pytest.mark.parametrize("where", ["own", "above"])
def test_a_node_that_is_killed_for_it(
    px: Any, ledger: Any, groups: tuple[Path, Path], child_python: Any, where: str
) -> None:
    outer, inner = groups
    limited = inner if where == "own" else outer
    limit(limited)
    child = child_python(px.PATH_LINES + PROGRAM, str(inner))
    child.expect("n0", 137, f"{LIMIT} {limited} reached")
    child.expect("n0", 137, "")  # from elsewhere, later: the first kill does not explain it again
    assert child.wait() == 0, child.stderr()
    ledger.count("crashes", 2)


# --- stand-ins: files as the kernel has them, which the code under test reads in the same way ---


class StandIn:
    """Files in place of the kernel's: a hierarchy of groups, and what /proc says of it."""

    def __init__(self, folder: Path, version: int, own: str, root: str) -> None:
        self.top, self.version = folder / "sys fs cgroup", version
        proc = folder / "proc"
        proc.mkdir()
        names, kind, options = ("4:memory", "cgroup", "rw,memory") if version == 1 else ("0:", "cgroup2", "rw")
        (proc / "cgroup").write_text(f"9:name=systemd:/elsewhere\n{names}:{own}\n")
        point = str(self.top).replace(" ", r"\040")
        (proc / "mountinfo").write_text(
            f"31 23 0:28 / /proc rw - proc proc rw\n35 31 0:32 {root} {point} rw shared:9 - {kind} cgroup {options}\n"
        )
        self.proc = proc

    def group(self, name: str, limit_bytes: int | None = None, kills: int = 0, hits: int = 0, local: str = "") -> Path:
        folder = self.top / name
        folder.mkdir(parents=True, exist_ok=True)
        events = f"low 0\nhigh 0\nmax 12\noom {hits}\noom_kill {kills}\noom_group_kill 0\n"
        if self.version == 1:
            (folder / "memory.oom_control").write_text(f"oom_kill_disable 0\nunder_oom 0\noom_kill {kills}\n")
            (folder / "memory.limit_in_bytes").write_text(f"{limit_bytes or 9223372036854771712}\n")
            (folder / "memory.failcnt").write_text(f"{hits}\n")
            (folder / "memory.max_usage_in_bytes").write_text("4096\n")
        else:
            (folder / "memory.max").write_text(f"{limit_bytes or 'max'}\n")
            (folder / "memory.events").write_text(events)
            if local:
                (folder / "memory.events.local").write_text(local)
        return folder


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    def make(version: int, own: str = "/", root: str = "/") -> StandIn:
        made = StandIn(tmp_path, version, own, root)
        monkeypatch.setattr(oom, "_PROC", made.proc)
        return made

    monkeypatch.setattr(oom, "_told", {})
    monkeypatch.setattr(oom, "_warned", set())
    yield make
    oom._find.cache_clear()


@pytest.mark.parametrize(
    ("version", "own", "root", "name"),
    [
        (2, "/", "/", ""),  # a container with a namespace of its own
        (2, "/system.slice/app.service", "/", "system.slice/app.service"),
        (1, "/docker/1f2e", "/docker/1f2e", ""),  # a container that sees the names outside
        (1, "/kubepods/pod1/app", "/", "kubepods/pod1/app"),
    ],
)
def test_the_groups_own_limit_by_stand_in(stand_in: Any, version: int, own: str, root: str, name: str) -> None:
    files = stand_in(version, own, root)
    folder = files.group(name, 512 * MB, kills=3, hits=9)
    watch = oom.KillWatch()
    assert watch.explain_kill() == ""
    files.group(name, 512 * MB, kills=5, hits=10)
    reason = f"memory limit of 512 MB of control group {folder} reached"
    assert [watch.explain_kill() for _ in range(3)] == [reason, reason, ""]  # two kills, two reasons
    assert oom.KillWatch().explain_kill() == ""


@pytest.mark.parametrize("version", [1, 2])
def test_a_limit_above_by_stand_in(stand_in: Any, version: int) -> None:
    files = stand_in(version, "/pod/app/worker", "/")
    files.group("pod/app/worker")
    pod = files.group("pod", 2000 * MB, hits=1)
    files.group("pod/app", 3000 * MB)
    watch = oom.KillWatch()
    files.group("pod/app/worker", kills=1)
    files.group("pod", 2000 * MB, hits=2)
    assert watch.explain_kill() == f"memory limit of 2000 MB of control group {pod} reached"


def test_a_group_without_the_controller_by_stand_in(stand_in: Any) -> None:
    """Version 2: a group below the one that has it counts there."""
    files = stand_in(2, "/app/worker", "/")
    (files.top / "app" / "worker").mkdir(parents=True)
    app = files.group("app", 100 * MB)
    watch = oom.KillWatch()
    files.group("app", 100 * MB, kills=1, hits=1)
    assert watch.explain_kill() == f"memory limit of 100 MB of control group {app} reached"


def test_kills_in_groups_below_are_not_ours_by_stand_in(stand_in: Any) -> None:
    files = stand_in(2)
    files.group("", 512 * MB, kills=0, hits=0, local="oom 0\noom_kill 0\n")
    watch = oom.KillWatch()
    files.group("", 512 * MB, kills=4, hits=4, local="oom 0\noom_kill 0\n")
    assert watch.explain_kill() == ""


@pytest.mark.parametrize("limit_bytes", [None, 512 * MB])
def test_a_machine_without_memory_by_stand_in(stand_in: Any, limit_bytes: int | None) -> None:
    files = stand_in(2)
    files.group("", limit_bytes)
    watch = oom.KillWatch()
    files.group("", limit_bytes, kills=1)
    assert watch.explain_kill() == (
        f"the kernel killed it for lack of memory: the machine is out of memory, or a control group above {files.top} "
        "has a limit"
    )


def test_a_node_with_a_group_of_its_own_by_stand_in(stand_in: Any) -> None:
    """What is killed there for the limit of a group above has not reached its own."""
    files = stand_in(2, "/app/main", "/")
    app, own = files.group("app", 512 * MB), files.group("app/remotemedia-1", 100 * MB)
    files.group("app/main")
    group = object.__new__(cgroup.MemoryGroup)
    group.path = own
    watch = oom.KillWatch()
    files.group("app/remotemedia-1", 100 * MB, kills=1)
    files.group("app", 512 * MB, kills=1, hits=1)
    assert not group.oom_killed()
    assert watch.explain_kill(own) == f"memory limit of 512 MB of control group {app} reached"
    files.group("app/remotemedia-1", 100 * MB, kills=1, hits=1)
    assert group.oom_killed()


@pytest.mark.parametrize("version", [1, 2, None])
def test_where_there_is_nothing_to_read_by_stand_in(stand_in: Any, version: int | None) -> None:
    files = stand_in(version or 2, "/../outside" if version == 1 else "/gone")
    if version is None:
        (files.proc / "cgroup").unlink()
    assert oom.KillWatch().explain_kill() == ""


def test_a_session_that_is_killed_by_stand_in(px: Any, stand_in: Any) -> None:
    """The whole way, with a signal and files in place of the kernel's kill."""
    files = stand_in(2)
    folder = files.group("", 4000 * MB)

    async def main() -> None:
        async with px.session("t-do", "t-echo") as session:
            files.group("", 4000 * MB, kills=1, hits=1)
            os.kill(session.pids["n1"], signal.SIGKILL)
            with pytest.raises(ProcessCrashError) as caught:
                await session.receive("n1")
        assert str(caught.value) == (
            "Process n1 crashed with code 137 (killed by SIGKILL): "
            f"memory limit of 4000 MB of control group {folder} reached"
        )

    px.run(main())


def test_what_cannot_fit_is_told_once_by_stand_in(px: Any, stand_in: Any, caplog: pytest.LogCaptureFixture) -> None:
    files = stand_in(2, "/app", "/")
    files.group("app", 800 * MB)
    folder = files.group("", 500 * MB)

    async def main(segment_bytes: int) -> None:
        async with px.session("t-echo", "t-echo", shm_segment_size=segment_bytes) as session:
            await px.works(session)

    px.run(main(100 * MB))
    assert not caplog.records
    for _ in range(2):
        px.run(main(256 * MB))
    (record,) = caplog.records
    assert (record.levelno, record.name) == (logging.WARNING, "remotemedia.session")
    size_mb = float(record.getMessage().partition("up to ")[2].split()[0])
    assert 3 * 256 < size_mb < 3 * 256 + 3 * 256 / 50
    assert record.getMessage() == (
        f"session 's': messages may take up to {size_mb:g} MB of shared memory (shm_segment_size, once for the session "
        "and once for each of 2 nodes), which does not fit below the memory limit of 500 MB of control group "
        f"{folder}; where that is reached, the kernel kills a process"
    )
