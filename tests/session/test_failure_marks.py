"""Failure marks: what goes on in the place of a message for which a node failed."""

from __future__ import annotations

from typing import Any

import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import (
    END_OF_TURN,
    FAILURE,
    MultiprocessConfig,
    NodeProcessError,
    Pipeline,
    PipelineError,
)
from remotemedia.testing import NodeHost
from tests.session import retry_nodes

pytestmark = pytest.mark.usefixtures("leak_check")

text = RuntimeData.text


def one(kind: str, config: dict[str, Any] | None = None, **how: Any) -> Pipeline:
    return Pipeline().add_node(kind, "n", config, **{"failure_marks": True, **how})


def then_echo(pipeline: Pipeline) -> Pipeline:
    """With a node behind it that knows no marks."""
    return pipeline.add_node("t-echo", "after").connect("n", "output", "after", "input")


@pytest.mark.parametrize("retries", [0, 2])
def test_a_mark_in_the_place_of_the_message(px: Any, retries: int) -> None:
    async def main() -> None:
        async with px.Session("s", then_echo(one("retry-async", retries=retries))) as session:
            for number, words in enumerate(["0 a", "9 b", "0 c"]):
                await session.send("n", RuntimeData.text(words, origin=10 + number, timestamp=number + 1.5))
            came = [await session.receive("after", on_failure="report") for _ in range(3)]
            assert [data.mark or data.payload for data in came] == ["0 a: 1", FAILURE, "0 c: 1"]
            assert [data.origin for data in came] == [10, 11, 12]
            assert came[1].timestamp == 2.5
            assert came[1].metadata["value"] == {
                "node_id": "n",
                "reason": f"ValueError: 9 b, asked {retries + 1}",
                "port": came[1].metadata["value"]["port"],
                "sequence": 1,
                "outputs": 0,
            }
            await px.until(lambda: session.get_status().nodes["n"].failures == 1)

    px.run(main())


def test_it_is_of_the_turn_and_the_failure_is_raised_as_before(px: Any) -> None:
    async def main() -> None:
        async with px.Session("s", then_echo(one("retry-plain"))) as session:
            for _ in range(10):
                came = [data async for data in session.ask("n", text("99 x"), on_failure="report")]
                assert [data.mark for data in came] == [FAILURE]
                with pytest.raises(NodeProcessError, match="ValueError: 99 x"):
                    assert [data.mark async for data in session.ask("n", text("99 x"))] == [FAILURE]

    px.run(main())


@pytest.mark.parametrize(
    ("words", "came", "outputs"),
    [("0 yield", ["part"], 1), ("0 ports", ["part", "other"], 2), ("0 emit", ["part"], 1), ("0 wrong", [], 0)],
)
@pytest.mark.parametrize("retries", [0, 2])
def test_it_says_how_much_came_before(px: Any, words: str, came: list[str], outputs: int, retries: int) -> None:
    async def main() -> None:
        async with px.Session("s", one("retry-late", retries=retries)) as session:
            *before, mark = [data async for data in session.ask("n", text(words), on_failure="report")]
            assert [data.payload for data in before] == came
            assert (mark.mark, mark.metadata["value"]["outputs"]) == (FAILURE, outputs)

    px.run(main())


def test_a_cancellation_of_its_own_is_marked(px: Any) -> None:
    async def main() -> None:
        async with px.Session("s", one("retry-own")) as session:
            (mark,) = [data async for data in session.ask("n", text("x"), on_failure="report")]
            assert mark.metadata["value"]["reason"] == "CancelledError: x"

    px.run(main())


def test_an_interruption_is_not_marked(px: Any) -> None:
    async def main() -> None:
        async with px.Session("s", one("retry-waits", retries=1)) as session:
            await session.send("n", text("1 waits"))
            await px.until(lambda: len(session._failures._seen) == 1)
            await session.interrupt()
            await session.send("n", text("0 tell"))
            assert (await session.receive("n")).mark == ""

    px.run(main())


def test_it_comes_before_the_end_of_the_turn_that_failed(px: Any) -> None:
    async def main() -> None:
        async with px.Session("s", then_echo(one("retry-marks", {"times": 1}))) as session:
            async with session.turn("n", own_outputs=False) as turn:
                await turn.send(text("a"))
            await turn.done()
            came = [await session.receive("after", on_failure="report") for _ in range(3)]
            assert [data.mark or data.payload for data in came] == ["a", FAILURE, END_OF_TURN]

    px.run(main())


