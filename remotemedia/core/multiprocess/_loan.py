"""Arrays lent out of a payload pool, to be filled in place and published without a copy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from remotemedia import _ring
from remotemedia.core.dtypes import encode_dtype
from remotemedia.errors import PayloadError

__all__ = ["loan_array", "try_loan_array"]


def loan_array(
    segment: _ring.Segment, shape: int | tuple[int, ...], dtype: npt.DTypeLike, spin_ns: int
) -> npt.NDArray[Any]:
    """A writable array in ``segment``'s pool; waits while there is no room. See ``Publisher.loan``."""
    checked = _checked_loan(shape, dtype)
    while True:
        array = _try_loan(segment, *checked)
        if array is not None:
            return array
        segment.wait_memory(spin_ns, 0)


def try_loan_array(
    segment: _ring.Segment, shape: int | tuple[int, ...], dtype: npt.DTypeLike
) -> npt.NDArray[Any] | None:
    """``loan_array`` without waiting: None while there is no room."""
    return _try_loan(segment, *_checked_loan(shape, dtype))


def _checked_loan(shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> tuple[tuple[int, ...], np.dtype[Any]]:
    dims = (shape,) if isinstance(shape, int) else tuple(int(d) for d in shape)
    if any(d < 0 for d in dims):
        raise ValueError(f"negative dimensions are not allowed: {dims}")
    if len(dims) > _ring.MAX_NDIM:
        raise PayloadError(f"an array may have at most {_ring.MAX_NDIM} dimensions, not {len(dims)}")
    kind = np.dtype(dtype)
    encode_dtype(kind)
    return dims, kind


def _try_loan(segment: _ring.Segment, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any] | None:
    size = dtype.itemsize * math.prod(shape)
    if size > segment.pool_bytes:
        raise PayloadError(
            f"an array of {size} bytes can never fit the pool of {segment.pool_bytes} bytes (shm_segment_size)"
        )
    block = segment.loan(size)
    return None if block is None else _ring.array_over(block, dtype, shape)
