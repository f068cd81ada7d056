"""What a message made like another says of its payload: the type, and metadata that fit.

Loaded on first use, as by far not every node makes its messages so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from remotemedia.core.data import AudioMetadata, DataType, Metadata, Payload, RuntimeData, VideoMetadata, sample_format
from remotemedia.core.json_values import json_text
from remotemedia.core.layouts import audio_layout, frame_size, knows_format

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["fields_like"]

_LIKE = "RuntimeData.like"
_TEXTS = (DataType.TEXT, DataType.JSON)
_NO_ARRAYS = (*_TEXTS, DataType.CONTROL)
_KEPT = "with timestamp=data.timestamp and origin=data.origin"


def fields_like(data: RuntimeData, payload: Any) -> tuple[DataType, Payload, Metadata | None]:
    """The type, payload and metadata of a message like ``data`` with ``payload``; see ``RuntimeData.like``."""
    if isinstance(payload, str):
        return DataType.TEXT, payload, _copied(data.metadata) if data.type is DataType.TEXT else None
    is_json = data.type is DataType.JSON
    if isinstance(payload, dict) or (is_json and isinstance(payload, list)):
        return DataType.JSON, json_text(payload), _copied(data.metadata) if is_json else None
    if data.type in _NO_ARRAYS or not isinstance(payload, np.ndarray | bytes | bytearray | memoryview):
        raise TypeError(_refusal(data, payload))
    metadata, own = _copied(data.metadata), cast("Payload", payload)
    if isinstance(payload, np.ndarray):
        if data.type is DataType.AUDIO and isinstance(metadata, AudioMetadata):
            metadata = _audio_metadata(data.payload, metadata, payload)
        elif data.type is DataType.VIDEO and isinstance(metadata, VideoMetadata):
            metadata = _video_metadata(data.payload, metadata, payload)
    return data.type, own, metadata


def _refusal(data: RuntimeData, payload: object) -> str:
    from remotemedia.core.wording import maker_for

    takes = {
        DataType.TEXT: "a str",
        DataType.JSON: "a dict or a list",
        DataType.CONTROL: "a str or a dict",
    }.get(data.type, "an array, bytes, a str or a dict")
    way = maker_for(payload, set(DataType) - {data.type} if data.type in _NO_ARRAYS else set(DataType))
    kept = f", {_KEPT}" if way.endswith("makes one") else ""
    return f"{_LIKE}: for {data.type.name} it takes {takes}, not {type(payload).__name__}; {way}{kept}"


def _copied(metadata: Metadata | None) -> Metadata | None:
    """A change of the one message's metadata is not to change the other's."""
    if isinstance(metadata, AudioMetadata):
        return AudioMetadata(metadata.sample_rate, metadata.channels, metadata.format)
    if isinstance(metadata, VideoMetadata):
        return VideoMetadata(metadata.width, metadata.height, metadata.format, metadata.fps)
    return dict(metadata) if isinstance(metadata, dict) else metadata


def _audio_metadata(before: object, form: AudioMetadata, samples: npt.NDArray[Any]) -> AudioMetadata:
    was_array = isinstance(before, np.ndarray)
    channels: int | None = form.channels
    if samples.ndim == 2:
        # A shape says how many; to say it as well lets more than 64 pass.
        channels = form.channels if samples.shape[1] == form.channels else None
    elif was_array and before.ndim != 1:  # type: ignore[attr-defined]
        channels = None  # one channel is left of several
    rate, channels = audio_layout(samples, form.sample_rate, channels, _LIKE)
    same = was_array and before.dtype == samples.dtype  # type: ignore[attr-defined]
    return AudioMetadata(rate, channels, form.format if same else sample_format(samples.dtype))


def _video_metadata(before: object, form: VideoMetadata, frame: npt.NDArray[Any]) -> VideoMetadata:
    width, height = form.width, form.height
    if knows_format(form.format) and not (isinstance(before, np.ndarray) and before.shape == frame.shape):
        try:
            width, height = frame_size(frame, form.format, _LIKE)
        except ValueError as error:
            way = f"RuntimeData.video(x, format, fps) makes one of another format, {_KEPT}"
            raise ValueError(f"{error}; {way}") from None
    return VideoMetadata(width, height, form.format, form.fps)
