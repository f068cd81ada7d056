"""Turns: an input, all that becomes of it, and the moment at which nothing more comes."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import (
    END_OF_TURN,
    MultiprocessConfig,
    NodeProcessError,
    Pipeline,
    PipelineError,
    ProcessCrashError,
    ResourceLimitError,
    SessionStateError,
)
from tests.session import turn_nodes

pytestmark = pytest.mark.usefixtures("leak_check")

text = RuntimeData.text


async def asked(session: Any, node_id: str, words: str, **how: Any) -> list[str]:
    return [str(data.payload) async for data in session.ask(node_id, text(words), **how)]


def chain(*kinds: str, **config: Any) -> Pipeline:
    pipeline = Pipeline()
    for number, kind in enumerate(kinds):
        pipeline.add_node(kind, f"n{number}", config if kind == "turn-late" else {})
        if number:
            pipeline.connect(f"n{number - 1}", "output", f"n{number}", "input")
    return pipeline


def diamond(end: str = "turn-pairs") -> Pipeline:
    """One input, two ways, and a join."""
    pipeline = Pipeline().add_node("t-echo", "in").add_node("t-echo", "left").add_node("t-echo", "right")
    pipeline.add_node(end, "join")
    for way in ("left", "right"):
        pipeline.connect("in", "output", way, "input").connect(way, "output", "join", "input")
    return pipeline


@pytest.mark.parametrize(
    ("kinds", "words", "answers"),
    [
        (("t-echo",), "a", ["a"]),
        (("t-echo", "turn-do", "t-echo"), "many 7", [str(number) for number in range(7)]),
        (("turn-do", "t-echo"), "nothing", []),
        (("turn-do", "t-echo"), "emit b", ["b"]),
        (("turn-pairs",), "alone", ["alone"]),
        (("turn-late", "t-echo"), "c", ["c.0", "c.1"]),
        (("turn-late", "turn-late"), "d", ["d.0.0", "d.0.1", "d.1.0", "d.1.1"]),
    ],
)
def test_ask_gives_all_that_is_made_of_one_message(px: Any, kinds: Any, words: str, answers: list[str]) -> None:
    async def main() -> None:
        async with px.Session("s", chain(*kinds)) as session:
            for _ in range(20):
                assert await asked(session, "n0", words) == answers

    px.run(main())


def test_where_branches_meet(px: Any) -> None:
    async def main() -> None:
        async with px.Session("s", diamond()) as session:
            for number in range(50):
                assert await asked(session, "in", f"{number}") == [f"{number}+{number}"]

    px.run(main())


def test_each_of_many_questions_gets_its_own_answers(px: Any) -> None:
    async def main() -> list[list[str]]:
        async with px.Session("s", chain("turn-late", "t-echo", times=3)) as session:
            return await asyncio.gather(*(asked(session, "n0", str(number)) for number in range(20)))

    assert px.run(main()) == [[f"{number}.{part}" for part in range(3)] for number in range(20)]


def test_an_output_that_is_made_of_two_turns_is_of_both(px: Any) -> None:
    pipeline = Pipeline().add_node("t-echo", "left").add_node("t-echo", "right").add_node("turn-pairs", "join")
    pipeline.connect("left", "output", "join", "input").connect("right", "output", "join", "input")

    async def main() -> None:
        async with px.Session("s", pipeline) as session:
            for _ in range(20):
                one, other = session.turn("left"), session.turn("right")
                await one.send(text("l"))
                await other.send(text("r"))
                await one.done()
                assert not one.is_over or other.is_over

    async def both() -> None:
        async with px.Session("s", pipeline) as session:
            for _ in range(20):
                one, other = session.turn("left"), session.turn("right")
                await one.send(text("l"))
                await other.send(text("r"))
                one._close()
                other._close()
                found = [[str(data.payload) async for _, data in turn.outputs()] for turn in (one, other)]
                assert found[0] == found[1] and found[0] in (["l+r"], ["r+l"])

    px.run(both())


def test_the_end_of_a_turn_comes_after_what_is_made_of_it_and_another(px: Any) -> None:
    """The node holds what descends from both; the mark is of one of them."""
    pipeline = Pipeline().add_node("t-echo", "left").add_node("t-echo", "right").add_node("turn-pairs", "join")
    pipeline.connect("left", "output", "join", "input").connect("right", "output", "join", "input")
    pipeline.add_node("turn-late", "late", {"times": 5}).connect("join", "output", "late", "input")

    async def main() -> None:
        async with px.Session("s", pipeline) as session:
            for _ in range(10):
                turns = [session.turn(way, own_outputs=False) for way in ("left", "right")]
                for turn in turns:
                    await turn.send(text(turn.origin.node_id))
                await px.until(lambda: session.get_status().nodes["late"].messages % 3 == 1)
                for turn in turns:
                    await turn.end()
                came = [await session.receive("late") for _ in range(7)]
                assert [data.mark for data in came] == [""] * 5 + [END_OF_TURN] * 2

    px.run(main())


def test_a_turn_is_not_over_before_its_failures_are_known(px: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The word of a failure, and the end of the turn, come by different ways."""

    async def main() -> None:
        async with px.session("turn-do") as session:
            supervisor = session._supervisor
            take, late = supervisor._take_message_failed, []
            monkeypatch.setattr(supervisor, "_take_message_failed", lambda *said: late.append(said))
            turn = session.turn("n0")
            await turn.send(text("fail late"))
            await turn.end()
            waiting = asyncio.create_task(turn.done())
            await px.until(lambda: late and session.get_status().nodes["n0"].messages == 2)
            await asyncio.sleep(0.02)
            assert not turn.is_over and not waiting.done()
            take(*late[0])
            assert [error.reason for error in await waiting] == ["ValueError: late"]

    px.run(main())


