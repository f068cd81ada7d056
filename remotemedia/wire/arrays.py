"""TensorBuffer and NumpyBuffer <-> an array; BinaryBuffer <-> bytes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import remotemedia_v1_pb2 as pb

from remotemedia._telling import shown
from remotemedia.core.data import Payload
from remotemedia.errors import PayloadError
from remotemedia.wire.payload import add_payload, payload_at

__all__ = ["read_binary", "read_numpy", "read_tensor", "write_tensor"]

MAX_NDIM = 8
"""Of an array that goes through a channel; the ring's MAX_NDIM, which a client need not load."""
_TENSOR_DTYPES: dict[pb.TensorDtype, np.dtype[Any]] = {
    pb.TENSOR_DTYPE_F32: np.dtype("<f4"),
    pb.TENSOR_DTYPE_F16: np.dtype("<f2"),
    pb.TENSOR_DTYPE_I32: np.dtype("<i4"),
    pb.TENSOR_DTYPE_I8: np.dtype("i1"),
    pb.TENSOR_DTYPE_U8: np.dtype("u1"),
}
_TENSOR_NUMBERS = {dtype: number for number, dtype in _TENSOR_DTYPES.items()}
# What a dtype of 0 can mean: clients are known that lose the dtype on the way.
_BY_WIDTH: dict[int, np.dtype[Any]] = {4: np.dtype("<f4"), 2: np.dtype("<f2"), 1: np.dtype("u1")}
# Never np.dtype(name) of a name that was received: it knows objects, records and arrays of arrays.
_NUMPY_DTYPES: dict[str, np.dtype[Any]] = {}
for _code in ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"):
    _dtype = np.dtype(_code).newbyteorder("<")
    for _name in (_dtype.name, _dtype.str, _dtype.str[1:]):
        _NUMPY_DTYPES[_name] = _dtype
    _NUMPY_DTYPES.setdefault(_dtype.newbyteorder(">").str, _dtype.newbyteorder(">"))


def read_tensor(buffer: pb.TensorBuffer, payloads: Sequence[memoryview]) -> tuple[Payload, dict[str, Any]]:
    data = payload_at(buffer.data, payloads)
    shape = tuple(buffer.shape)
    count = _checked_count("TensorBuffer", shape)
    if buffer.dtype:
        dtype = _TENSOR_DTYPES.get(buffer.dtype)
        if dtype is None:
            choices = ", ".join(f"{number} ({each.name})" for number, each in _TENSOR_DTYPES.items())
            raise ValueError(f"TensorBuffer.dtype {buffer.dtype} is not one of {choices}")
    else:
        dtype = _BY_WIDTH.get(data.nbytes // count if count else 4)
        if dtype is None or dtype.itemsize * count != data.nbytes:
            raise ValueError(
                f"TensorBuffer.dtype is not set, and no dtype makes the {data.nbytes} bytes of data fit shape {shape}"
            )
    if count * dtype.itemsize != data.nbytes:
        raise ValueError(
            f"TensorBuffer.data has {data.nbytes} bytes, but shape {shape} of {dtype.name} is {count * dtype.itemsize}"
        )
    return np.ndarray(shape, dtype, data), {"layout": buffer.layout} if buffer.layout else {}


def read_numpy(buffer: pb.NumpyBuffer, payloads: Sequence[memoryview]) -> tuple[Payload, dict[str, Any]]:
    data = payload_at(buffer.data, payloads)
    shape, strides = tuple(buffer.shape), tuple(buffer.strides)
    dtype = _NUMPY_DTYPES.get(buffer.dtype)
    if dtype is None:
        raise ValueError(
            f"NumpyBuffer.dtype {shown(buffer.dtype, 40)} is not a bool or a number of fixed size, such as 'float32'"
        )
    size = _checked_count("NumpyBuffer", shape) * dtype.itemsize
    if not strides:
        if size != data.nbytes:
            raise ValueError(f"NumpyBuffer.data has {data.nbytes} bytes, but shape {shape} of {dtype.name} is {size}")
        return np.ndarray(shape, dtype, data, order="F" if buffer.f_contiguous and not buffer.c_contiguous else "C"), {}
    if len(strides) != len(shape):
        raise ValueError(f"NumpyBuffer.strides has {len(strides)} entries, but shape has {len(shape)}")
    if not size:
        return np.ndarray(shape, dtype), {}
    # The second holds against a stride of 0, which makes an array of any size of a few bytes.
    last = sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
    if min(strides) < 0 or last + dtype.itemsize > data.nbytes or size > data.nbytes:
        raise ValueError(
            f"NumpyBuffer.strides {strides} of shape {shape} and {dtype.name} leave the {data.nbytes} bytes of data"
        )
    return np.ndarray(shape, dtype, data, 0, strides), {}


def read_binary(buffer: pb.BinaryBuffer, payloads: Sequence[memoryview]) -> tuple[Payload, dict[str, Any]]:
    return payload_at(buffer.data, payloads), {"mime_type": buffer.mime_type} if buffer.mime_type else {}


def write_tensor(payload: Payload, rest: dict[str, Any], payloads: list[memoryview], out: pb.DataBuffer) -> None:
    """Sets the member of ``out`` that fits; takes from ``rest`` what that can say."""
    if isinstance(payload, str):
        raise PayloadError("a tensor needs an array or bytes, and has a str")
    if not isinstance(payload, np.ndarray):
        view = memoryview(payload)
        view = view.cast("B") if view.c_contiguous and view.nbytes else memoryview(view.tobytes())
        out.binary.data = add_payload(payloads, view)
        out.binary.mime_type = take_text(rest, "mime_type")
        return
    dtype = payload.dtype.newbyteorder("<")
    if dtype.name not in _NUMPY_DTYPES:
        raise PayloadError(f"arrays of dtype {payload.dtype} have no form; use a bool or number of up to 8 bytes")
    # Not ascontiguousarray, which makes an array of one value of an array without dimensions.
    array = np.asarray(payload, dtype, order="C")
    data = add_payload(payloads, array.reshape(-1).view(np.uint8).data)
    number = _TENSOR_NUMBERS.get(dtype)
    if number is not None:
        out.tensor.CopyFrom(pb.TensorBuffer(data=data, shape=array.shape, dtype=number))
        out.tensor.layout = take_text(rest, "layout")
        return
    flags = array.flags
    out.numpy.CopyFrom(
        pb.NumpyBuffer(
            data=data,
            shape=array.shape,
            dtype=dtype.name,
            strides=array.strides,
            c_contiguous=flags.c_contiguous,
            f_contiguous=flags.f_contiguous,
        )
    )


def take_text(rest: dict[str, Any], key: str) -> str:
    """Takes ``key`` out of ``rest`` if it is a text that is not empty; "" if not."""
    value = rest.get(key)
    if isinstance(value, str) and value:
        del rest[key]
        return value
    return ""


def _checked_count(field: str, shape: tuple[int, ...]) -> int:
    if len(shape) > MAX_NDIM:
        raise ValueError(f"{field}.shape has {len(shape)} dimensions; {MAX_NDIM} are allowed")
    # Even for an empty array, numpy wants the other dimensions to fit.
    if prod(length or 1 for length in shape) >> 58:
        raise ValueError(f"{field}.shape {shape} is too large")
    return prod(shape)
