"""Faults that the pipeline survives, and faults that keep it from starting: one clear error each, and nothing left."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from remotemedia.core.multiprocess.session.failure_log import FailureLog
from remotemedia.core.multiprocessing import (
    ChannelFullError,
    InitializationTimeout,
    InitProgress,
    MultiprocessConfig,
    MultiprocessError,
    MultiprocessExecutor,
    NodeInitializationError,
    NodeProcessError,
    Pipeline,
    PipelineError,
    ProcessCrashError,
    ProcessSpawnError,
    ResourceLimitError,
    Session,
    SessionStateError,
    SessionStatus,
    register_node,
)

pytestmark = [
    pytest.mark.usefixtures("leak_check"),
    pytest.mark.promise(
        "failures",
        "a failed message fails alone; what cannot start is refused with one error, and nothing is left",
        "process() and initialize() that raise, unknown types, late nodes, wrong settings",
    ),
]


def test_a_process_call_that_raises_fails_one_message(px: Any, caplog: pytest.LogCaptureFixture) -> None:
    errors: list[NodeProcessError] = []

    async def main() -> None:
        async with px.session("t-do", "t-do", "t-echo") as session:

            def bad(error: NodeProcessError) -> None:
                raise ZeroDivisionError  # a callback's own trouble is nobody else's

            session.on_error(bad)
            session.on_error(errors.append)
            await px.send_all(session, "n0", ["a", "raise the message", "b"])
            assert await px.received(session, "n2") == ["a", "raise the message", "b"]
            await px.until(lambda: len(errors) == 2)
            assert [stats.failures for stats in session.node_stats()] == [1, 1, 0]
            assert session.status is SessionStatus.RUNNING

    px.run(main())
    assert caplog.text.count("session 's': on_error callback failed") == 2
    caplog.clear()  # the record's traceback holds the session
    assert sorted(error.node_id for error in errors) == ["n0", "n1"]
    for error in errors:
        assert (error.sequence, error.port) == (1, "input")
        assert "ValueError: the message" in str(error)
        assert "raise ValueError(argument)" in error.remote_traceback
        assert "session_nodes.py" in error.remote_traceback


def again(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log says of failures that came again."""
    return [text.removeprefix("session 's': ") for text in caplog.messages if ": same error " in text]


