"""The wire form of numpy dtypes: text that gives back an equal dtype, or a refusal that says why. Never pickle."""

from __future__ import annotations

import ast
import warnings
from typing import Any

import numpy as np

from remotemedia.errors import ChannelCorruptedError, PayloadError

__all__ = ["decode_dtype", "encode_dtype"]

# Everything whose values are bytes of a fixed size. Objects and variable-width strings are pointers.
_KINDS = "biufcmMSUV"

# How numpy and ast refuse. Not every Exception: a signal handler may raise here, and that says nothing of the bytes.
_NOT_A_DTYPE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
    Warning,
)


def encode_dtype(dtype: np.dtype[Any]) -> bytes:
    """``dtype`` as bytes; PayloadError when an equal dtype could not be made from them."""
    if dtype.hasobject:
        raise PayloadError(
            f"arrays of dtype {dtype} hold Python objects, which live in one process only; use a fixed-size dtype"
        )
    if dtype.kind not in _KINDS:
        raise PayloadError(f"arrays of dtype {dtype} cannot travel; use a fixed-size dtype")
    if _is_unsized(dtype):
        raise PayloadError(f"dtype {dtype!r} has no length; numpy would make another of it at the other end")
    if dtype.names is None:
        text = dtype.str
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a dtype's metadata is not part of its equality
            try:
                text = repr(np.lib.format.dtype_to_descr(dtype))
            except ValueError as error:
                raise PayloadError(f"arrays of dtype {dtype} cannot travel: {error}") from None
    raw = text.encode()
    try:
        if decode_dtype(raw) == dtype:
            return raw
    except ChannelCorruptedError:  # nested too deep to be read again: the channel itself is sound
        pass
    raise PayloadError(f"dtype {dtype!r} cannot be described to another process; view the array as another dtype")


def decode_dtype(raw: bytes) -> np.dtype[Any]:
    """The dtype ``encode_dtype`` described; ChannelCorruptedError for anything else."""
    try:
        text = raw.decode()
        description: Any = ast.literal_eval(text) if text.startswith("[") else text
        dtype: np.dtype[Any] = np.lib.format.descr_to_dtype(description)
    except _NOT_A_DTYPE as error:
        raise ChannelCorruptedError(f"{raw[:80]!r} is not a dtype: {error}") from None
    # A scribbled "|O" would turn bytes of shared memory into pointers.
    # An array cannot have the dtype "(2,3)<f4": numpy would turn it into more dimensions than the header has.
    if dtype.hasobject or dtype.kind not in _KINDS or _is_unsized(dtype) or dtype.subdtype is not None:
        raise ChannelCorruptedError(f"dtype {dtype} cannot have been sent")
    return dtype


def _is_unsized(dtype: np.dtype[Any]) -> bool:
    # numpy takes a string of length 0 for "of a length to be found", and an array of it gets length 1.
    return dtype.itemsize == 0 and dtype.kind in "SU"
