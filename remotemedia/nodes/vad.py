"""SileroVADNode: lets only speech through, and says where each utterance ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from remotemedia._audio.samples import NotNumbers
from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.marks import END_OF_UTTERANCE
from remotemedia.core.multiprocessing import MultiprocessNode, Param, register_node
from remotemedia.nodes._common import SPEECH_RATE, Float32, end_marker, ends_speech, speech_of, warn_of
from remotemedia.nodes._speech_frames import SpeechFrames, frames_in

__all__ = ["SileroVADNode"]


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
        self._speech = SpeechFrames(
            self.config["threshold"], self.config["min_speech_ms"], self.config["speech_pad_ms"]
        )
        self._min_silence = max(1, frames_in(self.config["min_silence_ms"]))
        self._numbers = NotNumbers()

    async def initialize(self) -> None:
        """Load the detector's model; ImportError if it is not installed."""
        self._speech.load(self)

    async def process(self, data: RuntimeData) -> AsyncIterator[RuntimeData]:
        """Yield the frames and marks that ``data`` decides; TypeError or ValueError for any other audio."""
        samples = self._numbers.replaced(speech_of(self, data))
        self.release()
        if not samples.size:
            for message in self._end(timestamp=data.timestamp):
                yield message
        for frame in self._speech.frames(samples):
            for message in self._decide(frame, data.timestamp):
                yield message
            # A frame takes about a millisecond: a long message must not keep the loop from an interrupt.
            await asyncio.sleep(0)
        if self._speech.has_samples:
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
        self._speech.clear()

    async def cleanup(self) -> None:
        """Let the detector go."""
        self._speech.unload()
        warn_of(self, self._numbers)

    def _decide(self, frame: Float32, timestamp: float) -> Iterator[RuntimeData]:
        self._speech.hear(frame)
        for taken in self._speech.take():
            yield RuntimeData.audio(taken, SPEECH_RATE, timestamp=timestamp)
        if self._speech.speaking and self._speech.silent_frames >= self._min_silence:
            self._speech.stop()
            yield end_marker(SPEECH_RATE, timestamp=timestamp)

    def _end(self, **fields: Any) -> Iterator[RuntimeData]:
        """End of the stream, or of a part of it: the samples short of a frame belong to an open utterance."""
        if self._speech.speaking:
            if (rest := self._speech.rest()) is not None:
                yield RuntimeData.audio(rest, SPEECH_RATE, **fields)
            yield end_marker(SPEECH_RATE, **fields)
        self._speech.clear()
