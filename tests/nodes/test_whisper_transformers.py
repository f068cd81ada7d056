"""WhisperNode run by transformers: on tiny.en in that library's form, and on an untrained model with two languages."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import Pipeline, Session
from remotemedia.nodes import WhisperNode
from remotemedia.testing import NodeHost
from tests.nodes._checkpoints import convert, make_tiny
from tests.nodes._heard import marker, texts, words_of, wrong_words

RATE = 16_000
AUSTEN = "sense_and_sensibility_01_austen_64kb-0930"


def node(folder, **config):
    # One thread: the pool that OpenMP makes for more stays for ever, and would be a leak of the test run.
    return WhisperNode("w", {"model": str(folder), "backend": "transformers", "cpu_threads": 1, **config})


@pytest.fixture(scope="module", autouse=True)
def transformers(tmp_path_factory):
    """The library in this process, without pools of threads and without its cache in the folder of all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("torch")))
        for module in ("torch", "transformers"):
            pytest.importorskip(module, reason=f"needs {module}, of the extra [transformers]")
        import torch
        from transformers.utils import logging

        torch.set_num_threads(1)
        logging.disable_progress_bar()
        yield


@pytest.fixture(scope="module")
def converted(tiny_en, tmp_path_factory):
    """tiny.en as transformers reads it."""
    return convert(Path(tiny_en), tmp_path_factory.mktemp("weights") / "tiny.en")


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """A model that has heard nothing yet: in English or German it says up to 445 letters."""
    return make_tiny(tmp_path_factory.mktemp("weights") / "untrained")


@pytest.fixture
def hum():
    return RuntimeData.audio(np.sin(np.arange(2 * RATE) / 20).astype(np.float32) * 0.3, RATE)


def test_it_hears_what_the_library_hears(drive, said, converted):
    import torch
    from transformers import pipeline

    alone = pipeline("automatic-speech-recognition", model=str(converted), device="cpu")
    asked = {
        "num_beams": 1,
        "temperature": (0.0, 0.4),
        "no_speech_threshold": 0.6,
        "logprob_threshold": -1.0,
        "compression_ratio_threshold": 2.4,
    }
    for samples, _ in said.values():
        torch.manual_seed(1)
        expected = alone(samples.copy(), return_timestamps=True, generate_kwargs=asked)["text"]
        heard = drive(node(converted, beam_size=1), [RuntimeData.audio(samples, RATE)])
        assert texts(heard) == [expected.strip()]


def test_words_have_their_times_and_probabilities(drive, said, tiny_en, converted):
    samples, _ = said[AUSTEN]
    outputs = drive(node(converted), [RuntimeData.audio(samples, RATE)])
    assert [output.port for output in outputs] == ["partial", "text", "words"]
    other = drive(WhisperNode("w", {"model": tiny_en, "cpu_threads": 1}), [RuntimeData.audio(samples, RATE)])
    ours, theirs = (json.loads(texts(one, "words")[0]) for one in (outputs, other))
    assert " ".join(word["word"] for word in ours) == texts(outputs)[0]
    assert [word["word"] for word in ours] == [word["word"] for word in theirs]
    for word, same in zip(ours, theirs, strict=True):
        # Each library has a rule of its own for where a pause after a word belongs.
        assert abs(word["start"] - same["start"]) < 0.1 and abs(word["end"] - same["end"]) < 0.6
        assert 0 < word["probability"] <= 1
    assert sum(word["probability"] for word in ours) / len(ours) > 0.5


def test_an_utterance_of_more_than_30_s_is_heard_to_its_end(drive, said, converted):
    parts = [part for samples, _ in said.values() for part in (samples, np.zeros(RATE, np.float32))]
    stream = np.concatenate(parts * 2)
    assert len(stream) > 30 * RATE
    outputs = drive(node(converted, beam_size=1, segment="marks"), [RuntimeData.audio(stream, RATE), marker()])
    words = [word for _, spoken in said.values() for word in spoken] * 2
    assert len(texts(outputs)) == 1
    assert wrong_words(words, words_of(texts(outputs)[0])) / len(words) < 0.12
    ends = [word["end"] for word in json.loads(texts(outputs, "words")[0])]
    assert ends == sorted(ends) and len(stream) / RATE - 3 < ends[-1] <= len(stream) / RATE


