"""Turns and what was played, as commands of a stream."""

from __future__ import annotations

from typing import Any

import pytest
import remotemedia_v1_pb2 as pb

pytestmark = pytest.mark.usefixtures("leak_check")

Control = pb.StreamControl
END, GIVE_UP, PLAYED = Control.COMMAND_END_TURN, Control.COMMAND_GIVE_UP_TURN, Control.COMMAND_PLAYED


def told(responses: list[pb.StreamResponse]) -> list[Any]:
    """In order: (text, turns) of each result, and the number of each turn that is done."""
    found: list[Any] = []
    for each in responses:
        if each.HasField("result"):
            (buffer,) = each.result.data_outputs.values()
            words = "mark" if buffer.HasField("control") else buffer.text.text_data.decode()
            found.append((words, list(each.result.turns)))
        elif each.HasField("turn_done"):
            found.append(each.turn_done.turn)
    return found


@pytest.mark.parametrize("size", [1, 20_000])
def test_a_turn_is_done_after_its_last_result(px: Any, sv: Any, size: int) -> None:
    """Of long ones, more than gRPC takes for a client that does not read."""
    long, short = "a" * size, "b" * size

    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.ready(sv.chain("t-echo", "t-echo"), marks=True)
            for number in range(1001, 1021):
                for word in (long, short):
                    await stream.chunk("n0", word, turn=number)
                await stream.chunk("n0", "none")
                await stream.command(END, turn=number, node_id="n0")
            found: list[Any] = []
            while len(found) < 100:
                found += told([await stream.read()])
            words = [one for one in found if isinstance(one, tuple)]
            assert words == [
                word
                for number in range(1001, 1021)
                for word in ((long, [number]), (short, [number]), ("none", []), ("mark", [number]))
            ]
            for number in range(1001, 1021):
                assert found.index(number) > found.index(("mark", [number])), number
            await stream.close()
            assert told(await stream.finish()) == found

    px.run(main())


def test_a_client_without_turns_hears_of_none(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.ready(sv.chain("t-echo"))
            await stream.chunk("n0", "a", turn=7)
            await stream.chunk("n0", "b")
            await stream.close()
            assert told(await stream.finish()) == [("a", [7]), ("b", [])]

    px.run(main())


def test_turns_without_a_chunk(px: Any, sv: Any) -> None:
    """As many as nobody could count, one after the other."""

    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.ready(sv.chain("t-echo"))
            for number in range(1, 1501):
                await stream.command(END if number % 2 else GIVE_UP, turn=number, node_id="n0")
                assert (await stream.read_a("turn_done")).turn == number

    px.run(main())


def test_output_numbers_count_up(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.ready(sv.chain("t-echo"))
            for word in "abc":
                await stream.chunk("n0", word)
            await stream.close()
            results = [each.result for each in await stream.finish() if each.HasField("result")]
            assert [result.output_sequence for result in results] == [0, 1, 2]

    px.run(main())


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "END_TURN without a turn": (
        {"command": END, "node_id": "n0"},
        "COMMAND_END_TURN: turn must be the number that the chunks of the turn have, from 1",
    ),
    "GIVE_UP_TURN without a turn": ({"command": GIVE_UP}, "COMMAND_GIVE_UP_TURN: turn must be the number"),
    "END_TURN at a node that takes no input": (
        {"command": END, "turn": 1, "node_id": "n1"},
        "COMMAND_END_TURN: node 'n1' takes no input; the input nodes are: 'n0'",
    ),
    "END_TURN at no node": ({"command": END, "turn": 1}, "COMMAND_END_TURN: node '' is not in the pipeline"),
    "PLAYED of a node whose output nobody gets": (
        {"command": PLAYED, "node_id": "n0", "played_secs": 1},
        "COMMAND_PLAYED: node 'n0' is not an output node; the output nodes are: 'n1'",
    ),
    "PLAYED of no node": ({"command": PLAYED}, "COMMAND_PLAYED: node '' is not in the pipeline"),
}


@pytest.mark.parametrize(("command", "why"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes(px: Any, sv: Any, command: dict[str, Any], why: str) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.ready(sv.chain("t-echo", "t-echo"))
            await stream.command(**command)
            error = await stream.read_a("error")
            assert error.error_type == pb.ERROR_TYPE_VALIDATION
            assert why in error.message

    px.run(main())


def test_a_turn_after_the_end_of_its_input(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.ready(sv.graph([sv.node("n0"), sv.node("other")]))
            await stream.chunk("n0", "a", turn=3)
            await stream.command(Control.COMMAND_END_INPUT, node_id="n0")
            await stream.command(END, turn=3, node_id="n0")
            await stream.close()
            assert sorted(told(await stream.finish()), key=str) == [("a", [3]), 3]

    px.run(main())


def test_as_many_as_can_be_counted_do_not_hold_up_what_ends_them(px: Any, sv: Any) -> None:
    """The node holds them all until the end of its input."""

    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.ready(sv.chain("t-holds"))
            for number in range(1, 1024):
                await stream.chunk("n0", "a", turn=number)
                await stream.command(END, turn=number, node_id="n0")
            await stream.command(GIVE_UP, turn=5000)
            await stream.close()
            assert (await stream.finish())[-1].HasField("closed")

    px.run(main())


def test_a_turn_does_not_end_within_a_frame(px: Any, sv: Any) -> None:
    audio = pb.AudioBuffer(samples=b"\1\2\3", sample_rate=8000, channels=1, format=pb.AUDIO_FORMAT_I16)

    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.ready(sv.graph([sv.node("n0"), sv.node("other")]))
            for node_id, turn in (("other", 1), ("n0", 2)):
                await stream.chunk(node_id, pb.DataBuffer(audio=audio), turn=turn)
            await stream.chunk("other", pb.DataBuffer(audio=audio), turn=1)
            await stream.command(END, turn=1, node_id="other")
            await stream.command(END, turn=2, node_id="n0")
            responses = await stream.finish()
            assert "1 byte of a frame" in responses[-1].error.message
            assert responses[-1].error.failing_node_id == "n0"

    px.run(main())


@pytest.mark.parametrize("secs", [-1.0, float("nan"), 1e300])
def test_nonsense_that_was_played_is_not_minded(px: Any, sv: Any, secs: float) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.ready(sv.chain("t-echo"))
            await stream.chunk("n0", "a")
            assert await stream.result() == ("n0", "a")
            await stream.command(PLAYED, node_id="n0", played_secs=secs)
            await stream.command(PLAYED, node_id="n0", output_sequence=1 << 63)
            await stream.command(Control.COMMAND_INTERRUPT)
            interrupted = await stream.read_a("interrupted")
            assert interrupted.heard["n0"].delivered.output_sequence == 0
            assert not interrupted.heard["n0"].HasField("played")

    px.run(main())