def test_a_turn_of_many_messages_ends_with_its_mark(px: Any) -> None:
    async def main() -> None:
        async with px.Session("s", chain("t-echo", "turn-pairs")) as session:
            for count in (0, 1, 4, 5):
                async with session.turn("n0") as turn:
                    for number in range(count):
                        await turn.send(text(str(number)))
                said = [str(data.payload) async for _, data in turn.outputs()]
                assert "+".join(said) == "+".join(map(str, range(count)))
                assert turn.is_over
                await session.done(turn.origin)
            assert turn.origin == ("n0", 4)
            with pytest.raises(SessionStateError, match="the input of turn 4 has ended; begin another with turn"):
                await turn.send(text("more"))

    px.run(main())


def test_outputs_may_go_to_receive_as_ever(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-echo") as session:
            await session.send("n0", text("before"))
            async with session.turn("n0", own_outputs=False) as turn:
                await turn.send(text("in it"))
            await session.send("n0", text("after"))
            assert await turn.done() == []
            came = [await session.receive("n0") for _ in range(4)]
            assert [data.mark or data.payload for data in came] == ["before", "in it", END_OF_TURN, "after"]
            with pytest.raises(SessionStateError, match="go to receive"):
                await anext(turn.outputs())

    px.run(main())


def test_what_others_are_to_receive_waits_for_them(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-echo") as session:
            for number in range(3):
                await session.send("n0", text(f"plain {number}"))
                assert await asked(session, "n0", f"asked {number}") == [f"asked {number}"]
            assert [(await session.receive("n0")).payload for _ in range(3)] == [
                f"plain {number}" for number in range(3)
            ]
            await session.end_input()
            assert await session.receive("n0") is None

    px.run(main())


def test_a_failure_is_raised_by_who_asked(px: Any) -> None:
    async def main() -> None:
        async with px.Session("s", chain("t-echo", "turn-do", "t-echo")) as session:
            for _ in range(20):
                with pytest.raises(NodeProcessError, match="ValueError: no good") as caught:
                    await asked(session, "n0", "fail no good")
                assert caught.value.node_id == "n1"
                assert await asked(session, "n0", "fail", on_failure="report") == []
                assert await asked(session, "n0", "fine") == ["fine"]
            async with session.turn("n0") as turn:
                for words in ("a", "fail 1", "b", "fail 2"):
                    await turn.send(text(words))
            assert [error.reason for error in await turn.done()] == ["ValueError: 1", "ValueError: 2"]
            assert [str(data.payload) async for _, data in turn.outputs(on_failure="report")] == ["a", "b"]

    px.run(main())


def test_an_interruption_ends_it(px: Any) -> None:
    async def main() -> None:
        async with px.Session("s", chain("t-echo", "turn-do")) as session:
            for cut in (None, "n1", "n0"):
                asking = asyncio.create_task(asked(session, "n0", "wait"))
                await px.until(lambda: session.get_status().nodes["n1"].state.value == "processing")
                await session.interrupt(from_node=cut)
                assert await asking == []
                assert await asked(session, "n0", "x") == ["x"]

    px.run(main())


def test_what_is_held_is_let_go_with_what_is_cut_off(px: Any) -> None:
    async def main() -> None:
        async with px.Session("s", chain("t-echo", "turn-pairs")) as session:
            turn = session.turn("n0")
            await turn.send(text("kept"))
            turn._close()
            await px.until(lambda: session.get_status().nodes["n1"].messages == 1)
            assert not turn.is_over
            await session.interrupt(from_node="n1")
            assert [data async for _, data in turn.outputs()] == []

    px.run(main())


def test_a_node_that_never_lets_go_keeps_the_turn_open_to_the_end_of_the_stream(px: Any) -> None:
    async def main() -> None:
        async with px.session("turn-forgets") as session:
            outputs = session.ask("n0", text("x"))
            assert (await anext(outputs)).payload == "x"
            more = asyncio.ensure_future(anext(outputs, None))
            await asyncio.sleep(0.05)
            assert not more.done()
            await session.end_input()
            assert await more is None

    px.run(main())


def test_what_hold_returned_may_be_kept_when_it_is_released(px: Any) -> None:
    async def main() -> None:
        async with px.session("turn-hoards") as session:
            last = None
            for number in range(5):
                turn = session.turn("n0")
                await turn.send(text(str(number)))
                turn._close()
                if last is not None:
                    await last.done()
                last = turn
            assert not last.is_over

    px.run(main())


def test_who_leaves_early_gets_nothing_more(px: Any) -> None:
    async def main() -> None:
        async with px.Session("s", chain("turn-do", "t-echo")) as session:
            for _ in range(10):
                outputs = session.ask("n0", text("many 30"))
                assert (await anext(outputs)).payload == "0"
                await outputs.aclose()
                assert await asked(session, "n0", "next") == ["next"]

    px.run(main())


def test_as_many_as_can_be_counted(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-echo") as session:
            turns = [session.turn("n0") for _ in range(1023)]
            with pytest.raises(ResourceLimitError, match="1023 turns of the session are not over"):
                session.turn("n0")
            turns[500].give_up()
            assert session.turn("n0").origin.number == 1024

    px.run(main())


def test_mistakes(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-echo", "t-echo") as session:
            with pytest.raises(ValueError, match="did not begin in this session: it had no turns"):
                await session.done(("n0", 1))
            with pytest.raises(PipelineError, match="'n1' is not an input node"):
                session.turn("n1")
            with pytest.raises(PipelineError, match="'no' is not an input node"):
                await asked(session, "no", "x")
            with pytest.raises(ValueError, match="on_failure is 'ignore'; it may be 'raise' or 'report'"):
                await asked(session, "n0", "x", on_failure="ignore")
            with pytest.raises(TypeError, match="float"):
                [data async for data in session.ask("n0", 1.5)]
            session.turn("n0").give_up()
            with pytest.raises(ValueError, match="did not begin in this session: its turns are 1 to"):
                await session.done(("n0", 77))
            assert await asked(session, "n0", "goes on") == ["goes on"]

    px.run(main())


@pytest.mark.parametrize("end", ["crash", "stop"])
def test_the_end_of_the_session_ends_the_wait(px: Any, end: str) -> None:
    async def main() -> None:
        async with px.Session("s", chain("t-echo", "turn-do")) as session:
            asking = asyncio.create_task(asked(session, "n0", "wait"))
            await px.until(lambda: session.get_status().nodes["n1"].state.value == "processing")
            if end == "crash":
                os.kill(session.pids["n1"], signal.SIGKILL)
                with pytest.raises(ProcessCrashError):
                    await asking
            else:
                await session.stop(abort=True)
                with pytest.raises(SessionStateError):
                    await asking

    px.run(main())


def test_hold_outside_a_call() -> None:
    node = turn_nodes.Forgets("n", {})
    node.release(node.hold(text("x")))
    node.release()


# --- the end of the input ---


def two_ways() -> Pipeline:
    """Two inputs, and a join."""
    pipeline = Pipeline().add_node("t-echo", "left").add_node("turn-slow", "right").add_node("turn-pairs", "join")
    return pipeline.connect("left", "output", "join", "input").connect("right", "output", "join", "input")


@pytest.mark.parametrize("late", [False, True])
def test_an_input_that_has_ended_has_no_mark_and_none_waits_for_it(px: Any, late: bool) -> None:
    """Whether it has ended before the end of the turn, or while its mark waits for room."""

    async def main() -> None:
        async with px.Session("s", two_ways(), MultiprocessConfig(channel_capacity=1)) as session:
            turn = session.turn("left")
            await turn.send(text("l"))
            for _ in range(1 if not late else 3):
                await turn.send(text("r"), node_id="right")
            if late:
                ending = asyncio.create_task(turn.end())
                await px.until(lambda: turn._marked)
                await session.end_input("right")
                await ending
            else:
                await session.end_input("right")
                await turn.end()
            said = [str(data.payload) async for _, data in turn.outputs()]
            assert sorted("+".join(said).split("+")) == ["l", *["r"] * (3 if late else 1)]
            assert await asked(session, "left", "next") == ["next"]

    px.run(main())


def test_a_cancelled_end_may_be_repeated_and_two_send_one_mark(px: Any) -> None:
    async def main() -> None:
        async with px.session("turn-slow", "turn-pairs", channel_capacity=1) as session:
            for cancelled in (True, False):
                turn = session.turn("n0", own_outputs=False)
                for words in "abc":
                    await turn.send(text(words))
                if cancelled:
                    with pytest.raises(TimeoutError):
                        async with asyncio.timeout(0.001):
                            await turn.end()
                await asyncio.gather(turn.end(), turn.end())
                await turn.done()
                came = [await session.receive("n1") for _ in range(3)]
                assert [data.mark or data.payload for data in came] == ["a+b", "c", END_OF_TURN]

    px.run(main())


def test_a_block_that_is_cancelled_at_its_end_gives_the_turn_up(px: Any) -> None:
    async def main() -> None:
        async with px.session("turn-slow", channel_capacity=1) as session:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001), session.turn("n0") as turn:
                    for words in "abc":
                        await turn.send(text(words))
            assert await turn.done() == []

    px.run(main())


def test_without_backpressure_a_mark_waits_for_room(px: Any) -> None:
    async def main() -> None:
        config = MultiprocessConfig(channel_capacity=1, enable_backpressure=False)
        async with px.Session("s", chain("turn-slow", "turn-pairs"), config) as session:
            for number in range(5):
                assert await asked(session, "n0", str(number)) == [str(number)]

    px.run(main())


def test_a_node_that_cancels_itself_at_the_mark_does_not_keep_it(px: Any) -> None:
    async def main() -> None:
        async with px.Session("s", chain("turn-cancels", "turn-pairs")) as session:
            for _ in range(5):
                assert await asked(session, "n0", "a", on_failure="report") == ["a"]
                with pytest.raises(NodeProcessError, match="CancelledError: its own"):
                    await asked(session, "n0", "a")

    px.run(main())


# --- who gets an output ---


def test_a_failure_is_raised_after_all_outputs(px: Any) -> None:
    async def main() -> None:
        async with px.Session("s", chain("turn-do", "turn-slow")) as session:
            async with session.turn("n0") as turn:
                for words in ("a", "fail", "b"):
                    await turn.send(text(words))
            came = []
            with pytest.raises(NodeProcessError):
                async for _, data in turn.outputs():
                    came.append(data.payload)
            assert came == ["a", "b"]

    px.run(main())


@pytest.mark.parametrize("given_up", [False, True])
def test_an_output_of_two_turns_is_also_received_if_one_of_them_says_so(px: Any, given_up: bool) -> None:
    async def main() -> None:
        async with px.Session("s", two_ways()) as session:
            own, other = session.turn("left"), session.turn("right", own_outputs=False)
            await own.send(text("l"))
            if given_up:
                own.give_up()
            await other.send(text("r"))
            data = await session.receive("join")
            assert data.payload in ("l+r", "r+l")
            if not given_up:
                own._close()
                assert [one.payload async for _, one in own.outputs()] == [data.payload]

    px.run(main())


def test_an_interruption_drops_what_was_not_read_of_turns(px: Any) -> None:
    """Also of one that is over."""

    async def main() -> None:
        async with px.session("turn-do", "t-echo") as session:
            over, open_one = session.turn("n0"), session.turn("n0")
            await over.send(text("many 5"))
            await over.end()
            await open_one.send(text("many 5"))
            await over.done()
            await px.until(lambda: session._books.pull() or len(open_one._kept) == 5)
            assert over.is_over
            await session.interrupt()
            assert [data async for _, data in over.outputs()] == []
            await open_one.end()
            assert [data async for _, data in open_one.outputs()] == []

    px.run(main())


@pytest.mark.parametrize("cancelled", [False, True])
def test_from_its_first_moment(px: Any, tmp_path: Any, cancelled: bool) -> None:
    """A node that is stuck acknowledges late; nothing of the old is read meanwhile, nor if interrupt() is cancelled."""
    file = tmp_path / "go on"
    pipeline = Pipeline().add_node("turn-blocks", "n0", {"file": str(file)})

    async def main() -> None:
        async with px.Session("s", pipeline) as session:
            turn = session.turn("n0")
            await turn.send(text("stuck"))
            await px.until(lambda: session._books.pull() or len(turn._kept) == 3)
            interrupting = asyncio.create_task(session.interrupt())
            await px.until(lambda: not turn._kept)
            if cancelled:
                interrupting.cancel()
            file.touch()
            await asyncio.gather(interrupting, return_exceptions=True)
            await turn.end()
            assert [data async for _, data in turn.outputs()] == []
            assert await asked(session, "n0", "next") == ["next0", "next1", "next2"]

    px.run(main())


def test_the_provenance_of_an_output_from_before_the_first_turn(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-echo") as session:
            await session.send("n0", text("a"))
            await session.receive("n0")
            before = session.provenance("n0")
            session.turn("n0").give_up()
            assert session.provenance("n0") == before
            await session.interrupt()
            assert session.was_cut(before)

    px.run(main())


def test_more_ends_than_there_can_be_turns_are_not_kept(px: Any) -> None:
    """Whoever sends marks of that name: a join does not gather them."""

    async def main() -> None:
        async with px.Session("s", two_ways()) as session:
            for number in range(1100):
                end = {"turn": 10**9 + number, "inputs": ["left", "right"], "epoch": 0}
                await session.send("left", RuntimeData.control(END_OF_TURN, end))
            for _ in range(1100 - 1024):
                assert (await session.receive("join")).mark == END_OF_TURN
            with pytest.raises(TimeoutError):
                await session.receive("join", timeout=0.05)
            assert await asked(session, "left", "goes on") == ["goes on"]

    px.run(main())