@pytest.mark.parametrize("backpressure", [True, False])
def test_marks_wait_for_room(px: Any, backpressure: bool) -> None:
    config = MultiprocessConfig(channel_capacity=2, enable_backpressure=backpressure)

    async def main() -> None:
        async with px.Session("s", one("retry-plain"), config) as session:
            session.on_error(lambda error: None)

            def failures() -> int:
                return session.get_status().nodes["n"].failures

            for number in range(4):
                await session.send("n", RuntimeData.text("9 x", origin=number))
                await px.until(lambda number=number: failures() == min(number + 1, 2))
            await px.until(lambda: failures() > 2 or any(one.blocked_now_secs for one in session.channel_stats()))
            assert failures() == 2  # the next is reported when its mark has gone
            came = [await session.receive("n") for _ in range(4)]
            assert [(data.mark, data.origin) for data in came] == [(FAILURE, number) for number in range(4)]

    px.run(main())


def test_a_failure_is_reported_if_an_interruption_drops_its_mark(px: Any) -> None:
    node = retry_nodes.Plain("n", {})

    async def main() -> None:
        async with NodeHost(node, MultiprocessConfig(channel_capacity=1), failure_marks=True) as host:
            for words in ("9 a", "9 b"):
                await host.send(text(words))
            await px.until(lambda: node.asked["9 b"] == 1)  # its mark waits behind that of the other
            for words in ("9 a", "9 b"):
                with pytest.raises(ValueError, match=words):
                    await host.interrupt()
            assert await host.finish() == []

    px.run(main())


def test_a_failure_for_a_failures_mark(px: Any) -> None:
    pipeline = one("retry-plain").add_node("retry-no-failures", "next", retries=1, failure_marks=True)
    pipeline.connect("n", "output", "next", "input")

    async def main() -> None:
        async with px.Session("s", pipeline) as session:
            sent = RuntimeData.text("9 a", origin=7, timestamp=2.5)
            (mark,) = [data async for data in session.ask("n", sent, on_failure="report")]
            assert (mark.mark, mark.origin, mark.timestamp) == (FAILURE, 7, 2.5)
            assert mark.metadata["value"]["node_id"] == "next"
            assert mark.metadata["value"]["reason"] == "ValueError: failed after n"
            assert session.get_status().nodes["next"].failures == 1

    px.run(main())


@pytest.mark.parametrize("marks", [False, True])
def test_a_join_waits_for_no_part_that_failed(px: Any, marks: bool) -> None:
    pipeline = Pipeline().add_node("t-echo", "in").add_node("t-echo", "left").add_node("retry-join", "join")
    pipeline.add_node("retry-plain", "right", failure_marks=marks)
    for way in ("left", "right"):
        pipeline.connect("in", "output", way, "input").connect(way, "output", "join", "input")

    async def main() -> None:
        async with px.Session("s", pipeline) as session:
            turn = session.turn("in")
            await turn.send(text("9 a"))
            if not marks:  # it keeps the other part, and the turn open
                await px.until(lambda: session.get_status().nodes["join"].messages == 1)
                await px.until(lambda: session.get_status().nodes["right"].failures == 1)
                assert not turn.is_over
                turn.give_up()
                return
            turn._close()
            came = [data.payload async for _, data in turn.outputs(on_failure="report")]
            assert came == ["9 a and no right"]

    px.run(main())


@pytest.mark.parametrize("retries", [0, 1])
def test_without_them_nothing_goes_on(px: Any, retries: int) -> None:
    async def main() -> None:
        async with px.Session("s", one("retry-plain", retries=retries, failure_marks=False)) as session:
            assert [data async for data in session.ask("n", text("9 a"), on_failure="report")] == []

    px.run(main())


def test_in_a_host(px: Any) -> None:
    async def main() -> None:
        async with NodeHost(retry_nodes.Plain("n", {}), failure_marks=True) as host:
            with pytest.raises(ValueError, match="9 a"):
                await host.feed(text("9 a"))
            mark = await host.receive(timeout=5)
            assert mark is not None and mark.mark == FAILURE

    px.run(main())


@pytest.mark.parametrize("wrong", [1, None, "yes"])
def test_what_says_neither_yes_nor_no(wrong: Any) -> None:
    with pytest.raises(PipelineError, match="failure_marks of node 'n' must be true or false, not"):
        one("retry-plain", failure_marks=wrong)
