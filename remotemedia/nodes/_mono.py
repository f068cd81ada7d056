"""Audio of any rate, dtype and layout becomes mono float32 of one rate, as a stream."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from remotemedia._audio.samples import NotNumbers
from remotemedia.core.multiprocessing import MultiprocessNode
from remotemedia.nodes._common import Float32, import_library

__all__ = ["MonoStream"]

# Sums of larger samples, in the average or in the resampler, would be infinite.
_MOST = np.float32(1e30)


class MonoStream:
    """Averages channels, divides integers by their full scale and resamples; what comes out does not depend on the
    chunking.

    Before that NaN becomes 0 and infinity 1 or -1, because one of them would spoil all samples near it.

    Attributes:
        numbers: how many samples were replaced.
    """

    def __init__(self, sample_rate: int, quality: str = "HQ") -> None:
        self.numbers = NotNumbers()
        self._sample_rate = sample_rate
        self._quality = quality
        self._soxr: Any = None
        self._stream: Any = None
        self._stream_rate = 0

    def load(self, node: MultiprocessNode, extra: str = "speech") -> None:
        """Load the resampler; ImportError that names ``extra`` if it is not installed."""
        self._soxr = import_library(node, "soxr", extra)

    def holds_back(self, next_rate: int | None) -> bool:
        """Whether samples are held back that do not belong to one stream with those of ``next_rate``; None: no more
        come."""
        return self._stream is not None and self._stream_rate != next_rate

    def resampled(self, samples: npt.NDArray[Any], rate: int) -> Float32:
        """What ``samples``, shape (n,) or (n, channels), of ``rate`` Hz bring out: shape (m,), possibly empty."""
        mono = self.mono(samples)
        if rate == self._sample_rate:
            return mono
        if self._stream is None:
            self._stream = self._soxr.ResampleStream(rate, self._sample_rate, 1, dtype="float32", quality=self._quality)
            self._stream_rate = rate
        resampled: Float32 = self._stream.resample_chunk(mono)
        return resampled

    def end(self) -> Float32:
        """The samples that the resampler held back; it begins anew."""
        nothing = np.empty(0, np.float32)
        if self._stream is None:
            return nothing
        tail: Float32 = self._stream.resample_chunk(nothing, last=True)
        self._stream = None
        return tail

    def drop(self) -> None:
        """Forget the samples that the resampler holds back."""
        self._stream = None

    def mono(self, samples: npt.NDArray[Any]) -> Float32:
        """Samples as mono float32, shape (n,), all of them numbers."""
        if samples.dtype.kind == "i":
            full_scale = 2.0 ** (8 * samples.dtype.itemsize - 1)
            samples = np.multiply(samples, 1 / full_scale, dtype=np.float32, casting="same_kind")
        with np.errstate(over="ignore"):  # values that float32 cannot hold become infinite
            samples = samples.astype(np.float32, copy=False)
        samples = self.numbers.replaced(samples).clip(-_MOST, _MOST)
        if samples.ndim == 1:
            return samples
        # Channel by channel, not mean(axis=1): numpy picks the order of a sum by the array's shape, so that the last
        # bit of the result would depend on the chunking.
        total = samples[:, 0].copy()
        for channel in range(1, samples.shape[1]):
            total += samples[:, channel]
        total /= np.float32(samples.shape[1])
        return total
