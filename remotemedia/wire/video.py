"""VideoFrame <-> an array of pixels with VideoMetadata, or an encoded frame with a dict.

A raw frame keeps width, height, format and fps, which VideoMetadata has. An encoded one is bytes, and keeps everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import remotemedia_v1_pb2 as pb

from remotemedia.core.data import Metadata, Payload, VideoMetadata
from remotemedia.errors import PayloadError
from remotemedia.wire.payload import add_payload, payload_at

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["read_video", "write_video"]

_FORMATS = {
    "": pb.PIXEL_FORMAT_UNSPECIFIED,
    "rgb": pb.PIXEL_FORMAT_RGB24,
    "rgba": pb.PIXEL_FORMAT_RGBA32,
    "gray": pb.PIXEL_FORMAT_GRAY8,
    "yuv420p": pb.PIXEL_FORMAT_YUV420P,
    "i420": pb.PIXEL_FORMAT_I420,
    "nv12": pb.PIXEL_FORMAT_NV12,
    "encoded": pb.PIXEL_FORMAT_ENCODED,
}
_ALSO = {"rgb24": "rgb", "rgba32": "rgba", "gray8": "gray", "grey": "gray", "yuv420": "yuv420p"}
_PLANES = {"rgb": (3,), "rgba": (4,), "gray": ()}
_FORMAT_NAMES = {number: name for name, number in _FORMATS.items()}
_CODECS = {
    "": pb.VIDEO_CODEC_UNSPECIFIED,
    "vp8": pb.VIDEO_CODEC_VP8,
    "h264": pb.VIDEO_CODEC_H264,
    "av1": pb.VIDEO_CODEC_AV1,
}
_CODEC_NAMES = {number: name for name, number in _CODECS.items()}
_ENCODED_KEYS = ("width", "height", "format", "frame_number", "timestamp_us", "codec", "is_keyframe", "fps")


def read_video(frame: pb.VideoFrame, payloads: Sequence[memoryview]) -> tuple[Payload, VideoMetadata | dict[str, Any]]:
    for field, names in (("format", _FORMAT_NAMES), ("codec", _CODEC_NAMES)):
        number = getattr(frame, field)
        if number not in names:
            choices = ", ".join(f"{known} ({name or 'not given'})" for known, name in names.items())
            raise ValueError(f"VideoFrame.{field} {number} is not one of {choices}")
    pixels = payload_at(frame.pixel_data, payloads)
    name = _FORMAT_NAMES[frame.format]
    if frame.codec or name == "encoded":
        metadata = {key: getattr(frame, key) for key in _ENCODED_KEYS}
        metadata |= {"format": name, "codec": _CODEC_NAMES[frame.codec]}
        return np.frombuffer(pixels, np.uint8), metadata
    shape = _shape(name, frame.width, frame.height) if name else (pixels.nbytes,)
    if prod(shape) != pixels.nbytes:
        raise ValueError(
            f"VideoFrame.pixel_data has {pixels.nbytes} bytes, "
            f"but {frame.width} x {frame.height} {name} is {prod(shape)}"
        )
    return np.ndarray(shape, np.uint8, pixels), VideoMetadata(frame.width, frame.height, name, frame.fps)


def write_video(
    payload: Payload, metadata: Metadata | None, payloads: list[memoryview]
) -> tuple[pb.VideoFrame, dict[str, Any] | None]:
    """The frame, and what of ``metadata`` is not in it."""
    if isinstance(payload, str):
        raise PayloadError("video needs an array of pixels or bytes, and has a str")
    if isinstance(payload, np.ndarray) and payload.dtype != np.uint8:
        raise PayloadError(f"video of dtype {payload.dtype} has no form; use uint8")
    pixels = np.ascontiguousarray(payload if isinstance(payload, np.ndarray) else np.frombuffer(payload, np.uint8))
    rest = None
    if isinstance(metadata, VideoMetadata):
        frame = _raw_frame(pixels, metadata)
    elif isinstance(metadata, dict):
        rest = dict(metadata)
        frame = _encoded_frame(rest)
    else:
        raise PayloadError("video needs VideoMetadata, or a dict with codec, width and height when it is encoded")
    frame.pixel_data = add_payload(payloads, pixels.reshape(-1).data)
    return frame, rest


def _raw_frame(pixels: npt.NDArray[Any], metadata: VideoMetadata) -> pb.VideoFrame:
    name = metadata.format.lower()
    name = _ALSO.get(name, name)
    if name not in _FORMATS or name == "encoded":
        raise PayloadError(f"video of format {metadata.format!r} has no form; use one of {_raw_formats()}")
    width, height = metadata.width, metadata.height
    expected = prod(_shape(name, width, height)) if name else pixels.size
    if expected != pixels.size:
        raise PayloadError(f"video of {pixels.size} bytes is not {width} x {height} {name}, which has {expected}")
    return pb.VideoFrame(width=width, height=height, format=_FORMATS[name], fps=metadata.fps)


def _encoded_frame(rest: dict[str, Any]) -> pb.VideoFrame:
    """Takes the frame's fields out of ``rest``."""
    fields = {key: rest.pop(key) for key in _ENCODED_KEYS if key in rest}
    codec = fields.get("codec", "")
    name = fields.get("format", "encoded" if codec else "")
    if codec not in _CODECS or name not in _FORMATS or not (codec or name == "encoded"):
        raise PayloadError(
            f"an encoded frame needs metadata codec, one of {', '.join(filter(None, _CODECS))}, and not {codec!r}"
        )
    return pb.VideoFrame(**fields | {"codec": _CODECS[codec], "format": _FORMATS[name]})


def _shape(name: str, width: int, height: int) -> tuple[int, ...]:
    if name in _PLANES:
        return (height, width, *_PLANES[name])
    if width % 2 or height % 2:
        raise ValueError(f"{name} has an even width and height, and this frame {width} x {height}")
    return (height * 3 // 2, width)


def _raw_formats() -> str:
    return ", ".join(name for name in _FORMATS if name not in ("", "encoded"))
