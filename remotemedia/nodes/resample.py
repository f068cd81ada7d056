"""ResampleNode: audio of any rate and layout becomes mono float32 of one rate."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import numpy.typing as npt

from remotemedia._audio.samples import NotNumbers
from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode, Param, register_node
from remotemedia.nodes._common import Float32, audio_of, end_marker, import_library, warn_of

__all__ = ["ResampleNode"]

# Sums of larger samples, in the average or in the resampler, would be infinite.
_MOST = np.float32(1e30)


@register_node("ResampleNode")
class ResampleNode(MultiprocessNode):
    """Converts audio to mono float32 at ``sample_rate``, as a stream: the output does not depend on the chunking.

    Ports: input ``audio`` (any rate, float32, float64, int16 or int32; shape (n,) or (n, channels)); output
    ``audio`` (float32, shape (n,), full scale 1.0).

    Channels are averaged; integers are divided by their full scale. Before that NaN becomes 0 and infinity 1 or -1,
    because one of them would spoil all samples near it; a warning at the end says how many there were. Audio that
    already has the right form is passed on as the very same payload, without a copy or a check. The resampler holds
    back a few milliseconds, which come out at the end of the stream, before an end-of-utterance marker (a message of
    zero samples, which is passed on) and when the rate changes.
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
        self._quality: str = self.config["quality"]
        self._soxr: Any = None
        self._stream: Any = None
        self._stream_rate = 0
        self._numbers = NotNumbers()

    async def initialize(self) -> None:
        """Load the resampler; ImportError if it is not installed."""
        self._soxr = import_library(self, "soxr")

    async def process(self, data: RuntimeData) -> AsyncIterator[RuntimeData]:
        """Yield what ``data`` brings out of the resampler; TypeError or ValueError for anything but audio."""
        samples, form = audio_of(self, data)
        if self._stream is not None and (form.sample_rate != self._stream_rate or not samples.size):
            tail = self._end_stream()
            if tail.size:
                yield self._message(tail, data)
        if not samples.size:
            yield end_marker(self._sample_rate, timestamp=data.timestamp)
        elif form.sample_rate != self._sample_rate:
            resampled = self._open_stream(form.sample_rate).resample_chunk(self._mono(samples))
            if resampled.size:
                yield self._message(resampled, data)
        elif samples.dtype == np.float32 and samples.ndim == 1:
            yield data
        else:
            yield self._message(self._mono(samples), data)

    async def finish(self) -> RuntimeData | None:
        """The samples the resampler held back, if any."""
        tail = self._end_stream()
        warn_of(self, self._numbers)
        return RuntimeData.audio(tail, self._sample_rate) if tail.size else None

    async def on_interrupt(self) -> None:
        """Drop the samples the resampler holds back."""
        self._stream = None

    async def cleanup(self) -> None:
        """Let the resampler go."""
        self._stream = None
        warn_of(self, self._numbers)

    def _open_stream(self, rate: int) -> Any:
        if self._stream is None:
            self._stream = self._soxr.ResampleStream(rate, self._sample_rate, 1, dtype="float32", quality=self._quality)
            self._stream_rate = rate
        return self._stream

    def _end_stream(self) -> Float32:
        nothing = np.empty(0, np.float32)
        if self._stream is None:
            return nothing
        tail: Float32 = self._stream.resample_chunk(nothing, last=True)
        self._stream = None
        return tail

    def _message(self, samples: Float32, source: RuntimeData) -> RuntimeData:
        return RuntimeData.audio(samples, self._sample_rate, timestamp=source.timestamp)

    def _mono(self, samples: npt.NDArray[Any]) -> Float32:
        """Samples as mono float32, shape (n,), all of them numbers."""
        if samples.dtype.kind == "i":
            full_scale = 2.0 ** (8 * samples.dtype.itemsize - 1)
            samples = np.multiply(samples, 1 / full_scale, dtype=np.float32, casting="same_kind")
        with np.errstate(over="ignore"):  # values that float32 cannot hold become infinite
            samples = samples.astype(np.float32, copy=False)
        samples = self._numbers.replaced(samples).clip(-_MOST, _MOST)
        if samples.ndim == 1:
            return samples
        # Channel by channel, not mean(axis=1): numpy picks the order of a sum by the array's shape, so that the last
        # bit of the result would depend on the chunking.
        total = samples[:, 0].copy()
        for channel in range(1, samples.shape[1]):
            total += samples[:, channel]
        total /= np.float32(samples.shape[1])
        return total
