"""Where an utterance ends in a stream of speech: at a mark, at a pause, or with its message."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from remotemedia.nodes._common import SPEECH_RATE, Float32

__all__ = ["WHOLE_MESSAGE_SECS", "Utterance", "Utterances"]

WHOLE_MESSAGE_SECS = 1.0
"""A message this long is taken for a recording, not for a piece of a stream."""

# What the detector takes per call; it accepts nothing else.
_FRAME = 512
_SPEECH, _SILENCE = 0.5, 0.35
_LONGEST_FRAMES = 30 * SPEECH_RATE // _FRAME
# Where no pause comes within the longest utterance, it is cut where speech is least likely, this near its end.
_CUT_WITHIN_FRAMES = 10 * SPEECH_RATE // _FRAME
_CUT_WIDTH_FRAMES = 5
# The detector is late by some frames, and soft sounds begin before it hears them.
_LEAD_FRAMES = SPEECH_RATE // 2 // _FRAME


class Utterance(NamedTuple):
    """Samples, 16 kHz mono float32, shape (n,), and how many seconds of the turn came before them."""

    samples: Float32
    start_secs: float


class Utterances:
    """Cuts a stream of 16 kHz mono float32 into utterances. What comes out depends on the samples and the marks alone,
    not on the chunking.

    Once a mark was seen, only marks and the end of the stream end an utterance. Until then a pause does, which the
    detector finds, or a length of 30 s; silence without speech is dropped.

    Args:
        detector: Silero's, which has ``process_samples`` and ``reset``; None if marks alone count.
        min_silence_ms: the pause that ends an utterance, in milliseconds; rounded up to 32 ms.

    Attributes:
        marked: whether only marks count.
    """

    def __init__(self, detector: Any, min_silence_ms: float) -> None:
        self.marked = detector is None
        self._detector = detector
        self._pause_frames = max(1, math.ceil(min_silence_ms * SPEECH_RATE / 1000 / _FRAME))
        # Frames; while only marks count, pieces of any size.
        self._pieces: list[Float32] = []
        self._rest = np.empty(0, np.float32)
        self._start = 0
        # For each frame gathered, how likely it is speech.
        self._probabilities: list[float] = []
        self._first_speech: int | None = None
        self._silent_frames = 0

    @property
    def has_samples(self) -> bool:
        """Whether it keeps some that are in no utterance yet."""
        return bool(self._pieces) or self._rest.size > 0

    def add(self, samples: Float32) -> list[Utterance]:
        """Takes the next samples, shape (n,), and copies what it keeps; the utterances that they complete."""
        if self.marked:
            self._pieces.append(samples.copy())
            return []
        samples = np.concatenate((self._rest, samples))
        end = len(samples) - len(samples) % _FRAME
        self._rest = samples[end:].copy()
        decided = (self._decide(samples[at : at + _FRAME].copy()) for at in range(0, end, _FRAME))
        return [utterance for utterance in decided if utterance is not None]

    def whole(self, samples: Float32) -> list[Utterance]:
        """What was gathered, and then all of ``samples`` as an utterance of its own."""
        gathered = self.end()
        start, self._start = self._start, self._start + len(samples)
        return [*gathered, Utterance(samples.copy(), start / SPEECH_RATE)]

    def mark(self) -> list[Utterance]:
        """Ends the utterance: somebody else knows where utterances end, so pauses do not count any more."""
        self.marked = True
        return self._take(0)

    def may_end(self) -> Float32:
        """A copy of what was gathered, shape (n,): somebody who knows where utterances end may be about to say so."""
        self.marked = True
        gathered = np.concatenate([*self._pieces, self._rest])
        # Where only marks count, what comes next is a piece: the rest comes before it.
        if self._rest.size:
            self._pieces.append(self._rest)
            self._rest = self._rest[:0]
        return gathered

    def end(self) -> list[Utterance]:
        """Ends the utterance with the stream, or before samples that do not belong to it."""
        if self.marked:
            return self._take(0)
        if self._rest.size:
            padded = np.zeros(_FRAME, np.float32)
            padded[: len(self._rest)] = self._rest
            self._hear(padded)
        return self._take(self._lead() if self._first_speech is not None else None)

    def clear(self) -> None:
        """Forgets everything but that marks count: a new turn begins."""
        self._pieces.clear()
        self._rest = np.empty(0, np.float32)
        self._start = 0
        self._probabilities.clear()
        self._first_speech = None
        self._silent_frames = 0
        if self._detector is not None:
            self._detector.reset()

    def _decide(self, frame: Float32) -> Utterance | None:
        self._hear(frame)
        self._pieces.append(frame)
        if self._first_speech is None:
            # Kept all the same, as a mark may still come; but not for ever.
            if len(self._pieces) > _LONGEST_FRAMES:
                self._drop(len(self._pieces) - _LEAD_FRAMES)
        elif self._silent_frames >= self._pause_frames:
            return self._cut(len(self._pieces))
        elif len(self._pieces) - self._lead() >= _LONGEST_FRAMES:
            return self._cut(self._least_speech())
        return None

    def _hear(self, frame: Float32) -> None:
        """Takes note of how likely the next frame is speech."""
        probability: float = self._detector.process_samples(frame.tolist())
        if probability >= _SPEECH:
            if self._first_speech is None:
                self._first_speech = len(self._probabilities)
            self._silent_frames = 0
        elif self._silent_frames or probability < _SILENCE:
            self._silent_frames += 1
        self._probabilities.append(probability)

    def _lead(self) -> int:
        """The frame that an utterance begins with, a little before its first speech."""
        return max(0, (self._first_speech or 0) - _LEAD_FRAMES)

    def _least_speech(self) -> int:
        """The frame near the end of what was gathered around which speech is least likely."""
        recent = np.array(self._probabilities[-_CUT_WITHIN_FRAMES:])
        around = np.convolve(recent, np.ones(_CUT_WIDTH_FRAMES), mode="valid")
        return len(self._probabilities) - len(recent) + int(around.argmin()) + _CUT_WIDTH_FRAMES // 2

    def _cut(self, end: int) -> Utterance:
        """The utterance up to frame ``end``; what comes after it begins the next one."""
        first = self._lead()
        utterance = Utterance(np.concatenate(self._pieces[first:end]), (self._start + first * _FRAME) / SPEECH_RATE)
        self._drop(end)
        return utterance

    def _drop(self, count: int) -> None:
        del self._pieces[:count], self._probabilities[:count]
        self._start += count * _FRAME
        speech = [number for number, probability in enumerate(self._probabilities) if probability >= _SPEECH]
        self._first_speech = speech[0] if speech else None
        if not speech:
            self._silent_frames = 0

    def _take(self, first: int | None) -> list[Utterance]:
        """All that was gathered, from piece ``first`` on; with None it was silence, and is dropped."""
        pieces, start = [*self._pieces, self._rest], self._start
        self.clear()
        self._start = start + sum(map(len, pieces))
        if first is None or not (samples := np.concatenate(pieces[first:])).size:
            return []
        return [Utterance(samples, (start + sum(map(len, pieces[:first]))) / SPEECH_RATE)]
