"""Audio samples of one dtype as another: float32 with full scale 1.0, and 16-bit PCM.

Loaded on first use, as most nodes take samples as they come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from remotemedia.core.data import DataType, RuntimeData

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["as_float32", "as_int16"]

_FLOAT32, _INT16 = np.dtype(np.float32), np.dtype(np.int16)
_PCM_16 = 32768.0


def as_float32(data: RuntimeData) -> npt.NDArray[np.float32]:
    """``RuntimeData.as_float32``."""
    samples = _samples_of(data, "as_float32")
    if samples.dtype == _FLOAT32:
        return samples
    converted = np.empty(samples.shape, np.float32)
    with np.errstate(over="ignore"):  # values that float32 cannot hold become infinite
        np.multiply(samples, 1 / _full_scale(samples), out=converted, dtype=np.float32, casting="same_kind")
    return converted


def as_int16(data: RuntimeData) -> npt.NDArray[np.int16]:
    """``RuntimeData.as_int16``."""
    samples = _samples_of(data, "as_int16")
    if samples.dtype == _INT16:
        return samples
    if samples.dtype.kind == "i" and samples.dtype.itemsize == 2:  # of the other byte order
        return samples.astype(np.int16)
    # float64 holds every int32.
    scaled = np.empty(samples.shape, np.float32 if samples.dtype == _FLOAT32 else np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        np.multiply(samples, _PCM_16 / _full_scale(samples), out=scaled, dtype=scaled.dtype, casting="same_kind")
    np.rint(scaled, out=scaled)
    np.nan_to_num(scaled, copy=False)
    return scaled.clip(-_PCM_16, _PCM_16 - 1, out=scaled).astype(np.int16)


def _full_scale(samples: npt.NDArray[Any]) -> float:
    return float(2.0 ** (8 * samples.dtype.itemsize - 1)) if samples.dtype.kind == "i" else 1.0


def _samples_of(data: RuntimeData, method: str) -> npt.NDArray[Any]:
    samples = data.payload
    if data.type is not DataType.AUDIO:
        raise TypeError(f"RuntimeData.{method} is for AUDIO, not for {data.type.name}; as_numpy() gives any array")
    if not isinstance(samples, np.ndarray):
        hint = ""
        if isinstance(samples, bytes | bytearray | memoryview):
            hint = "; np.frombuffer(data.payload, np.int16) makes one, if that is the type of its samples"
        raise TypeError(f"RuntimeData.{method} needs an array of samples, not {type(samples).__name__}{hint}")
    if samples.dtype.kind == "f" or (samples.dtype.kind == "i" and samples.dtype.itemsize in (2, 4)):
        return samples
    raise TypeError(
        f"RuntimeData.{method} takes samples of int16, int32 or a float dtype, not {samples.dtype}: nothing says what "
        "its full scale is"
    )
