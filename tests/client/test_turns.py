"""Turns of a remote session: as those of a local one, with what is on the way between the two."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from remotemedia.client import PipelineClient, RemoteSession
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import (
    END_OF_TURN,
    NodeProcessError,
    PayloadError,
    Pipeline,
    PipelineError,
    ResourceLimitError,
    SessionStateError,
)

pytestmark = pytest.mark.usefixtures("leak_check")

text = RuntimeData.text


def chain(*kinds: str, **config: Any) -> Pipeline:
    pipeline = Pipeline()
    for number, kind in enumerate(kinds):
        pipeline.add_node(kind, f"n{number}", config)
        if number:
            pipeline.connect(f"n{number - 1}", "output", f"n{number}", "input")
    return pipeline


async def asked(session: RemoteSession, words: str) -> list[str]:
    return [str(data.payload) async for data in session.ask("n0", text(words))]


def remote(px: Any, service: Any, pipeline: Pipeline, work: Any) -> Any:
    """``work`` with a session of this pipeline."""

    async def main() -> Any:
        async with PipelineClient(service.target) as client, client.session(pipeline) as session:
            return await work(session)

    return px.run(main())


@pytest.mark.parametrize(
    ("kinds", "words", "answers"),
    [
        (("t-echo",), "a", ["a"]),
        (("t-echo", "turn-do", "t-echo"), "many 7", [str(number) for number in range(7)]),
        (("turn-do", "t-echo"), "nothing", []),
        (("turn-pairs",), "alone", ["alone"]),
        (("turn-late", "t-echo"), "c", ["c.0", "c.1"]),
    ],
)
def test_ask_gives_all_that_is_made_of_one_message(
    px: Any, service: Any, kinds: Any, words: str, answers: list[str]
) -> None:
    async def work(session: RemoteSession) -> None:
        for _ in range(20):
            assert await asked(session, words) == answers

    remote(px, service, chain(*kinds), work)


def test_each_of_many_questions_gets_its_own_answers(px: Any, service: Any) -> None:
    async def work(session: RemoteSession) -> list[list[str]]:
        return await asyncio.gather(*(asked(session, str(number)) for number in range(20)))

    found = remote(px, service, chain("turn-late", "t-echo", times=3), work)
    assert found == [[f"{number}.{part}" for part in range(3)] for number in range(20)]


def test_a_turn_of_many_messages_ends_with_its_mark(px: Any, service: Any) -> None:
    async def work(session: RemoteSession) -> None:
        for count in (0, 1, 4, 5):
            async with session.turn("n0") as turn:
                for number in range(count):
                    await turn.send(text(str(number)))
            said = [str(data.payload) async for _, data in turn.outputs()]
            assert "+".join(said) == "+".join(map(str, range(count)))
            assert turn.is_over
            await turn.done()
        assert turn.origin == ("n0", 4)
        with pytest.raises(SessionStateError, match="the input of turn 4 has ended; begin another with turn"):
            await turn.send(text("more"))
        await turn.end()

    remote(px, service, chain("t-echo", "turn-pairs"), work)


def test_an_output_that_is_made_of_two_turns_is_of_both(px: Any, service: Any) -> None:
    pipeline = Pipeline().add_node("t-echo", "left").add_node("t-echo", "right").add_node("turn-pairs", "join")
    pipeline.connect("left", "output", "join", "input").connect("right", "output", "join", "input")

    async def work(session: RemoteSession) -> None:
        for _ in range(20):
            turns = session.turn("left"), session.turn("right")
            await turns[0].send(text("l"))
            await turns[1].send(text("r"))
            found = [await anext(turn.outputs()) for turn in turns]
            assert found[0][1] is found[1][1] and found[0][1].payload in ("l+r", "r+l")

    remote(px, service, pipeline, work)


def test_outputs_may_go_to_receive_as_ever(px: Any, service: Any) -> None:
    """More of them than the client holds without being asked for: done() must not wait behind them."""

    async def work(session: RemoteSession) -> None:
        await session.send("n0", text("before"))
        async with session.turn("n0", own_outputs=False) as turn:
            await turn.send(text("many 500"))
        await session.send("n0", text("after"))
        await turn.done()
        came = [await session.receive("n0") for _ in range(503)]
        said = [data.mark or data.payload for data in came if data is not None]
        assert said == ["before", *map(str, range(500)), END_OF_TURN, "after"]
        with pytest.raises(SessionStateError, match="go to receive"):
            await anext(turn.outputs())

    remote(px, service, chain("turn-do"), work)


def test_what_others_are_to_receive_waits_for_them(px: Any, service: Any) -> None:
    async def work(session: RemoteSession) -> None:
        for number in range(150):
            await session.send("n0", text(f"plain {number}"))
        assert await asked(session, "asked") == ["asked"]
        came = [await session.receive("n0") for _ in range(150)]
        assert [data and data.payload for data in came] == [f"plain {number}" for number in range(150)]
        await session.end_input()
        assert await session.receive("n0") is None

    remote(px, service, chain("t-echo"), work)


def test_who_leaves_early_gets_nothing_more(px: Any, service: Any) -> None:
    async def work(session: RemoteSession) -> None:
        for _ in range(10):
            outputs = session.ask("n0", text("many 300"))
            assert (await anext(outputs)).payload == "0"
            await outputs.aclose()
            assert await asked(session, "next") == ["next"]

    remote(px, service, chain("turn-do", "t-echo"), work)


def test_a_turn_that_is_given_up_has_no_mark(px: Any, service: Any) -> None:
    """So what a node holds of it stays there, until something else ends it."""

    async def work(session: RemoteSession) -> None:
        with pytest.raises(KeyError):
            async with session.turn("n0") as turn:
                await turn.send(text("half"))
                raise KeyError
        assert await asked(session, "whole") == ["half+whole"]
        await turn.done()

    remote(px, service, chain("turn-pairs"), work)


def test_an_interruption_ends_it(px: Any, service: Any) -> None:
    async def work(session: RemoteSession) -> None:
        for cut in (None, "n1", "n0"):
            outputs = session.ask("n0", text("many 100000"))
            assert (await anext(outputs)).payload == "0"
            await session.interrupt(from_node=cut)
            assert [data async for data in outputs] == []
            assert await asked(session, "x") == ["x"]

    remote(px, service, chain("t-echo", "turn-do"), work)


def test_a_failure_ends_it_and_the_session(px: Any, service: Any) -> None:
    async def work(session: RemoteSession) -> None:
        with pytest.raises(NodeProcessError, match="ValueError: no good"):
            await asked(session, "fail no good")
        with pytest.raises(NodeProcessError, match="ValueError: no good"):
            session.turn("n0").give_up()
            await asked(session, "fine")

    remote(px, service, chain("turn-do"), work)


def test_the_end_of_the_stream_ends_every_turn(px: Any, service: Any) -> None:
    async def work(session: RemoteSession) -> None:
        turn = session.turn("n0")
        await turn.send(text("a"))
        outputs = session.ask("n0", text("b"))
        assert (await anext(outputs)).payload == "b"
        await session.end_input()
        assert [data async for data in outputs] == []
        assert [data.payload async for _, data in turn.outputs()] == ["a"]
        assert turn.is_over
        await turn.end()

    remote(px, service, chain("turn-forgets"), work)


def test_an_input_that_has_ended_has_no_mark(px: Any, service: Any) -> None:
    pipeline = Pipeline().add_node("t-echo", "left").add_node("t-echo", "right").add_node("turn-pairs", "join")
    pipeline.connect("left", "output", "join", "input").connect("right", "output", "join", "input")

    async def work(session: RemoteSession) -> None:
        turn = session.turn("left")
        await turn.send(text("l"))
        await turn.send(text("r"), node_id="right")
        await session.end_input("right")
        await turn.end()
        assert [data.payload async for _, data in turn.outputs()] in (["l+r"], ["r+l"])

    remote(px, service, pipeline, work)


def test_what_is_cancelled_anywhere_leaves_no_turn_behind(px: Any, service: Any) -> None:
    async def work(session: RemoteSession) -> None:
        asks = [asyncio.create_task(asked(session, str(number))) for number in range(100)]
        for number, ask in enumerate(asks):
            for _ in range(number // 10):
                await asyncio.sleep(0)
            ask.cancel()
        await asyncio.gather(*asks, return_exceptions=True)
        big = RuntimeData.tensor(np.zeros(8 << 20, np.uint8))
        turn = session.turn("n0")
        await turn.send(big)
        ending = asyncio.create_task(turn.end())
        await asyncio.sleep(0)
        ending.cancel()
        await asyncio.gather(ending, return_exceptions=True)
        await turn.end()
        await turn.done()
        assert await asked(session, "last") == ["last"]
        await px.until(lambda: not session._stream.inbox._turns)

    remote(px, service, chain("t-echo"), work)


def test_what_is_given_up_makes_room(px: Any, service: Any) -> None:
    """The client holds as much as it does without being asked for."""

    async def work(session: RemoteSession) -> None:
        for leave in ("turn", "ask"):
            turn = session.turn("n0")
            outputs = session.ask("n0", text("many 300"))
            if leave == "turn":
                await turn.send(text("many 300"))
                await px.until(lambda turn=turn: len(turn._inbox.outputs) == 100)
                turn.give_up()
            else:
                await anext(outputs)
                await px.until(lambda: any(len(one.outputs) == 100 for one in session._stream.inbox._all()))
                await outputs.aclose()
            await session.send("n0", text("plain"))
            data = await session.receive("n0")
            assert data is not None and data.payload == "plain"

    remote(px, service, chain("turn-do"), work)


def test_an_output_of_two_turns_is_also_received_if_one_of_them_says_so(px: Any, service: Any) -> None:
    pipeline = Pipeline().add_node("t-echo", "left").add_node("t-echo", "right").add_node("turn-pairs", "join")
    pipeline.connect("left", "output", "join", "input").connect("right", "output", "join", "input")

    async def work(session: RemoteSession) -> None:
        own, other = session.turn("left"), session.turn("right", own_outputs=False)
        await own.send(text("l"))
        await other.send(text("r"))
        data = await session.receive("join")
        assert data is not None and data.payload in ("l+r", "r+l")
        assert (await anext(own.outputs()))[1] is data

    remote(px, service, pipeline, work)


def test_mistakes(px: Any, service: Any) -> None:
    async def work(session: RemoteSession) -> None:
        with pytest.raises(PipelineError, match="'n1' is not an input node"):
            session.turn("n1")
        with pytest.raises(PayloadError, match="max_message_bytes"):
            [data async for data in session.ask("n0", RuntimeData.tensor(np.zeros(1 << 25)))]
        assert await asked(session, "goes on") == ["goes on"]

    remote(px, service, chain("t-echo", "t-echo"), work)


def test_more_than_can_be_counted_end_the_session(px: Any, service: Any) -> None:
    async def work(session: RemoteSession) -> None:
        with pytest.raises(ResourceLimitError, match="1023 turns of the session are not over"):
            for _ in range(1024):
                await session.turn("n0").send(text("x"))
            while await session.receive("n0"):
                pass

    remote(px, service, chain("t-echo"), work)


def test_without_await(px: Any, service: Any) -> None:
    with PipelineClient(service.target) as client, client.session(chain("t-echo", "turn-pairs")) as session:
        assert [data.payload for data in session.ask("n0", text("a"))] == ["a"]
        with session.turn("n0") as turn:
            for words in ("b", "c", "d"):
                turn.send(text(words))
        assert [data.payload for _, data in turn.outputs()] == ["b+c", "d"]
        assert turn.is_over and turn.origin == ("n0", 2)
        with session.turn("n0", own_outputs=False) as turn:
            turn.send(text("e"))
        turn.done()
        data = session.receive("n1")
        assert data is not None and data.payload == "e"
        turn = session.turn("n0")
        turn.send(text("f"))
        turn.give_up()
        left = session.ask("n0", text("g"))
        assert next(left).payload == "f+g"
    left.close()  # the client is gone
