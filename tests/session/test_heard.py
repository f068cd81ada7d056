"""What was heard of an answer: delivered to the program, and played by it."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import AudioMetadata, DataType, RuntimeData
from remotemedia.core.multiprocess.session.playback import Track
from remotemedia.core.multiprocessing import Heard, Pipeline, PipelineError, Position
from remotemedia.testing import NodeHost
from tests.session import heard_nodes, turn_nodes  # noqa: F401 - registers its nodes

pytestmark = pytest.mark.usefixtures("leak_check")


def talk() -> Pipeline:
    return (
        Pipeline()
        .add_node("heard-mind", "mind")
        .add_node("heard-voice", "voice")
        .connect("mind", "out", "voice", "input")
        .add_output("mind")
    )


def answer_of(count: int, origin: int = 0) -> RuntimeData:
    return RuntimeData.text(str(count), timestamp=100.0, origin=origin)


async def heard_of(session: Any, count: int, origin: int = 0) -> None:
    await session.send("mind", answer_of(count, origin))
    for _ in range(count):
        await session.receive("voice")


def test_delivered_and_played(px: Any) -> None:
    async def main() -> None:
        async with px.Session("s", talk()) as session:
            await heard_of(session, 5, origin=7)
            await session.played("voice", sequence=2)
            heard = (await session.interrupt()).heard
            assert heard["voice"] == Heard(
                Position(4, pytest.approx(0.5), 7, 104.0), Position(2, pytest.approx(0.3), 7, 102.0)
            )
            assert heard["mind"] == Heard(None, None)
            # From here on it is counted anew.
            assert (await session.interrupt()).heard["voice"] == Heard(None, None)
            await heard_of(session, 3)
            await session.played("voice", secs=0.15)
            await session.played("voice", secs=0.25)
            heard = (await session.interrupt(from_node="voice")).heard
            assert set(heard) == {"voice"}
            assert heard["voice"].delivered.secs == pytest.approx(0.3)
            assert heard["voice"].played == Position(heard["voice"].delivered.sequence, pytest.approx(0.25), 0, 102.0)

    px.run(main())


def test_each_node_is_told(px: Any) -> None:
    async def main() -> None:
        async with px.Session("s", talk()) as session:
            await heard_of(session, 4, origin=9)
            assert (await session.receive("mind")).payload == "4"
            assert (await session.receive("mind")).payload == ""
            await session.played("voice", sequence=1)
            await session.interrupt()
            await session.interrupt()
            await session.send("mind", answer_of(0))
            told = [(await session.receive("mind")).payload for _ in range(2)][1].split("\n")
            assert "voice delivered (3, 0.4, 9, 103.0)" in told
            assert "voice played (1, 0.2, 9, 101.0)" in told
            assert told.count("voice played None") == 1, "the second interruption has a report of its own"

    px.run(main())


def test_a_message_of_the_new_turn_waits_for_the_report(px: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with px.session("heard-mind") as session:
            supervisor = session._supervisor
            real, late = supervisor.broadcast, []
            for number in range(3):
                await session.send("n0", answer_of(0, origin=number + 1))
                for _ in range(2):
                    await session.receive("n0")
                monkeypatch.setattr(supervisor, "broadcast", lambda *said: late.append(said))
                interrupting = asyncio.create_task(session.interrupt())
                await px.until(lambda: late)
                await session.send("n0", answer_of(1))
                with pytest.raises(TimeoutError):
                    await session.receive("n0", timeout=0.05)
                monkeypatch.setattr(supervisor, "broadcast", real)
                real(*late.pop())
                told = [(await session.receive("n0")).payload for _ in range(2)][1].split("\n")
                assert len(told) == 2
                assert told[0].startswith(f"n0 delivered ({number * 4 + 1}, 0.0, {number + 1}, ")
                await interrupting

    px.run(main())


def test_mistakes(px: Any) -> None:
    async def main() -> None:
        async with px.Session("s", talk()) as session:
            with pytest.raises(ValueError, match="nothing of that node was received"):
                await session.played("voice", sequence=0)
            await heard_of(session, 2)
            for wrong in ({}, {"sequence": 1, "secs": 0.1}):
                with pytest.raises(ValueError, match="sequence of the message that was played, or secs; one of them"):
                    await session.played("voice", **wrong)
            with pytest.raises(ValueError, match="message 2 was not received yet; the last one is 1"):
                await session.played("voice", sequence=2)
            for secs in (0.3, -0.1, float("nan")):
                with pytest.raises(ValueError, match=r"are not within the 0\.200 s of audio"):
                    await session.played("voice", secs=secs)
            with pytest.raises(PipelineError, match="'no' is not an output node"):
                await session.played("no", secs=0.1)

    px.run(main())


def test_in_one_process() -> None:
    async def main() -> None:
        async with NodeHost(heard_nodes.Mind("m", {})) as host:
            await host.feed(answer_of(0))
            await host.interrupt({"voice": Heard(Position(3, 1.5, 0, 2.0), None)})
            _, told = await host.feed(answer_of(0))
            assert told.payload == "voice delivered (3, 1.5, 0, 2.0)\nvoice played None"

    asyncio.run(main())


def test_stereo_counts_frames(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-echo") as session:
            for samples, channels in ((np.zeros((50, 2), np.int16), 2), (np.zeros(100, np.int16), 2)):
                await session.send("n0", RuntimeData.audio(samples, 100, channels))
                await session.receive("n0")
            assert (await session.interrupt()).heard["n0"].delivered.secs == pytest.approx(1.0)

    px.run(main())


def sound(number: int, samples: int = 1000) -> RuntimeData:
    data = RuntimeData.audio(np.zeros(samples, np.float32), 1000, timestamp=float(number))
    data.sequence = number
    return data


def test_where_a_position_lies() -> None:
    track = Track()
    for number in range(3):
        track.deliveries.add(sound(number))
    track.play(None, 0.0)
    assert track.heard().played is None
    track.play(None, 1.0)
    assert track.heard().played == Position(0, 1.0, 0, 0.0), "of the next message nothing was heard"
    track.play(None, 2.5)
    track.play(None, 2.25)
    assert track.heard().played == Position(2, 2.5, 0, 2.0), "it goes forward"
    track.play(1, None)
    assert track.heard().played == Position(2, 2.5, 0, 2.0)
    track.play(2, None)
    assert track.heard() == Heard(Position(2, 3.0, 0, 2.0), Position(2, 3.0, 0, 2.0))


def test_turns_that_are_read_in_another_order() -> None:
    """What was read first was played first."""
    track = Track()
    for number in (3, 4, 0, 1):
        track.deliveries.add(sound(number))
    assert track.heard().delivered == Position(1, 4.0, 0, 1.0)
    track.play(4, None)
    assert track.heard().played == Position(4, 2.0, 0, 4.0)
    track.play(None, 2.5)
    assert track.heard().played == Position(0, 2.5, 0, 0.0)
    with pytest.raises(ValueError, match="message 5 was not received yet; the last one is 4"):
        track.play(5, None)


def test_what_was_delivered_very_long_ago_is_forgotten() -> None:
    track = Track()
    for number in range(12_000):
        track.deliveries.add(sound(number, 1))
    track.play(1000, None)
    assert track.heard().played is None
    track.play(11_000, None)
    assert track.heard().played == Position(11_000, pytest.approx(11.001), 0, 11_000.0)


def test_turns_and_their_marks(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-echo") as session:
            turns = [session.turn("n0") for _ in range(2)]
            for turn in turns:
                for number in range(2):
                    await turn.send(sound(number, 100))
                await turn.end()
            for turn in reversed(turns):
                last = [data.sequence async for _, data in turn.outputs()][-1]
                await session.played("n0", sequence=last)
            heard = (await session.interrupt()).heard["n0"]
            assert heard.delivered == heard.played == Position(last, pytest.approx(0.4), 0, 1.0)

    px.run(main())


def test_an_output_of_two_turns_is_delivered_once(px: Any) -> None:
    pipeline = Pipeline().add_node("t-echo", "left").add_node("t-echo", "right").add_node("turn-pairs", "join")
    pipeline.connect("left", "output", "join", "input").connect("right", "output", "join", "input")

    async def main() -> None:
        async with px.Session("s", pipeline) as session:
            turns = [session.turn("left"), session.turn("right")]
            for turn in turns:
                await turn.send(RuntimeData.text(turn.origin.node_id))
            for turn in turns:
                await anext(turn.outputs())
            known = session._playback._tracks["join"].deliveries
            assert known.newest == 0
            known.play_up_to(0)
            assert known.played == known.delivered
            known.clear()
            assert (known.newest, known.delivered, known.played, known.secs) == (-1, None, None, 0.0)

    px.run(main())


def test_audio_of_each_layout() -> None:
    track = Track()
    for samples, channels in (
        (np.zeros(100, np.int16), 1),
        (np.zeros((100, 2), np.float32), 2),
        (np.zeros(200, np.float32), 2),
        (np.zeros((3, 100), np.float32), 1),
    ):
        data = RuntimeData.tensor(samples)
        data.type, data.metadata = DataType.AUDIO, AudioMetadata(1000, channels, "f32")
        track.deliveries.add(data)
    assert track.heard().delivered == Position(0, pytest.approx(0.303), 0, pytest.approx(data.timestamp))
    with pytest.raises(TypeError, match="publish takes a RuntimeData, not int"):
        track.deliveries.add(3)
    for wrong in (RuntimeData.tensor(np.zeros(5)), RuntimeData.text("x")):
        track.deliveries.add(wrong)
    assert track.deliveries.secs == pytest.approx(0.303)