def test_a_failure_that_repeats_is_logged_once_and_counted(px: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with px.session("t-do", channel_capacity=400) as session:
            await px.send_all(session, "n0", [f"raise row {number}" for number in range(304)])
            assert len(await px.received(session, "n0")) == 304
            assert session.node_stats()[0].failures == 304

    px.run(main())
    assert caplog.text.count("raise ValueError(argument)") == 1, "one traceback"
    assert "failed on message 0 of port 'input': ValueError: row 0" in caplog.text
    counts = [1, 2, 4, 8, 16, 32, 64, 128, 256, 303]
    assert again(caplog) == [
        f"same error {count} more time{'s' if count > 1 else ''}, the last: "
        f"Node 'n0' failed on message {count} of port 'input': ValueError: row {count}"
        for count in counts
    ]


def test_failures_that_take_turns_are_counted_apart(px: Any, caplog: pytest.LogCaptureFixture) -> None:
    orders = ["raise one", "raise two"] * 6 + ["raise 'x' of one 1", "raise 'y' of one 2", "choke 1"]

    async def main() -> None:
        async with px.session("t-do") as session:
            await px.send_all(session, "n0", [*orders, "raise one"])
            await px.received(session, "n0")

    px.run(main())
    assert caplog.text.count("raise ValueError(argument)") == 3
    # After doubling; then the rest, because another kind came; then because the node ended.
    assert [text.partition(" more time")[0] for text in again(caplog)] == [
        *(f"same error {count}" for count in (1, 1, 2, 2, 4, 4, 5, 5, 1, 6))
    ]


def test_a_callback_that_fails_each_time_is_logged_once_and_counted(px: Any, caplog: pytest.LogCaptureFixture) -> None:
    errors: list[NodeProcessError] = []

    async def main() -> None:
        async with px.session("t-do") as session:

            def bad(error: NodeProcessError) -> None:
                errors.append(error)
                raise ZeroDivisionError(f"error {len(errors)}")

            session.on_error(bad)
            await px.send_all(session, "n0", ["raise this"] * 3 + ["complain-and-die SIGKILL"])
            with pytest.raises(ProcessCrashError):
                await px.received(session, "n0")

    px.run(main())
    assert [error.sequence for error in errors] == [0, 1, 2], "callbacks get each one"
    assert caplog.text.count("raise ZeroDivisionError(") == 1
    assert again(caplog) == [
        "same error 1 more time, the last: on_error callback failed: ZeroDivisionError: error 2",
        "same error 2 more times, the last: on_error callback failed: ZeroDivisionError: error 3",
    ]


def test_kinds_of_failures_are_known_by_node_place_type_and_the_shape_of_the_message(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = FailureLog("s")

    def fails(node_id: str, reason: str, line: int, times: int = 1) -> int:
        """How many lines the log has of it."""
        caplog.clear()
        trace = "Traceback:\n" + f'  File "a.py", line {line}, in f\n' * times + reason
        log.message_failed(NodeProcessError(node_id, reason, 1, "in", trace))
        return caplog.text.count("Traceback:")

    assert fails("n", "KeyError: 'a'", 5) == 1
    assert fails("n", "KeyError: 'b'", 5) == 0
    assert fails("n", "KeyError: 'b'", 5, times=9) == 0, "the same, from the depth of a recursion"
    assert fails("n", "KeyError: 'a'", 6) == 1
    assert fails("n", "IndexError: 'a'", 5) == 1
    assert fails("m", "KeyError: 'a'", 5) == 1
    assert fails("n", "KeyError: 0x7f0012 of 12.5 s", 5) == 1
    assert fails("n", "KeyError: 0xffffff of 3.75 s", 5) == 0
    for number in range(1000):  # each of its own kind: what is remembered of them does not grow
        assert fails("n", f"KeyError: {'x' * number}", 5) == 1
    assert len(log._seen) == 64
    assert fails("n", "KeyError: 'a'", 5) == 1


def test_without_a_callback_failed_messages_are_logged(px: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with px.session("t-do") as session:
            await px.send_all(session, "n0", ["raise this"])
            await px.received(session, "n0")
            await px.until(lambda: "raise ValueError(argument)" in caplog.text)

    px.run(main())


@pytest.mark.parametrize("config", [{"ports": [1]}, {"ports": [""]}])
def test_outputs_that_make_no_sense_fail_one_message(px: Any, config: dict[str, Any]) -> None:
    errors: list[NodeProcessError] = []

    async def main() -> None:
        async with px.session(("t-ports", config)) as session:
            session.on_error(errors.append)
            await px.send_all(session, "n0", ["a"])
            found = await px.received(session, "n0")
            assert found == ([] if config["ports"] == [1] else ["a on "])

    px.run(main())
    assert len(errors) == (config["ports"] == [1])
    assert not errors or "must hold RuntimeData by output port" in str(errors[0])


# --- before anything runs --------------------------------------------------------------------------------------


async def refused(px: Any, session: Session, kind: type[BaseException], heard: list[InitProgress] | None = None) -> Any:
    """The error of initialize(), after which nothing is left and the session says what it is."""
    heard = [] if heard is None else heard
    with pytest.raises(kind) as caught:
        await session.initialize(heard.append)
    assert session.pids == {}
    for progress in heard:
        if pid := px.grandchild(progress.message):
            await px.until(lambda pid=pid: not px.lives(pid))
    with pytest.raises((SessionStateError, MultiprocessError)):
        await session.start()
    await session.cleanup()
    return caught.value


@pytest.mark.parametrize("how", ["raise", "raise in __init__"])
def test_a_node_that_cannot_initialize(px: Any, how: str, tmp_path: Path) -> None:
    bell = tmp_path / "cleaned"

    async def main() -> None:
        session = px.session(
            ("t-echo", {"grandchild": True, "cleanup_file": str(bell)}), ("t-init", {"how": how}), "t-echo"
        )
        error = await refused(px, session, NodeInitializationError)
        assert error.node_id == "n1"
        assert "'n1' failed to initialize: RuntimeError: no such weights" in str(error)
        assert 'raise RuntimeError("no such weights")' in error.remote_traceback
        assert error.remote_traceback.strip() in str(error)

    px.run(main())


def test_a_module_that_cannot_be_imported(px: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "only_here.py").write_text(
        "import os\nfrom remotemedia.core.multiprocessing import MultiprocessNode, register_node\n"
        'assert "ONLY_IN_THE_PARENT" in os.environ\n'
        '@register_node("t-only-here")\nclass Here(MultiprocessNode):\n'
        "    async def initialize(self): pass\n    async def process(self, data): pass\n"
        "    async def cleanup(self): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("ONLY_IN_THE_PARENT", "1")
    __import__("only_here")
    monkeypatch.delenv("ONLY_IN_THE_PARENT")

    async def main() -> None:
        error = await refused(px, px.session("t-echo", "t-only-here"), NodeInitializationError)
        assert error.node_id == "n1"
        assert "AssertionError" in str(error) and "only_here.py" in str(error)

    px.run(main())
    del sys.modules["only_here"]


def test_an_unknown_node_type_gives_the_nearest_names(px: Any) -> None:
    async def main() -> None:
        error = await refused(px, px.session("t-echo", "t-ech0"), PipelineError)
        assert "node 'n1'" in str(error) and "'t-ech0'" in str(error) and "did you mean" in str(error)
        assert "'t-echo'" in str(error)

    px.run(main())


def test_a_class_that_is_no_node(px: Any) -> None:
    with pytest.raises(TypeError, match="takes a subclass of MultiprocessNode"):
        register_node("t-nothing")(int)  # type: ignore[type-var]


@pytest.mark.parametrize(
    "says",
    [
        "nonsense",
        pytest.param("[" * 100_000, id="deep"),
        '{"type": "here", "fds": 3}',
        '{"type": "hello"}',
        '{"type": "progress", "status": "loading", "progress": 1' + "0" * 400 + ', "message": null}',
        '{"type": "interrupted", "epoch": 1e999}',
    ],
)
def test_a_node_that_talks_nonsense_takes_the_session_down(px: Any, says: str) -> None:
    async def main() -> None:
        async with px.session(("t-liar", {"says": says}), "t-echo") as session:
            await session.interrupt()

    with pytest.raises(MultiprocessError, match="node 'n0' sent a control message that makes no sense"):
        px.run(main(), patience_secs=20)


@pytest.mark.parametrize("how", ["wait", "stick", "deaf"])
def test_a_node_that_is_not_ready_in_time(px: Any, how: str) -> None:
    async def main() -> None:
        heard: list[InitProgress] = []
        session = px.session("t-echo", ("t-init", {"how": how, "grandchild": True}), init_timeout_secs=1.5)
        error = await refused(px, session, InitializationTimeout, heard)
        # As far as they came: on a busy machine that may be less than the rest of this test would like.
        last = {p.node_id: p for p in heard if "so far" not in str(p.message)}
        late = [
            f"{p.node_id!r} ({p.status}, {p.progress * 100:.0f} %{', ' + p.message if p.message else ''})"
            for p in last.values()
            if p.status != "ready"
        ]
        assert str(error) == f"not ready within 1.5 s (init_timeout_secs): {', '.join(late)}"
        assert late[-1].startswith("'n1' (")

    px.run(main())


def test_a_node_that_is_not_ready_in_time_is_quoted(px: Any) -> None:
    says = [
        [("stderr", "\rdownloading 4 %"), ("stderr", "\rdownloading 5 %")],
        [("stderr", "a warning\n"), ("stdout", "shard 1\r"), ("stdout", "shard 2\r")],
        [("stdout", "reading\n"), ("stdout", "two lines\n\n")],
        [],
    ]

    async def main() -> None:
        session = px.session(*(("t-init", {"how": "wait", "says": said}) for said in says), init_timeout_secs=5)
        error = await refused(px, session, InitializationTimeout)
        assert str(error) == (
            "not ready within 5 s (init_timeout_secs): "
            "'n0' (loading, 25 %, reading weights, last said: downloading 5 %), "
            "'n1' (loading, 25 %, reading weights, last said: shard 2), "
            "'n2' (loading, 25 %, reading weights, last said: two lines), "
            "'n3' (loading, 25 %, reading weights)"
        )

    px.run(main())


def test_processes_per_session_are_limited(px: Any) -> None:
    async def main() -> None:
        session = px.session("t-echo", "t-echo", "t-echo", max_processes_per_session=2)
        error = await refused(px, session, ResourceLimitError)
        assert "3 nodes; max_processes_per_session is 2" in str(error)
        async with px.session("t-echo", "t-echo", max_processes_per_session=2):
            pass

    px.run(main())


@pytest.mark.parametrize("executable", ["no-such-python", "/no/such/python", "/etc/passwd", "/"])
def test_a_python_that_is_not_there(px: Any, executable: str) -> None:
    async def main() -> None:
        error = await refused(px, px.session("t-echo", python_executable=executable), ProcessSpawnError)
        assert repr(executable) in str(error) and "python_executable" in str(error)

    px.run(main())


def test_a_python_that_is_none(px: Any) -> None:
    async def main() -> None:
        error = await refused(px, px.session("t-echo", python_executable="false"), ProcessCrashError)
        assert (error.node_id, error.exit_code, error.signal) == ("n0", 1, None)

    px.run(main())


def test_a_python_that_cannot_be_executed(px: Any, tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text("\x7fnot a program")
    fake.chmod(0o755)

    async def main() -> None:
        error = await refused(px, px.session("t-echo", python_executable=str(fake)), ProcessSpawnError)
        assert "'n0'" in str(error) and str(fake) in str(error)

    px.run(main())


def test_configs_are_checked() -> None:
    for wrong, kind in (
        ({"channel_capacity": 0}, ValueError),
        ({"channel_capacity": 1.5}, TypeError),
        ({"max_processes_per_session": 0}, ValueError),
        ({"init_timeout_secs": 0}, ValueError),
        ({"init_timeout_secs": "1"}, TypeError),
        ({"cleanup_grace_period_secs": float("nan")}, ValueError),
        ({"shm_segment_size": 1}, ValueError),
        ({"enable_backpressure": 1}, TypeError),
        ({"extra_paths": "nodes"}, TypeError),
        ({"python_executable": ""}, TypeError),
        ({"spin_us": -1}, ValueError),
    ):
        (name,) = wrong
        with pytest.raises(kind, match=name):
            MultiprocessConfig(**wrong)  # type: ignore[arg-type]


# --- full channels ---------------------------------------------------------------------------------------------


def test_a_full_channel_without_backpressure(px: Any) -> None:
    async def main() -> None:
        async with px.session(
            "t-do", channel_capacity=2, enable_backpressure=False, cleanup_grace_period_secs=0.1
        ) as session:
            await session.send("n0", px.text("stick"))
            assert await session.receive("n0") is not None
            await px.until(lambda: px.sticks(session.pids["n0"]))
            await session.send("n0", px.text("a"))
            await session.send("n0", px.text("b"))
            for _ in range(3):
                with pytest.raises(ChannelFullError, match=r"'session_to_n0'.* full .*2 messages"):
                    await session.send("n0", px.text("c"))
            assert session.get_channel_stats("session_to_n0").drops == 3
            assert session.status is SessionStatus.RUNNING

    px.run(main())


# --- executors -------------------------------------------------------------------------------------------------


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


def test_an_executor_that_shuts_down_while_a_session_is_created(px: Any) -> None:
    import asyncio

    async def main() -> None:
        executor = MultiprocessExecutor()
        creating = asyncio.create_task(executor.create_session("one", px.chain(("t-init", {"how": "wait"}))))
        await px.until(lambda: "one" in executor.sessions and executor.sessions["one"].pids)
        await executor.shutdown()
        with pytest.raises(SessionStateError, match="stopped"):
            await creating
        assert executor.sessions == {}

    px.run(main())


def test_an_interrupted_log_record_does_not_matter(px: Any, caplog: pytest.LogCaptureFixture) -> None:
    # A handler that raises is the user's own trouble, and logging's to report: the pipeline goes on.
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            self.handleError(record)

    logger = logging.getLogger("remotemedia.node.n0")
    handler = Broken()
    logger.addHandler(handler)
    raising, logging.raiseExceptions = logging.raiseExceptions, False
    try:

        async def main() -> None:
            async with px.session("t-do") as session:
                await px.send_all(session, "n0", ["print a", "b"])
                assert await px.received(session, "n0") == ["print a", "b"]

        px.run(main())
    finally:
        logging.raiseExceptions = raising
        logger.removeHandler(handler)


def test_pipelines_without_inputs_or_with_unknown_nodes() -> None:
    with pytest.raises(PipelineError):
        Pipeline().connect("a", "o", "b", "i").validate()
