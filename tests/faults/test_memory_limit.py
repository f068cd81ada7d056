"""A node's memory limit: held by a control group where this machine lets us make one, by RLIMIT_DATA otherwise."""

from __future__ import annotations

import logging
import os
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocess.kernel import cgroup
from remotemedia.core.multiprocessing import (
    MultiprocessConfig,
    MultiprocessExecutor,
    NodeInitializationError,
    NodeProcessError,
    Pipeline,
    PipelineError,
    ProcessCrashError,
)

pytestmark = [
    pytest.mark.usefixtures("leak_check"),
    pytest.mark.promise(
        "memory pressure",
        "a node that reaches its memory limit is named with it; other sessions go on",
        "limits by cgroup v2 and by rlimit, reached in initialize(), in process() and in pieces",
    ),
]

MB = 1_000_000
ROOM_BYTES = 60 * MB
TOO_MUCH_MB = 200


def groups() -> set[Path]:
    return set(cgroup._delegated_group().glob("remotemedia-*"))


@pytest.fixture(params=["rlimit", "group"])
def held_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What holds the limits of this test."""
    if request.param == "group":
        try:
            groups()
        except OSError as error:
            pytest.skip(f"no control groups with a memory controller for this process: {error}")
    else:

        def refuse() -> Path:
            raise PermissionError("not in this test")

        monkeypatch.setattr(cgroup, "_delegated_group", refuse)
    return str(request.param)


@pytest.fixture(scope="module")
def limit_bytes(px: Any) -> int:
    """What a node that does nothing needs, and some room: numpy reserves memory for every core."""

    async def main() -> int:
        async with px.session("t-echo") as session:
            status = Path(f"/proc/{session.pids['n0']}/status").read_text()
        found = re.search(r"VmData:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024 + ROOM_BYTES

    result: int = px.run(main())
    return result


def named(limit_bytes: int, setting: str = "node_memory_limit_bytes") -> str:
    return f"memory limit of {f'{limit_bytes / MB:.1f}'.removesuffix('.0')} MB ({setting})"


async def crash(awaitable: Any) -> ProcessCrashError:
    with pytest.raises(ProcessCrashError) as caught:
        await awaitable
    return caught.value


def killed(error: ProcessCrashError, node_id: str, reason: str) -> None:
    assert (error.node_id, error.signal, error.reason) == (node_id, signal.SIGKILL, reason)
    assert f"(killed by SIGKILL): {reason}" in str(error)


@pytest.mark.parametrize("order", ["eat", "choke"])
def test_reached_in_process(px: Any, held_by: str, limit_bytes: int, order: str) -> None:
    async def main() -> None:
        errors: list[NodeProcessError] = []
        async with px.session("t-echo", "t-do", node_memory_limit_bytes=limit_bytes) as session:
            session.on_error(errors.append)
            await px.send_all(session, "n0", [f"{order} {TOO_MUCH_MB}", "b"])
            if held_by == "group":
                killed(await crash(px.received(session, "n1")), "n1", f"{named(limit_bytes)} reached")
                return
            # The message fails, the node goes on.
            assert await px.received(session, "n1") == [f"{order} {TOO_MUCH_MB}", "b"]
            await px.until(lambda: errors)
        (error,) = errors
        why = "MemoryError: " if order == "eat" else "RuntimeError: cannot make room"
        assert error.node_id == "n1"
        assert error.reason == f"{why} (the node has a {named(limit_bytes)})"

    px.run(main())


def test_reached_in_initialize(px: Any, held_by: str, limit_bytes: int) -> None:
    async def main() -> None:
        session = px.session("t-echo", ("t-echo", {"eat": TOO_MUCH_MB}), node_memory_limit_bytes=limit_bytes)
        if held_by == "group":
            killed(await crash(session.initialize()), "n1", f"{named(limit_bytes)} reached")
        else:
            with pytest.raises(NodeInitializationError) as caught:
                await session.initialize()
            assert caught.value.reason == f"MemoryError:  (the node has a {named(limit_bytes)})"
        await session.cleanup()

    px.run(main())


def test_a_limit_that_python_itself_does_not_fit_in(px: Any, held_by: str) -> None:
    async def main() -> None:
        session = px.session("t-echo", node_memory_limit_bytes=5 * MB)
        if held_by == "group":
            error = await crash(session.initialize())
            killed(error, "n0", f"{named(5 * MB)} reached; Python and numpy alone need more")
        else:
            with pytest.raises(NodeInitializationError, match=r"Python and numpy alone need \d+ MB") as caught:
                await session.initialize()
            assert named(5 * MB) in str(caught.value)
        await session.cleanup()

    px.run(main())


def test_the_limit_of_one_node_wins(px: Any, held_by: str, limit_bytes: int) -> None:
    async def main() -> None:
        own = limit_bytes + TOO_MUCH_MB * MB
        pipeline = Pipeline()
        pipeline.add_node("t-echo", "more", {"eat": TOO_MUCH_MB}, memory_limit_bytes=own)
        pipeline.add_node("t-do", "less", memory_limit_bytes=limit_bytes)
        async with MultiprocessExecutor(MultiprocessConfig(node_memory_limit_bytes=1 << 50)) as executor:
            errors: list[NodeProcessError] = []
            session = await executor.create_session("s", pipeline)
            session.on_error(errors.append)
            await px.send_all(session, "less", [f"eat {TOO_MUCH_MB}"])
            if held_by == "group":
                error: Any = await crash(px.received(session, "less"))
            else:
                await px.received(session, "less")
                await px.until(lambda: errors)
                (error,) = errors
            assert error.node_id == "less"
            assert named(limit_bytes, "memory_limit_bytes") in error.reason

    px.run(main())


def test_library_code_that_aborts(px: Any, held_by: str, limit_bytes: int) -> None:
    async def main() -> None:
        async with px.session("t-do", node_memory_limit_bytes=limit_bytes) as session:
            await session.send("n0", px.text("die SIGABRT"))
            error = await crash(px.received(session, "n0"))
        # A control group kills; who aborts in one had another reason.
        assert error.reason == ("" if held_by == "group" else f"it had a {named(limit_bytes)}")
        assert error.reason in str(error)

    px.run(main())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_signal_from_outside_is_not_the_limits(px: Any, held_by: str, limit_bytes: int, number: int) -> None:
    async def main() -> None:
        async with px.session("t-do", node_memory_limit_bytes=limit_bytes) as session:
            os.kill(session.pids["n0"], number)
            assert (await crash(session.receive("n0"))).reason == ""

    px.run(main())


def test_what_comes_in_is_not_the_nodes_own(px: Any, held_by: str, limit_bytes: int) -> None:
    async def main() -> None:
        array = np.ones(TOO_MUCH_MB * MB, "u1")
        async with px.session("t-echo", "t-echo", node_memory_limit_bytes=limit_bytes) as session:
            await session.send("n0", RuntimeData.tensor(array))
            received = await session.receive("n1")
            assert np.array_equal(received.as_numpy(), array)

    px.run(main())


def test_other_sessions_go_on(px: Any, held_by: str, limit_bytes: int) -> None:
    async def main() -> None:
        async with MultiprocessExecutor(MultiprocessConfig(node_memory_limit_bytes=limit_bytes)) as executor:
            first = await executor.create_session("first", px.chain("t-echo", "t-echo"))
            second = executor.create_session("second", px.chain("t-echo", ("t-echo", {"eat": TOO_MUCH_MB})))
            with pytest.raises((NodeInitializationError, ProcessCrashError)):
                await second
            await px.send_all(first, "n0", ["still here"])
            assert await px.received(first, "n1") == ["still here"]

    px.run(main())


def test_what_holds_the_limit_is_logged(
    px: Any, held_by: str, limit_bytes: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        with caplog.at_level(logging.DEBUG, "remotemedia.node"):
            async with px.session("t-echo", "t-echo", node_memory_limit_bytes=limit_bytes):
                pass

    px.run(main())
    messages = {(r.name, r.getMessage()) for r in caplog.records if "held by" in r.getMessage()}
    if held_by == "group":
        how = f"control group {cgroup._delegated_group()}/remotemedia-{os.getpid()}-"
        messages = {(name, message[: -len("01234567")]) for name, message in messages}
    else:
        how = "RLIMIT_DATA (no control group: not in this test)"
    assert messages == {(f"remotemedia.node.n{n}", f"{named(limit_bytes)}, held by {how}") for n in (0, 1)}


@pytest.mark.parametrize("held_by", ["group"], indirect=True)
@pytest.mark.parametrize("how", ["cleanup", "crash", "dropped"])
def test_groups_are_removed_with_all_that_is_in_them(px: Any, held_by: str, limit_bytes: int, how: str) -> None:
    """Also with what has left the node's process group."""
    before = groups()
    pids: list[int] = []

    async def main() -> None:
        session = px.session("t-do", ("t-echo", {"grandchild": True}), node_memory_limit_bytes=limit_bytes)
        await session.initialize()
        await session.start()
        assert len(groups() - before) == 2
        await session.send("n0", px.text("detach"))
        await session.receive("n1")
        pids.append(int((await session.receive("n1")).payload))
        if how == "crash":
            os.kill(session.pids["n0"], signal.SIGKILL)
            await crash(session.receive("n1"))
            assert groups() == before
        if how != "dropped":
            await session.cleanup()

    px.run(main())
    assert groups() == before
    assert not px.lives(pids[0])


