"""EspeakTTSNode: text comes out as blocks of speech."""

import asyncio

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.nodes import EspeakTTSNode
from remotemedia.nodes.tts import SOME_VOICES
from remotemedia.testing import NodeHost

pytest.importorskip("espeakng_loader")

# The only kind of voice with no memory of what was spoken before it in the same process.
KLATT = {"voice": "en-us+klatt6"}


def joined(messages):
    return np.concatenate([message.payload for message in messages])


def test_speech_comes_in_blocks_of_mono_float32(drive):
    sent = drive(EspeakTTSNode("t", {"block_ms": 100}), [RuntimeData.text("Good morning to you.")])
    assert len(sent) > 5
    assert all(0 < len(message.payload) <= 22_050 // 10 + 1 for message in sent)
    speech = joined(sent)
    assert speech.dtype == np.float32
    assert 0.1 < np.abs(speech).max() <= 1
    assert (sent[0].metadata.sample_rate, sent[0].metadata.channels) == (22_050, 1)


def test_the_same_texts_give_the_same_speech_in_a_new_node(drive):
    texts = [RuntimeData.text("One."), RuntimeData.text("Zwei, drei; naïve."), RuntimeData.text("with\0null")]
    one, other = (joined(drive(EspeakTTSNode("t", KLATT), texts)) for _ in range(2))
    assert np.array_equal(one, other)


def test_config_changes_the_speech(drive):
    text = [RuntimeData.text("Good morning to you.")]
    plain = joined(drive(EspeakTTSNode("t", {}), text))
    assert len(joined(drive(EspeakTTSNode("t", {"rate": 300}), text))) < 0.8 * len(plain)
    assert not np.array_equal(joined(drive(EspeakTTSNode("t", {"pitch": 90}), text)), plain)
    assert not np.array_equal(joined(drive(EspeakTTSNode("t", {"voice": "en-us+f3"}), text)), plain)


def test_another_sample_rate_is_resampled(drive):
    pytest.importorskip("soxr")
    text = [RuntimeData.text("Good morning to you.")]
    plain = joined(drive(EspeakTTSNode("t", KLATT), text))
    resampled = drive(EspeakTTSNode("t", {**KLATT, "sample_rate": 16_000}), text)
    assert resampled[0].metadata.sample_rate == 16_000
    assert len(joined(resampled)) == pytest.approx(len(plain) * 16_000 / 22_050, abs=2)


@pytest.mark.parametrize("text", ["", "  \n "])
def test_nothing_to_say_gives_nothing(drive, text):
    assert drive(EspeakTTSNode("t", {}), [RuntimeData.text(text)]) == []


def test_a_reply_cut_off_leaves_the_node_ready():
    async def turns():
        async with NodeHost(EspeakTTSNode("t", {})) as host:
            await host.send("a very long story. " * 2000)
            assert await host.receive() is not None
            await host.interrupt()
            return joined(await host.feed("Hello."))

    after = asyncio.run(turns())
    assert 0 < len(after) < 22_050 * 2


def test_an_unknown_voice_is_an_error_that_names_some(drive):
    with pytest.raises(ValueError, match="'voice': eSpeak NG has no voice 'nobody'; it has en-us, "):
        drive(EspeakTTSNode("t", {"voice": "nobody"}), [])


@pytest.mark.parametrize("voice", SOME_VOICES)
def test_the_voices_it_names_exist(drive, voice):
    assert drive(EspeakTTSNode("t", {"voice": voice}), []) == []


def test_audio_is_refused(drive):
    with pytest.raises(TypeError, match="EspeakTTSNode takes TEXT"):
        drive(EspeakTTSNode("t", {}), [RuntimeData.audio(np.zeros(1, np.float32), 16_000)])
