"""The one rule for samples that are not numbers: NaN becomes 0, positive infinity 1, negative infinity -1.

It applies where samples leave a pipeline or enter a calculation that one of them would spoil: in files and pipes,
before resampling, in detectors and recognisers. Finite samples beyond full scale keep their value; they are clipped
only where they become integers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["NotNumbers"]


class NotNumbers:
    """Replaces samples that are not numbers, and counts them.

    Attributes:
        nans, infinities: how many so far.
    """

    def __init__(self) -> None:
        self.nans = 0
        self.infinities = 0

    def replaced(self, samples: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The same array if all its samples are numbers, as integers always are; else a copy, by the rule."""
        if samples.dtype.kind != "f":
            return samples
        finite = np.isfinite(samples)
        if finite.all():
            return samples
        nans = int(np.isnan(samples).sum())
        self.nans += nans
        self.infinities += finite.size - int(finite.sum()) - nans
        replaced: npt.NDArray[Any] = np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0)
        return replaced

    def take_warning(self) -> str | None:
        """The replacements since the last call, as the end of a sentence; None if there were none."""
        parts = []
        if self.nans:
            parts.append(f"{_samples(self.nans)} NaN, taken as 0")
        if self.infinities:
            parts.append(f"{_samples(self.infinities)} infinite, taken as 1 or -1")
        self.nans = self.infinities = 0
        return "; ".join(parts) or None


def _samples(count: int) -> str:
    return f"{count} sample{' was' if count == 1 else 's were'}"
