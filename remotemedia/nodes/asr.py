"""PocketSphinxNode: speech becomes text while it is spoken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np

from remotemedia._audio.samples import NotNumbers
from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.marks import EAGER_END_OF_UTTERANCE, END_OF_UTTERANCE
from remotemedia.core.multiprocessing import MultiprocessNode, Param, register_node
from remotemedia.nodes._common import SPEECH_RATE, Float32, ends_speech, import_library, speech_of, warn_of

__all__ = ["PocketSphinxNode"]

# The decoder normalises over the audio of one call, so its result depends on how audio is split into calls. It
# therefore gets frames of its own: 128 ms of int16.
_FRAME_BYTES = 2 * 2048


@register_node("PocketSphinxNode")
class PocketSphinxNode(MultiprocessNode):
    """Recognises English speech with PocketSphinx and the model that comes with it: quickly, and poorly.

    It gets more than every third word of what people say wrong; WhisperNode is for speech that matters. This one needs
    no weights, and gives words while they are spoken.

    Ports: input ``audio`` (16 kHz mono float32 in messages of any size; the mark of the end of an utterance or a
    turn ends it, and so does a message of zero samples); outputs ``partial`` (TEXT: the words so far, whenever they
    change) and ``text`` (TEXT: the words of an ended utterance; nothing if there were none). The words are lower case,
    without punctuation.

    The words depend on the samples of the utterance alone: not on how they were split into messages, nor on earlier
    utterances. Samples are copied out of the input; NaN is taken as 0 and infinity as 1 or -1, and a warning at the end
    says how many there were.
    """

    params = {"language": Param(str, "en-us", choices=("en-us",), help="of the speech")}
    inputs = {"audio": DataType.AUDIO}
    outputs = {"text": DataType.TEXT, "partial": DataType.TEXT}

    def __init__(self, node_id: str, config: dict[str, Any]) -> None:
        super().__init__(node_id, config)
        self._decoder: Any = None
        self._first_cmn = ""
        self._waiting = bytearray()
        self._open = False
        self._partial = ""
        self._numbers = NotNumbers()

    async def initialize(self) -> None:
        """Load the model, about half a second; ImportError if PocketSphinx is not installed."""
        self.report_progress(0.0, "loading the en-us model")
        self._decoder = import_library(self, "pocketsphinx").Decoder(samprate=SPEECH_RATE, loglevel="FATAL")
        self._first_cmn = self._decoder.get_cmn()

    async def process(self, data: RuntimeData) -> AsyncIterator[dict[str, RuntimeData]]:
        """Yield the words understood so far, and at the end of an utterance all of them.

        TypeError or ValueError for anything but 16 kHz mono float32.
        """
        samples = self._numbers.replaced(speech_of(self, data))
        self.release()
        if not samples.size:
            text = self._end()
            if text:
                yield {"text": RuntimeData.text(text, timestamp=data.timestamp)}
            return
        self._waiting += _int16(samples)
        while len(self._waiting) >= _FRAME_BYTES:
            frame = bytes(self._waiting[:_FRAME_BYTES])
            del self._waiting[:_FRAME_BYTES]
            partial = self._decode(frame)
            if partial and partial != self._partial:
                self._partial = partial
                yield {"partial": RuntimeData.text(partial, timestamp=data.timestamp)}
            # A long message must not keep the loop from an interrupt.
            await asyncio.sleep(0)
        self.hold(data)

    async def on_mark(self, mark: RuntimeData) -> AsyncIterator[RuntimeData | dict[str, RuntimeData]]:
        """Yield the words of the utterance that ends here, if any; other marks than its end are passed on."""
        if ends_speech(mark):
            self.release()
        if ends_speech(mark) and (text := self._end()):
            yield {"text": RuntimeData.text(text, timestamp=mark.timestamp)}
        if mark.mark not in (EAGER_END_OF_UTTERANCE, END_OF_UTTERANCE):
            yield mark

    async def finish(self) -> dict[str, RuntimeData] | None:
        """The words of the utterance that is open, if any."""
        text = self._end()
        warn_of(self, self._numbers)
        return {"text": RuntimeData.text(text)} if text else None

    async def on_interrupt(self) -> None:
        """Forget the open utterance; no text comes out."""
        self._waiting.clear()
        self._end()

    async def cleanup(self) -> None:
        """Let the decoder go."""
        self._decoder = None
        warn_of(self, self._numbers)

    def _decode(self, frame: bytes) -> str:
        if not self._open:
            # The normalisation learnt from one utterance would change the words of the next.
            self._decoder.set_cmn(self._first_cmn)
            self._decoder.start_utt()
            self._open = True
        self._decoder.process_raw(frame, False, False)
        return self._hypothesis()

    def _end(self) -> str:
        """End the open utterance; its words, "" if there are none."""
        if self._waiting:
            self._decode(bytes(self._waiting))
        self._waiting.clear()
        self._partial = ""
        if not self._open:
            return ""
        self._decoder.end_utt()
        self._open = False
        return self._hypothesis()

    def _hypothesis(self) -> str:
        hypothesis = self._decoder.hyp()
        return hypothesis.hypstr if hypothesis else ""


def _int16(samples: Float32) -> bytes:
    """Samples as 16-bit PCM, rounded and clipped; the inverse of dividing int16 by 32768."""
    scaled = np.rint(samples * np.float32(32768)).clip(-32768, 32767)
    return bytes(scaled.astype(np.int16))
