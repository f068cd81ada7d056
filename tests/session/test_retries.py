"""Retries: a message is given to a node again before it counts as failed."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import (
    END_OF_TURN,
    FAILURE,
    MultiprocessConfig,
    MultiprocessExecutor,
    NodeProcessError,
    Pipeline,
    PipelineError,
)
from remotemedia.testing import NodeHost
from tests.session import retry_nodes

pytestmark = pytest.mark.usefixtures("leak_check")

text = RuntimeData.text


def one(kind: str, config: dict[str, Any] | None = None, **how: Any) -> Pipeline:
    return Pipeline().add_node(kind, "n", config, **how)


async def asked(session: Any, words: str, **how: Any) -> list[str]:
    return [str(data.mark or data.payload) async for data in session.ask("n", text(words), **how)]


@pytest.mark.parametrize("kind", ["plain", "async", "stream", "plain-stream"])
def test_a_message_is_given_again(px: Any, kind: str) -> None:
    async def main() -> None:
        async with px.Session("s", one(f"retry-{kind}", retries=2)) as session:
            for times in (0, 1, 2):
                assert await asked(session, f"{times} a") == [f"{times} a: {times + 1}"]
            with pytest.raises(NodeProcessError, match="ValueError: 3 a, asked 3"):
                await asked(session, "3 a")
            await px.until(lambda: session.get_status().nodes["n"].failures == 1)

    px.run(main())


def test_without_retries_there_is_one_attempt(px: Any) -> None:
    async def main() -> None:
        async with px.Session("s", one("retry-plain")) as session:
            with pytest.raises(NodeProcessError, match="asked 1"):
                await asked(session, "1 a")

    px.run(main())


def test_origin_and_order_are_kept(px: Any) -> None:
    async def main() -> None:
        async with px.Session("s", one("retry-async", retries=3)) as session:
            for number in range(30):
                await session.send("n", RuntimeData.text(f"{number % 4} {number}", origin=number))
            came = [await session.receive("n") for _ in range(30)]
            assert [(data.payload, data.origin) for data in came] == [
                (f"{number % 4} {number}: {number % 4 + 1}", number) for number in range(30)
            ]

    px.run(main())


@pytest.mark.parametrize(
    ("words", "came"),
    [("0 yield", ["part"]), ("0 ports", ["part", "other"]), ("0 emit", ["part"]), ("0 wrong", [])],
)
def test_what_has_put_something_out_is_not_given_again(px: Any, words: str, came: list[str]) -> None:
    async def main() -> None:
        async with px.Session("s", one("retry-late", retries=5)) as session:
            assert await asked(session, words, on_failure="report") == came
            with pytest.raises(NodeProcessError, match="gave int" if words == "0 wrong" else "late, asked 2"):
                await asked(session, words)

    px.run(main())


def test_a_cancellation_of_its_own_is_not_given_again(px: Any) -> None:
    async def main() -> None:
        async with px.Session("s", one("retry-own", retries=5)) as session:
            with pytest.raises(NodeProcessError, match="CancelledError: x"):
                await asked(session, "x")

    px.run(main())


@pytest.mark.parametrize("words", ["1 waits", "1 stubborn"])
def test_an_interruption_ends_it(px: Any, words: str) -> None:
    async def main() -> None:
        async with px.Session("s", one("retry-waits", retries=100)) as session:
            asking = asyncio.create_task(asked(session, words, on_failure="report"))
            await px.until(lambda: (retried := session._failures._seen) and len(retried) == 1)
            await session.interrupt()
            assert await asking == []
            (said,) = [data.as_json() async for data in session.ask("n", text("0 tell"))]
            assert said in ({words: 1}, {words: 2})

    px.run(main())


@pytest.mark.parametrize(("times", "retries"), [(0, 2), (2, 2), (3, 2), (1, 0)])
def test_the_end_of_a_turn_is_given_again(px: Any, times: int, retries: int) -> None:
    fails = times > retries

    async def main() -> None:
        async with px.Session("s", one("retry-marks", {"times": times}, retries=retries)) as session:
            async with session.turn("n", own_outputs=False) as turn:
                await turn.send(text("a"))
            errors = await turn.done()
            came = [await session.receive("n", on_failure="report") for _ in range(2 if fails else 3)]
            assert [data.mark or data.payload for data in came] == (
                ["a", END_OF_TURN] if fails else ["a", "the end", END_OF_TURN]
            )
            assert [error.reason for error in errors] == ([f"ValueError: end {times}"] if fails else [])

    px.run(main())


def test_an_interruption_between_two_attempts_ends_it(px: Any) -> None:
    class Interrupted(retry_nodes.Fails):
        def process(self, data: RuntimeData) -> None:
            interruptions.append(asyncio.ensure_future(host.interrupt()))  # begins when this attempt is over
            self.answer(data)

        def cleanup(self) -> None:
            pass

    interruptions: list[asyncio.Task[None]] = []
    host = NodeHost(Interrupted("n", {}), retries=100, failure_marks=True)

    async def main() -> None:
        async with host:
            await host.send(text("99 x"))
            await px.until(lambda: bool(interruptions) and all(one.done() for one in interruptions))
            assert [str(error) for error in host.retried] == ["99 x, asked 1"]
            assert await host.finish() == [] and host.failures == []

    px.run(main())


@pytest.mark.parametrize("marks", [False, True])
def test_the_end_of_the_session_ends_it(px: Any, marks: bool) -> None:
    node = retry_nodes.Stubborn("n", {})

    async def main() -> None:
        config = MultiprocessConfig(channel_capacity=1)
        async with NodeHost(node, config, retries=100, failure_marks=marks) as host:
            await host.send(text("emit" if marks else "fail"))
            await px.until(lambda: node.asked["x"] == 1)
            assert host._loop is not None and host._work is not None
            host._loop.abort()
            host._work.cancel()
            await px.until(lambda: len(host.failures) == 1)  # no mark waits for room
            assert (node.asked["x"], host.retried) == (1, [])

    px.run(main())


def test_retries_are_logged_by_kind(px: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with px.Session("s", one("retry-plain", retries=2)) as session:
            for number in range(3):
                await asked(session, f"1 {number}")

    with caplog.at_level(logging.WARNING, "remotemedia.session"):
        px.run(main())
    first, *counts = [record for record in caplog.records if record.name == "remotemedia.session"]
    assert first.levelno == logging.WARNING
    assert "Node 'n' failed on message 0 of port input: ValueError: 1 0, asked 1; it gets the message once more" in (
        first.getMessage().replace("'input'", "input")
    )
    assert "Traceback" in first.getMessage()
    assert [record.levelno for record in counts] == [logging.WARNING] * 2
    assert "same error 2 more times" in counts[-1].getMessage()


@pytest.mark.parametrize("fail", [False, True])
def test_what_is_passed_on_is_the_next_nodes_alone(px: Any, fail: bool) -> None:
    pipeline = one("retry-pass-array", {"fail": fail}, retries=1).add_node("retry-write-array", "last")
    pipeline.connect("n", "output", "last", "input")

    async def main() -> None:
        async with px.Session("s", pipeline) as session:
            for number in range(50):
                await session.send("n", RuntimeData.tensor(np.full(2000, number, np.float32)))
                assert list((await session.receive("last")).payload) == [1.0, 2000.0 * number]

    px.run(main())


@pytest.mark.parametrize("times", [0, 1, 2])
def test_each_attempt_finds_the_payload_as_it_came(px: Any, times: int) -> None:
    async def main() -> None:
        async with px.Session("s", one("retry-halves", {"times": times}, retries=2)) as session:
            await session.send("n", RuntimeData.tensor(np.full(2000, 8, np.float32)))
            said = (await session.receive("n")).as_json()
            assert said == {
                "first": 4,
                "in_place": [False, False, True][: times + 1],
            }  # nothing needs it after the last

    px.run(main())


def test_the_memory_of_an_attempt_is_free_for_the_next(px: Any) -> None:
    config = MultiprocessConfig(shm_segment_size=1 << 16)

    async def main() -> None:
        async with px.Session("s", one("retry-loans", retries=5), config) as session:
            assert (await session.send("n", text("5 a")), (await session.receive("n")).payload[0])[1] == len("5 a: 6")
        async with NodeHost(retry_nodes.Loans("n", {}), config, retries=5) as host:
            assert [data.payload[0] for data in await host.feed(text("5 a"))] == [len("5 a: 6")]

    px.run(main())


@pytest.mark.parametrize("times", [0, 1, 3])
def test_what_is_held_again_counts_once(px: Any, times: int) -> None:
    async def main() -> None:
        async with px.Session("s", one("retry-holds", retries=3)) as session:
            for _ in range(2):
                turn = session.turn("n", own_outputs=False)
                for words in (f"{times} keep", "0 keep", "0 give one", "0 give one"):
                    await turn.send(text(words))
                    if "give" in words:
                        await session.receive("n")
                turn.give_up()  # no mark is sent: nothing but what the node holds keeps the turn
                await turn.done()

    px.run(main())


@pytest.mark.parametrize("times", [0, 1, 3])
def test_what_is_released_again_counts_once(px: Any, times: int) -> None:
    async def main() -> None:
        async with px.Session("s", one("retry-holds", retries=3)) as session:
            turn = session.turn("n", own_outputs=False)
            for words in ("0 keep", "0 keep", f"{times} give one"):
                await turn.send(text(words))
            await session.receive("n")
            turn.give_up()
            assert await asked(session, "0 x") == ["0 x: 1"]  # the node has come to the end of the calls before
            assert not turn.is_over
            await session.send("n", text(f"{times} give all"))
            await turn.done()

    px.run(main())


def test_what_its_own_tasks_put_out_is_not_of_the_call(px: Any) -> None:
    async def main() -> None:
        async with NodeHost(retry_nodes.OwnTask("n", {}), retries=1, failure_marks=True) as host:
            assert [data.payload for data in await host.feed(text("1 a"))] == ["aside", "aside", "1 a: 2"]
            with pytest.raises(ValueError, match="9 b, asked 2"):
                await host.feed(text("9 b"))
            *_, mark = await host.finish()
            assert (mark.mark, mark.metadata["value"]["outputs"]) == (FAILURE, 0)

    px.run(main())


def test_node_by_node(px: Any) -> None:
    async def main() -> None:
        executor = MultiprocessExecutor()
        await executor.initialize()
        try:
            await executor.execute_node("retry-plain", "n", retries=1)
            session = await executor.start_session()
            assert await asked(session, "1 a") == ["1 a: 2"]
        finally:
            await executor.shutdown()

    px.run(main())


def test_in_a_host(px: Any) -> None:
    async def main() -> None:
        async with NodeHost(retry_nodes.Plain("n", {}), retries=2) as host:
            assert [data.payload for data in await host.feed(text("2 a"))] == ["2 a: 3"]
            assert [str(error) for error in host.retried] == ["2 a, asked 1", "2 a, asked 2"]
            assert host.failures == []
            with pytest.raises(ValueError, match="3 a, asked 3"):
                await host.feed(text("3 a"))

    px.run(main())


@pytest.mark.parametrize("wrong", [-1, 101, True, 1.0, None, "2"])
def test_what_is_no_number_of_retries(wrong: Any) -> None:
    with pytest.raises(PipelineError, match="retries of node 'n' must be a whole number from 0 to 100, not"):
        one("retry-plain", retries=wrong)
    with pytest.raises(PipelineError, match="retries of node 'n' must be"):
        NodeHost(retry_nodes.Plain("n", {}), retries=wrong)
