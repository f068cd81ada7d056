"""Exceptions that misbehave while they are described: they end no process, and the error still says what they are."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from remotemedia._telling import said, shown, trace
from remotemedia.core.multiprocess.node.failure import describe_failure
from remotemedia.core.multiprocessing import (
    InitProgress,
    MultiprocessConfig,
    NodeInitializationError,
    NodeProcessError,
    Pipeline,
    PipelineError,
    Session,
    register_node,
)
from tests.faults import odd_nodes as odd

pytestmark = [
    pytest.mark.usefixtures("leak_check"),
    pytest.mark.promise(
        "failures",
        "a failed message fails alone; what cannot start is refused with one error, and nothing is left",
        "process() and initialize() that raise, unknown types, late nodes, wrong settings",
    ),
]


def session(**config: Any) -> Session:
    return Session("s", Pipeline().add_node("odd", "n0", config), MultiprocessConfig())


def test_every_odd_exception_fails_its_message_alone_and_is_told(px: Any) -> None:
    errors: list[NodeProcessError] = []

    async def main() -> None:
        async with session() as running:
            running.on_error(errors.append)
            await px.send_all(running, "n0", [*odd.ODD, "still here"])
            assert await px.received(running, "n0") == ["still here"]

    px.run(main())
    told = dict(zip(odd.ODD, errors, strict=True))
    assert {what: error.reason[: len(odd.ODD[what][1])] for what, error in told.items()} == {
        what: reason for what, (_, reason, _) in odd.ODD.items()
    }
    for what, (_, _, words) in odd.ODD.items():
        assert words in told[what].remote_traceback, what
        assert "raise ODD[what][0]()" in told[what].remote_traceback, "the place, whatever the exception is"


@pytest.mark.parametrize("what", ["str gives None", "cause raises", "a group"])
def test_an_odd_exception_in_initialize_is_what_the_session_fails_with(px: Any, what: str) -> None:
    async def main() -> None:
        async with session(where="initialize", what=what):
            pass

    with pytest.raises(NodeInitializationError) as caught:
        px.run(main())
    assert caught.value.reason.startswith(odd.ODD[what][1])


@pytest.mark.parametrize("where", ["on_interrupt", "finish", "cleanup"])
def test_an_odd_exception_anywhere_else_is_told_and_the_node_ends_well(
    px: Any, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    async def main() -> None:
        async with session(where=where, what="cause raises") as running:
            await running.interrupt()
            await px.send_all(running, "n0", ["still here"])
            assert await px.received(running, "n0") == ["still here"]

    with caplog.at_level(logging.WARNING, "remotemedia"):
        px.run(main())
    assert "Odd: why" in caplog.text
    assert "exit code" not in caplog.text


def test_a_cancellation_of_its_own_in_initialize_is_its_failure(px: Any) -> None:
    async def main() -> None:
        async with px.session(("t-init", {"how": "cancel"})):
            pass

    with pytest.raises(NodeInitializationError, match="'n0' failed to initialize: CancelledError"):
        px.run(main())


@pytest.mark.parametrize("what", ["str raises", "cause raises", "class raises", "attributes raise"])
def test_a_callback_that_raises_an_odd_exception_keeps_no_other_from_being_called(
    px: Any, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    errors: list[NodeProcessError] = []

    async def main() -> None:
        async with px.session("t-do") as running:

            def bad(error: NodeProcessError) -> None:
                raise odd.ODD[what][0]()

            running.on_error(bad)
            running.on_error(errors.append)
            await px.send_all(running, "n0", ["raise this", "b"])
            assert await px.received(running, "n0") == ["raise this", "b"]

    px.run(main())
    assert len(errors) == 1
    assert "session 's': on_error callback failed" in caplog.text and "in bad" in caplog.text
    caplog.clear()


def test_a_progress_callback_that_raises_stop_iteration_is_not_the_nodes_fault(px: Any) -> None:
    steps: list[InitProgress] = []

    async def main() -> None:
        running = px.session("t-echo")
        try:
            await running.initialize(lambda progress: next(iter(steps)))
        finally:
            await running.cleanup()

    with pytest.raises(RuntimeError, match="progress_callback raised StopIteration"):
        px.run(main())


# --- descriptions, without a process ---------------------------------------------------------------------------


@pytest.mark.parametrize("what", odd.ODD)
def test_what_is_told_is_bounded_and_can_be_written_to_any_file(what: str) -> None:
    try:
        raise odd.ODD[what][0]()
    except Exception as error:
        failure = describe_failure(error)
    assert len(failure.reason) < 5_000 and len(failure.traceback) < 40_000
    "".join(map(str, failure)).encode()
    assert failure.out_of_memory is False


def test_memory_that_ran_out_deep_in_a_group_is_known_as_such() -> None:
    cause = RuntimeError("no model")
    cause.__cause__ = MemoryError()
    assert describe_failure(odd.group(ValueError("x"), odd.group(cause))).out_of_memory is True


def test_an_everyday_exception_is_told_as_python_tells_it() -> None:
    import traceback

    try:
        try:
            raise KeyError("inner")
        except KeyError:
            raise ValueError("outer") from None
    except ValueError as error:
        error.add_note("a note")
        assert said(error) == "ValueError: outer"
        assert trace(error, 10_000) == "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, "7"),
        (odd.Sized(), "x" * 100 + "[... 49,999,800 characters ...]" + "x" * 100),
        (odd.Endless(), "<Endless whose repr() raises RecursionError>"),
        (type("Odd", (), {"__repr__": odd.exits})(), "<Odd whose repr() raises SystemExit>"),
    ],
)
def test_a_value_is_shown_whatever_its_repr_does(value: object, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize("wrong", [odd.Endless(), odd.Sized(), type("Odd", (), {"__repr__": odd.raises})()])
@pytest.mark.parametrize(
    "give",
    [
        lambda wrong: register_node(wrong),
        lambda wrong: register_node("odd-value")(wrong),
        lambda wrong: Pipeline().add_node("odd", wrong),
        lambda wrong: Pipeline().add_node("odd", "n", {wrong: 1}),
        lambda wrong: Pipeline().connect("a", wrong, "b", "c"),
    ],
)
def test_a_wrong_value_with_an_odd_repr_is_refused_like_any_other(give: Callable[[Any], Any], wrong: object) -> None:
    with pytest.raises((TypeError, PipelineError), match=r"Endless|Odd|xxx") as caught:
        give(wrong)
    assert len(str(caught.value)) < 3_000
