"""ResampleNode: audio of any rate and layout becomes mono float32 of one rate."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import numpy as np

from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.marks import END_OF_UTTERANCE
from remotemedia.core.multiprocessing import MultiprocessNode, Param, register_node
from remotemedia.nodes._common import Float32, audio_of, end_marker, ends_speech, warn_of
from remotemedia.nodes._mono import MonoStream

__all__ = ["ResampleNode"]


@register_node("ResampleNode")
class ResampleNode(MultiprocessNode):
    """Converts audio to mono float32 at ``sample_rate``, as a stream: the output does not depend on the chunking.

    Ports: input ``audio`` (any rate, float32, float64, int16 or int32; shape (n,) or (n, channels)); output
    ``audio`` (float32, shape (n,), full scale 1.0).

    Channels are averaged; integers are divided by their full scale. Before that NaN becomes 0 and infinity 1 or -1,
    because one of them would spoil all samples near it; a warning at the end says how many there were. Audio that
    already has the right form is passed on as the very same payload, without a copy or a check. The resampler holds
    back a few milliseconds, which come out at the end of the stream, before the mark of the end of an utterance or a
    turn, before a message of zero samples, and when the rate changes. It passes on marks, and one for such a message.
    """

    params = {
        "sample_rate": Param(int, 16_000, low=1, help="of the output, in Hz"),
        "quality": Param(str, "HQ", choices=("QQ", "LQ", "MQ", "HQ", "VHQ"), help="of the resampler, fast to good"),
    }
    inputs = {"audio": DataType.AUDIO}
    outputs = {"audio": DataType.AUDIO}

    def __init__(self, node_id: str, config: dict[str, Any]) -> None:
        super().__init__(node_id, config)
        self._sample_rate: int = self.config["sample_rate"]
        self._stream = MonoStream(self._sample_rate, self.config["quality"])

    async def initialize(self) -> None:
        """Load the resampler; ImportError if it is not installed."""
        self._stream.load(self)

    async def process(self, data: RuntimeData) -> AsyncIterator[RuntimeData]:
        """Yield what ``data`` brings out of the resampler; TypeError or ValueError for anything but audio."""
        samples, form = audio_of(self, data)
        self.release()
        if self._stream.holds_back(form.sample_rate if samples.size else None):
            tail = self._stream.end()
            if tail.size:
                yield self._message(tail, data)
        if not samples.size:
            yield end_marker(self._sample_rate, timestamp=data.timestamp)
        elif form.sample_rate == self._sample_rate and samples.dtype == np.float32 and samples.ndim == 1:
            yield data
        else:
            resampled = self._stream.resampled(samples, form.sample_rate)
            if resampled.size:
                yield self._message(resampled, data)
            self.hold(data)  # of which the resampler holds back a little

    async def on_mark(self, mark: RuntimeData) -> AsyncIterator[RuntimeData]:
        """Yield what the resampler held back, if speech ends here; then the mark, for audio of the new rate."""
        if ends_speech(mark) and self._stream.holds_back(None):
            self.release()
            tail = self._stream.end()
            if tail.size:
                yield self._message(tail, mark)
        yield end_marker(self._sample_rate, timestamp=mark.timestamp) if mark.mark == END_OF_UTTERANCE else mark

    async def finish(self) -> RuntimeData | None:
        """The samples the resampler held back, if any."""
        tail = self._stream.end()
        warn_of(self, self._stream.numbers)
        return RuntimeData.audio(tail, self._sample_rate) if tail.size else None

    async def on_interrupt(self) -> None:
        """Drop the samples the resampler holds back."""
        self._stream.drop()

    async def cleanup(self) -> None:
        """Let the resampler go."""
        self._stream.drop()
        warn_of(self, self._stream.numbers)

    def _message(self, samples: Float32, source: RuntimeData) -> RuntimeData:
        return RuntimeData.audio(samples, self._sample_rate, timestamp=source.timestamp)
