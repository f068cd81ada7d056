"""Messages that fail: each fails alone, is told of, and the rest goes on."""

from __future__ import annotations

from typing import Any

import pytest

from remotemedia.core.multiprocess.session.failure_log import FailureLog
from remotemedia.core.multiprocessing import NodeProcessError, ProcessCrashError, SessionStatus

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
