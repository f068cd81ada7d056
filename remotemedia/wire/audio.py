"""AudioBuffer <-> an array of samples with AudioMetadata."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import remotemedia_v1_pb2 as pb

from remotemedia.core.data import AudioMetadata, Metadata, Payload
from remotemedia.errors import PayloadError
from remotemedia.wire.payload import add_payload, payload_at
from remotemedia.wire.texts import read_json_object

__all__ = ["form_of", "frame_bytes", "frame_in_words", "read_audio", "write_audio"]

_NAMES = {pb.AUDIO_FORMAT_F32: "f32", pb.AUDIO_FORMAT_I16: "i16", pb.AUDIO_FORMAT_I32: "i32"}
_DTYPES: dict[str, np.dtype[Any]] = {"f32": np.dtype("<f4"), "i16": np.dtype("<i2"), "i32": np.dtype("<i4")}
_FORMATS = {_DTYPES[name]: (number, name) for number, name in _NAMES.items()}


def form_of(buffer: pb.AudioBuffer) -> tuple[int, int, pb.AudioFormat]:
    """What two buffers must share to be parts of the same audio: rate, channels and format."""
    return buffer.sample_rate, buffer.channels or 1, buffer.format or pb.AUDIO_FORMAT_F32


def frame_bytes(buffer: pb.AudioBuffer) -> int:
    """The size of a frame, one sample of each channel; 0 for an unknown format."""
    _, channels, number = form_of(buffer)
    name = _NAMES.get(number)
    return _DTYPES[name].itemsize * channels if name is not None else 0


def frame_in_words(buffer: pb.AudioBuffer) -> str:
    """What a frame consists of, for errors; the format must be a known one."""
    _, channels, number = form_of(buffer)
    return f"{channels} x {_DTYPES[_NAMES[number]].itemsize} bytes (channels x {_NAMES[number]})"


def read_audio(buffer: pb.AudioBuffer, payloads: Sequence[memoryview]) -> tuple[Payload, AudioMetadata]:
    name = _NAMES.get(buffer.format or pb.AUDIO_FORMAT_F32)
    if name is None:
        raise ValueError(f"AudioBuffer.format {buffer.format} is not one of {_formats()}")
    dtype = _DTYPES[name]
    samples = payload_at(buffer.samples, payloads)
    rate, channels = buffer.sample_rate, buffer.channels or 1
    if not rate:
        raise ValueError("AudioBuffer.sample_rate is 0 or not set; give it in Hz")
    frames, rest = divmod(samples.nbytes, dtype.itemsize * channels)
    if rest:
        raise ValueError(
            f"AudioBuffer.samples has {samples.nbytes} bytes, which is not a whole number of frames of "
            f"{frame_in_words(buffer)}"
        )
    if buffer.num_samples and buffer.num_samples != frames * channels:
        raise ValueError(
            f"AudioBuffer.num_samples is {buffer.num_samples}, but samples has {frames * channels} (frames x channels)"
        )
    if buffer.HasField("metadata_json"):
        read_json_object(buffer.metadata_json, "AudioBuffer.metadata_json")
    shape = (frames,) if channels == 1 else (frames, channels)
    return np.ndarray(shape, dtype, samples), AudioMetadata(rate, channels, name)


def write_audio(payload: Payload, metadata: Metadata | None, payloads: list[memoryview]) -> pb.AudioBuffer:
    if not isinstance(metadata, AudioMetadata):
        raise PayloadError(f"audio needs AudioMetadata, and has {type(metadata).__name__}")
    channels = metadata.channels
    if channels < 1:
        raise PayloadError(f"audio of {channels} channels has no form")
    if isinstance(payload, str):
        raise PayloadError("audio needs an array of samples, and has a str")
    if not isinstance(payload, np.ndarray):
        if metadata.format not in _DTYPES:
            raise PayloadError(f"audio as bytes must be one of {', '.join(_DTYPES)}, not {metadata.format!r}")
        payload = np.frombuffer(payload, _DTYPES[metadata.format])
    elif payload.dtype.kind == "f":
        payload = payload.astype("<f4", copy=False)
    elif payload.dtype.newbyteorder("<") in _FORMATS:
        payload = payload.astype(payload.dtype.newbyteorder("<"), copy=False)
    else:
        raise PayloadError(f"audio of dtype {payload.dtype} has no form; use float32, int16 or int32")
    fits = payload.size % channels == 0 if payload.ndim == 1 else payload.ndim == 2 and payload.shape[1] == channels
    if not fits:
        raise PayloadError(f"audio of shape {payload.shape} does not fit {channels} channels; use (frames, channels)")
    samples = np.ascontiguousarray(payload)
    number, _ = _FORMATS[samples.dtype]
    return pb.AudioBuffer(
        samples=add_payload(payloads, samples.reshape(-1).view(np.uint8).data),
        sample_rate=metadata.sample_rate,
        channels=channels,
        format=number,
        num_samples=samples.size,
    )


def _formats() -> str:
    return ", ".join(f"{number} ({name})" for number, name in _NAMES.items())
