"""The form in which RuntimeData travels: what the extension needs to know of it."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from remotemedia import _ring
from remotemedia._telling import shown
from remotemedia.core.data import DataType, RuntimeData, decode_metadata, encode_metadata, make_with
from remotemedia.core.dtypes import decode_dtype, encode_dtype
from remotemedia.errors import PayloadError

__all__ = ["FORM"]


def _timestamp(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"RuntimeData.timestamp must be a number of seconds, not {shown(value)}") from None


def _refuse(payload: np.ndarray[Any, Any]) -> None:
    # A mere mention of np.ma imports it, for longer than thousands of messages take; a masked array has imported it.
    if "numpy.ma" in sys.modules and isinstance(payload, np.ma.MaskedArray):
        raise PayloadError("a masked array would lose its mask; send .filled(...) or data and mask as two messages")


FORM = _ring.MessageForm(
    RuntimeData,
    tuple(DataType),
    encode_metadata=encode_metadata,
    decode_metadata=decode_metadata,
    encode_dtype=encode_dtype,
    decode_dtype=decode_dtype,
    timestamp=_timestamp,
    refuse=_refuse,
)
make_with(FORM.make)
