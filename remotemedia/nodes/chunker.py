"""AudioChunkerNode: audio in messages of any size becomes audio in messages of one size."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import numpy.typing as npt

from remotemedia.core.data import AudioMetadata, DataType, RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode, Param, register_node
from remotemedia.nodes._common import audio_of, ends_speech

__all__ = ["AudioChunkerNode"]


@register_node("AudioChunkerNode")
class AudioChunkerNode(MultiprocessNode):
    """Re-blocks audio into chunks of exactly ``chunk_size`` samples; the samples themselves stay as they are.

    Ports: input ``audio`` (float32, float64, int16 or int32; shape (n,), or (n, channels) cut along axis 0);
    output ``audio``, of the same dtype, rate and channels.

    Chunks that lie inside one input message are slices of it, without a copy; samples that wait for the next
    message are copied. A shorter chunk comes out at the end of the stream, before the mark of the end of an utterance
    or a turn, before a message of zero samples (both are passed on), and when the format changes.
    """

    params = {"chunk_size": Param(int, 512, low=1, help="samples per chunk")}
    inputs = {"audio": DataType.AUDIO}
    outputs = {"audio": DataType.AUDIO}

    def __init__(self, node_id: str, config: dict[str, Any]) -> None:
        super().__init__(node_id, config)
        self._chunk_size: int = self.config["chunk_size"]
        self._held: npt.NDArray[Any] = np.empty(0, np.float32)
        self._held_count = 0
        self._form: AudioMetadata | None = None

    async def initialize(self) -> None:
        """Nothing to load."""

    async def process(self, data: RuntimeData) -> AsyncIterator[RuntimeData]:
        """Yield the chunks that ``data`` completes; TypeError or ValueError for anything but audio."""
        samples, form = audio_of(self, data)
        self.release()
        same_form = form == self._form and _layout(samples) == _layout(self._held)
        if self._held_count and not (same_form and samples.size):
            yield self._rest(timestamp=data.timestamp)
        if not samples.size:
            yield data
            return
        self._form = form
        taken = 0
        if self._held_count:
            taken = self._hold(samples)
            if self._held_count < self._chunk_size:
                self.hold(data)
                return
            yield self._rest(timestamp=data.timestamp)
        end = len(samples) - (len(samples) - taken) % self._chunk_size
        for at in range(taken, end, self._chunk_size):
            yield self._message(samples[at : at + self._chunk_size], timestamp=data.timestamp)
        if end < len(samples):
            self._held = np.empty((self._chunk_size, *samples.shape[1:]), samples.dtype)
            self._hold(samples[end:])
            self.hold(data)

    async def on_mark(self, mark: RuntimeData) -> AsyncIterator[RuntimeData]:
        """Yield the samples that did not fill a chunk, if speech ends here; then the mark."""
        if self._held_count and ends_speech(mark):
            self.release()
            yield self._rest(timestamp=mark.timestamp)
        yield mark

    async def finish(self) -> RuntimeData | None:
        """The samples that did not fill a chunk, if any."""
        return self._rest() if self._held_count else None

    async def on_interrupt(self) -> None:
        """Drop the samples that wait for the next message."""
        self._held_count = 0

    async def cleanup(self) -> None:
        """Nothing to release."""

    def _hold(self, samples: npt.NDArray[Any]) -> int:
        """Copy as many samples as the waiting chunk has room for; how many those were."""
        count = min(len(samples), self._chunk_size - self._held_count)
        self._held[self._held_count : self._held_count + count] = samples[:count]
        self._held_count += count
        return count

    def _rest(self, **fields: Any) -> RuntimeData:
        """The samples held, full or not, as a message; the next ones to be held get a new array."""
        rest = self._held[: self._held_count]
        self._held_count = 0
        return self._message(rest, **fields)

    def _message(self, samples: npt.NDArray[Any], **fields: Any) -> RuntimeData:
        assert self._form is not None
        return RuntimeData.audio(samples, self._form.sample_rate, self._form.channels, **fields)


def _layout(samples: npt.NDArray[Any]) -> tuple[Any, ...]:
    return samples.dtype, samples.shape[1:]