def test_sounds_that_are_no_speech_give_no_text(drive, converted):
    random = np.random.default_rng(0)
    sounds = [np.zeros(3 * RATE), random.normal(0, 0.1, 3 * RATE), np.sin(np.arange(3 * RATE) / 50) * 0.1]
    messages = [RuntimeData.audio(sound.astype(np.float32), RATE) for sound in sounds]
    assert drive(node(converted, beam_size=1), messages) == []


def test_an_interruption_ends_the_decoding_with_its_token(untrained, hum):
    asked = []

    async def turns():
        began = asyncio.Event()
        loop = asyncio.get_running_loop()
        whisper = node(untrained, beam_size=1, segment="marks", log_prob_threshold=-100)
        async with NodeHost(whisper) as host:
            recogniser = whisper._recogniser
            leave = recogniser._leave_if_stopped

            def counted(tokens, scores, **more):
                asked.append(recogniser._stop.is_set())
                loop.call_soon_threadsafe(began.set)
                return leave(tokens, scores, **more)

            recogniser._leave_if_stopped = counted
            await host.send(hum)
            await host.send(marker())
            await began.wait()
            await host.interrupt()
            return await host.feed(hum) + await host.feed(marker())

    asyncio.run(turns())
    # Once for the turn that was cut off; the other is decoded to its end.
    assert asked.count(True) == 1
    assert asked.index(True) < 100 and len(asked) - asked.index(True) > 300


def test_the_language_is_found_out_or_given(drive, untrained, hum):
    for language in (None, "de", "en"):
        config = {"language": language, "task": "translate", "log_prob_threshold": -100.0, "beam_size": 1}
        outputs = drive(node(untrained, compression_ratio_threshold=100, **config), [hum])
        assert [output.port for output in outputs][-2:] == ["text", "words"]
    with pytest.raises(ValueError, match=r"WhisperNode: param 'language': model .* has no 'fr'; it has de, en"):
        drive(node(untrained, language="fr"), [])


def test_loading_reports_bytes(untrained, converted):
    async def load(folder):
        async with NodeHost(node(folder)) as host:
            return host.progress

    for folder, size in ((untrained, 1), (converted, 76)):
        steps = asyncio.run(load(folder))
        fractions = [fraction for fraction, _ in steps]
        assert fractions == sorted(fractions)
        name = folder.name
        assert steps[0] == (0.0, "loading transformers")
        assert (0.6, f"reading {name}, {size} of {size} MB") in steps
        assert steps[-1] == (0.6, f"loading {name}, {size} MB, on cpu as float32")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"task": "translate"}, r"'task': model .* is for English alone, and cannot translate"),
        ({"compute_type": "int8"}, r"'compute_type': transformers does not compute in 'int8'; it does in float32, "),
        ({"device": "cuda"}, r"'device': there is no CUDA device that this process can use"),
    ],
)
def test_what_the_model_or_the_machine_cannot_do(drive, converted, config, message):
    import torch

    if "device" in config and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(ValueError, match=f"WhisperNode: param {message}"):
        drive(node(converted, **config), [])


def test_a_model_for_the_other_library_says_which_runs_it(drive, tiny_en, untrained):
    with pytest.raises(FileNotFoundError, match=r"\(no transformers model: .*; backend 'faster-whisper' can run it\)"):
        drive(node(tiny_en), [])
    with pytest.raises(FileNotFoundError, match=r"\(no CTranslate2 model: .*; backend 'transformers' can run it\)"):
        drive(WhisperNode("w", {"model": str(untrained)}), [])


def test_weights_that_are_not_whole(drive, untrained, tmp_path):
    folder = shutil.copytree(untrained, tmp_path / "half")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    with pytest.raises(Exception, match=r"(?i)safetensor|incomplete|metadata"):
        drive(node(folder), [])
    weights.unlink()
    with pytest.raises(FileNotFoundError, match=r"it lacks model.safetensors\)"):
        drive(node(folder), [])


def test_missing_weights_name_the_command(drive, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as raised:
        drive(node("base"), [])
    assert f"{tmp_path} (no openai/whisper-base)" in str(raised.value)
    assert str(raised.value).endswith("; to get them: remotemedia models fetch base --backend transformers")


def test_in_a_process_of_its_own(said, converted):
    async def talk():
        params = {"model": str(converted), "backend": "transformers", "language": "en"}
        pipeline = Pipeline().add_node("WhisperNode", "asr", params)
        async with Session("s", pipeline) as session:
            await session.send("asr", RuntimeData.audio(said[AUSTEN][0], RATE))
            while (data := await session.receive("asr")).port != "text":
                pass
            return data.payload

    assert "amiable himself" in asyncio.run(talk())