DELEGATED = """
from pathlib import Path
from remotemedia.core.multiprocess.kernel.cgroup import _delegated_group

(Path(sys.argv[1]) / "cgroup.procs").write_text(str(os.getpid()))
try:
    say(str(_delegated_group()))
except OSError as error:
    say(error.strerror)
hear()
"""


@pytest.mark.parametrize("held_by", ["group"], indirect=True)
def test_groups_are_made_only_where_that_is_delegated(px: Any, held_by: str, child_python: Any) -> None:
    service = cgroup._delegated_group() / f"test-{os.getpid()}"
    service.mkdir()
    (service / "main").mkdir()
    try:
        for mark, answer in (("0", "not delegated"), ("1", str(service))):
            os.setxattr(service, "user.delegate", mark.encode())
            child = child_python(px.PATH_LINES + DELEGATED, str(service / "main"))
            child.expect(answer)
            child.kill()
    finally:
        (service / "main").rmdir()
        service.rmdir()


@pytest.mark.parametrize("wrong", [0, -1, 1 << 19, 1e9, True, "1 GB"])
def test_limits_that_are_none(wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="node_memory_limit_bytes must be"):
        MultiprocessConfig(node_memory_limit_bytes=wrong)
    with pytest.raises(PipelineError, match=f"memory_limit_bytes of node 'a' must be .* not {re.escape(repr(wrong))}"):
        Pipeline().add_node("t-echo", "a", memory_limit_bytes=wrong)


def test_no_limit_is_the_default() -> None:
    assert MultiprocessConfig().node_memory_limit_bytes is None
    assert Pipeline().add_node("t-echo", "a").nodes[0].memory_limit_bytes is None
