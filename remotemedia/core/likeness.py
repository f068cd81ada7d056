"""What a message made like another says of its payload: the type, and metadata that fit.

Loaded on first use, as by far not every node makes its messages so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from remotemedia.core.data import AudioMetadata, DataType, Metadata, RuntimeData, VideoMetadata, sample_format
from remotemedia.core.layouts import audio_layout, frame_size, knows_format

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["type_and_metadata"]

_LIKE = "RuntimeData.like"
_KEPT = "with timestamp=data.timestamp and origin=data.origin"


def type_and_metadata(data: RuntimeData, payload: object) -> tuple[DataType, Metadata | None]:
    """The type and the metadata of a message like ``data`` with ``payload``; see ``RuntimeData.like``."""
    if isinstance(payload, str):
        is_text = data.type is DataType.TEXT
        return DataType.TEXT, _copied(data.metadata) if is_text else None
    is_array = isinstance(payload, np.ndarray)
    if data.type is DataType.TEXT or not (is_array or isinstance(payload, bytes | bytearray | memoryview)):
        raise TypeError(_refusal(data, payload))
    if isinstance(payload, np.ndarray):
        if data.type is DataType.AUDIO and isinstance(data.metadata, AudioMetadata):
            return data.type, _audio_metadata(data.payload, data.metadata, payload)
        if data.type is DataType.VIDEO and isinstance(data.metadata, VideoMetadata):
            return data.type, _video_metadata(data.payload, data.metadata, payload)
    return data.type, _copied(data.metadata)


def _refusal(data: RuntimeData, payload: object) -> str:
    from remotemedia.core.wording import maker_for

    takes = (
        f"{_LIKE}: a TEXT message takes a str"
        if data.type is DataType.TEXT
        else f"{_LIKE} takes an array, bytes or a str"
    )
    way = maker_for(payload, set(DataType) - {DataType.TEXT} if data.type is DataType.TEXT else set(DataType))
    return f"{takes}, not {type(payload).__name__}; {way}" + (f", {_KEPT}" if way.endswith("makes one") else "")


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
