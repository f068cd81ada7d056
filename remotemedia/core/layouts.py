"""How audio and video are laid out in arrays: what a shape means, and which are refused.

Each function raises a TypeError or ValueError that names the argument and says what to write instead.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from remotemedia._telling import shown

__all__ = ["audio_layout", "check_text", "frame_rate", "frame_size", "knows_format", "whole_number"]

LARGEST = 2**32 - 1
"""The largest number that the header of a message can hold."""

_SHOWN_CHARS = 40
_MOST_CHANNELS = 64
"""Without an explicit number of channels: (2, 16000) is more likely two channels, transposed."""

_PLANAR = 0
# Values per pixel, or _PLANAR if all planes are stacked in one array.
_FORMATS = {
    "rgb": 3,
    "rgba": 4,
    "bgr": 3,
    "bgra": 4,
    "gray": 1,
    "yuv420p": _PLANAR,
    "i420": _PLANAR,
    "nv12": _PLANAR,
}
_ALSO = {
    "rgb24": "rgb",
    "rgba32": "rgba",
    "bgr24": "bgr",
    "bgra32": "bgra",
    "gray8": "gray",
    "grey": "gray",
    "yuv420": "yuv420p",
}


def whole_number(name: str, value: Any, low: int = 0, high: int = LARGEST) -> int:
    """``value`` as an int: of any integer type, or a float without a fraction, such as 16000.0."""
    if type(value) is int and low <= value <= high:
        return value
    wrong: type[TypeError] | type[ValueError] = TypeError
    if not isinstance(value, bool | np.bool_):
        try:
            if isinstance(value, float | np.floating):
                wrong = ValueError
                number = int(value)
            else:
                number = operator.index(value)
                wrong = ValueError
            if number == value and low <= number <= high:
                return number
        except (TypeError, ValueError, OverflowError):  # the last two: NaN and infinity
            pass
    raise wrong(f"{name} must be a whole number from {low} to {high}, not {shown(value, _SHOWN_CHARS)}")


def frame_rate(name: str, value: Any) -> float:
    """``value`` as a number of frames per second."""
    wrong: type[TypeError] | type[ValueError] = TypeError
    if isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool):
        if 0 <= value < math.inf:
            return float(value)
        wrong = ValueError
    raise wrong(f"{name} must be a number of frames per second (0 = unknown), not {shown(value, _SHOWN_CHARS)}")


def audio_layout(samples: Any, sample_rate: Any, channels: Any, caller: str = "RuntimeData.audio") -> tuple[int, int]:
    """Sample rate and channels of ``samples``: one dimension, interleaved if there are several channels, or
    (frames, channels). Without ``channels`` the shape says how many. Errors begin with the name of the caller."""
    if not isinstance(samples, np.ndarray):
        raise TypeError(_no_array("audio", "samples", samples))
    if samples.dtype.kind not in "fiu":
        raise TypeError(f"{caller}: samples must be numbers such as float32 or int16, not {samples.dtype}")
    shape = samples.shape
    if samples.ndim not in (1, 2):
        raise ValueError(f"{caller}: samples must have shape (n,) or (n, channels), not {shape}")
    rate = whole_number(f"{caller}: sample_rate in Hz", sample_rate, 1)
    if channels is None:
        return rate, _channels_of(shape, caller)
    channels = whole_number(f"{caller}: channels", channels, 1)
    if samples.ndim == 1:
        if samples.size % channels:
            raise ValueError(f"{caller}: {samples.size} samples are not frames of {channels} channels each")
    elif shape[1] != channels:
        turn = "; use samples.T" if shape[0] == channels else ""
        found = f"{shape[1]} channels, not {channels}"
        raise ValueError(f"{caller}: shape {shape} is (n, channels), so {found}{turn}")
    return rate, channels


def _channels_of(shape: tuple[int, ...], caller: str) -> int:
    if len(shape) == 1:
        return 1
    if shape[1] == 0:
        raise ValueError(f"{caller}: shape {shape} is (n, channels), and has no channels")
    if shape[1] > _MOST_CHANNELS:
        raise ValueError(
            f"{caller}: shape {shape} is (n, channels), so {shape[1]} channels; for {shape[0]} channels pass "
            f"samples.T, else channels={shape[1]}"
        )
    return shape[1]


def frame_size(frame: Any, pixel_format: Any, caller: str = "RuntimeData.video") -> tuple[int, int]:
    """Width and height of the picture in ``frame``. Errors begin with the name of the caller."""
    if not isinstance(frame, np.ndarray):
        raise TypeError(_no_array("video", "pixels", frame))
    shape = frame.shape
    values = _FORMATS.get(pixel_format) if type(pixel_format) is str else None
    if values is None:
        values = _values_per_pixel(pixel_format)
    if values == _PLANAR:
        if len(shape) == 2 and shape[0] % 3 == 0 and shape[1] % 2 == 0:
            return shape[1], shape[0] // 3 * 2
        wanted = "(height * 3 // 2, width) with all planes in one array and an even width and height,"
    else:
        if (len(shape) == 3 and shape[2] == values) or (len(shape) == 2 and values == 1):
            return shape[1], shape[0]
        wanted = "(height, width)," if values == 1 else f"(height, width, {values}),"
    turn = "; use frame.transpose(1, 2, 0)" if len(shape) == 3 and shape[0] == values else ""
    raise ValueError(f"{caller}: a frame of {pixel_format!r} must have shape {wanted} not {shape}{turn}")


def knows_format(pixel_format: object) -> bool:
    """Whether a shape says how large a picture of this format is."""
    return isinstance(pixel_format, str) and _plain_name(pixel_format) in _FORMATS


def _plain_name(pixel_format: str) -> str:
    lower = pixel_format.lower()
    return _ALSO.get(lower, lower)


def _values_per_pixel(pixel_format: Any) -> int:
    if not isinstance(pixel_format, str):
        raise TypeError(f"RuntimeData.video: format must be a str, not {shown(pixel_format, _SHOWN_CHARS)}")
    values = _FORMATS.get(_plain_name(pixel_format))
    if values is None:
        raise ValueError(
            f"RuntimeData.video: format {shown(pixel_format, _SHOWN_CHARS)} is not one of {', '.join(_FORMATS)}; for "
            "another use RuntimeData(DataType.VIDEO, frame, metadata=VideoMetadata(width, height, format, fps))"
        )
    return values


def check_text(value: object, taker: str = "RuntimeData.text takes") -> None:
    """TypeError unless ``value`` is a str."""
    if not isinstance(value, str):
        way = "x.decode()" if isinstance(value, bytes | bytearray) else "str(x)"
        raise TypeError(f"{taker} a str, not {type(value).__name__}; {way} makes one")


def _no_array(maker: str, what: str, value: object) -> str:
    kind = type(value).__name__
    if isinstance(value, bytes | bytearray | memoryview):
        dtype = "np.int16" if maker == "audio" else "np.uint8"
        way = f"np.frombuffer(x, {dtype}) makes one, if that is the type of its samples"
    else:
        dtype = "np.float32" if maker == "audio" else "np.uint8"
        way = f"np.asarray(x, {dtype}) makes one"
    return f"RuntimeData.{maker} takes a numpy array of {what}, not {kind}; {way}"
