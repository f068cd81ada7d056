"""DataBuffer <-> RuntimeData. docs/wire.md has the table of what becomes what.

The fields of a buffer that hold a payload hold a token instead: see ``remotemedia.wire.payload``.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import remotemedia_v1_pb2 as pb

from remotemedia.core.data import DataType, Metadata, Payload, RuntimeData, encode_metadata
from remotemedia.errors import PayloadError
from remotemedia.wire.arrays import read_binary, read_numpy, read_tensor, write_tensor
from remotemedia.wire.audio import read_audio, write_audio
from remotemedia.wire.marks import read_control, write_control
from remotemedia.wire.texts import (
    JSON_MIME_TYPE,
    read_file,
    read_json,
    read_json_object,
    read_text,
    write_json,
    write_text,
)
from remotemedia.wire.video import read_video, write_video

__all__ = ["audio_data_of", "buffer_of", "data_of", "json_as_text", "kind_of"]

_MEMBERS = (
    "audio",
    "video",
    "tensor",
    "json",
    "text",
    "binary",
    "numpy",
    "file",
    "control with a name in its metadata",
)


def kind_of(buffer: pb.DataBuffer) -> str:
    """Which member ``buffer`` has, such as ``"audio"``; "" when it has none."""
    return buffer.WhichOneof("data_type") or ""


def data_of(buffer: pb.DataBuffer, payloads: Sequence[memoryview]) -> RuntimeData:
    """The message in ``buffer``; its payload is a view of the bytes received. ValueError says what is wrong in it."""
    kind = kind_of(buffer)
    read = _READERS.get(kind)
    if read is None or (kind == "control" and not buffer.control.metadata):
        holds = f"holds {kind}, which is not data" if kind else "holds nothing"
        raise ValueError(f"the DataBuffer {holds}; set one of {', '.join(_MEMBERS)}")
    data_type, payload, metadata = read(buffer, payloads)
    free = _free_metadata(buffer) if buffer.metadata or buffer.metadata_json else {}
    if isinstance(metadata, dict):  # audio and raw frames have metadata of their own, with no room
        metadata = {**free, **metadata} if buffer.metadata_json else {**free, **metadata} or None
    return RuntimeData(data_type, payload, "", _timestamp(buffer), metadata, port=buffer.port)


def audio_data_of(buffer: pb.AudioBuffer, payloads: Sequence[memoryview]) -> RuntimeData:
    """As ``data_of``, of audio alone."""
    samples, metadata = read_audio(buffer, payloads)
    return RuntimeData(DataType.AUDIO, samples, metadata=metadata)


def json_as_text(data: RuntimeData) -> RuntimeData:
    """A JSON message as TEXT that says in its metadata what it is, for nodes that do not take JSON."""
    metadata = {**(data.metadata if isinstance(data.metadata, dict) else {}), "mime_type": JSON_MIME_TYPE}
    return RuntimeData(DataType.TEXT, data.payload, data.session_id, data.timestamp, metadata, port=data.port)


def buffer_of(data: RuntimeData, payloads: list[memoryview]) -> pb.DataBuffer:
    """The buffer for ``data``, whose payload is appended to ``payloads``.

    A payload is copied only when it is not contiguous, or of another byte order or sample format than the wire has.
    PayloadError for data that have no form on the wire.
    """
    count = len(payloads)
    try:
        out = pb.DataBuffer(port=data.port, timestamp_secs=data.timestamp)
        _WRITERS[data.type](data, payloads, out)
    except (TypeError, ValueError) as error:
        del payloads[count:]
        if isinstance(error, PayloadError):
            raise
        raise PayloadError(f"this {data.type.value} has no form on the wire: {error}") from None
    return out


# --- reading -----------------------------------------------------------------------------------------------------

_Read: TypeAlias = "tuple[DataType, Payload, Metadata | None]"
_READERS: dict[str, Callable[[pb.DataBuffer, Sequence[memoryview]], _Read]] = {
    "audio": lambda buffer, payloads: (DataType.AUDIO, *read_audio(buffer.audio, payloads)),
    "video": lambda buffer, payloads: (DataType.VIDEO, *read_video(buffer.video, payloads)),
    "tensor": lambda buffer, payloads: (DataType.TENSOR, *read_tensor(buffer.tensor, payloads)),
    "numpy": lambda buffer, payloads: (DataType.TENSOR, *read_numpy(buffer.numpy, payloads)),
    "binary": lambda buffer, payloads: (DataType.TENSOR, *read_binary(buffer.binary, payloads)),
    "text": lambda buffer, _: (DataType.TEXT, *read_text(buffer.text)),
    "json": lambda buffer, _: (DataType.JSON, *read_json(buffer.json)),
    "file": lambda buffer, _: (DataType.TEXT, *read_file(buffer.file)),
    "control": lambda buffer, _: (DataType.CONTROL, *read_control(buffer.control)),
}


def _timestamp(buffer: pb.DataBuffer) -> float:
    if not math.isfinite(buffer.timestamp_secs):
        raise ValueError(f"DataBuffer.timestamp_secs is {buffer.timestamp_secs}; give seconds since the epoch")
    return buffer.timestamp_secs or time.time()


def _free_metadata(buffer: pb.DataBuffer) -> dict[str, Any]:
    if not buffer.metadata_json:
        return dict(buffer.metadata)
    if buffer.metadata:
        raise ValueError("DataBuffer has both metadata and metadata_json; set one of them")
    return read_json_object(buffer.metadata_json, "DataBuffer.metadata_json")


# --- writing -----------------------------------------------------------------------------------------------------


def _write_audio(data: RuntimeData, payloads: list[memoryview], out: pb.DataBuffer) -> None:
    out.audio.CopyFrom(write_audio(data.payload, data.metadata, payloads))


def _write_video(data: RuntimeData, payloads: list[memoryview], out: pb.DataBuffer) -> None:
    frame, rest = write_video(data.payload, data.metadata, payloads)
    out.video.CopyFrom(frame)
    _write_metadata(rest or {}, out)


def _write_tensor(data: RuntimeData, payloads: list[memoryview], out: pb.DataBuffer) -> None:
    rest = _dict_of(data)
    write_tensor(data.payload, rest, payloads, out)
    _write_metadata(rest, out, is_empty=data.metadata == {})


def _write_text(data: RuntimeData, payloads: list[memoryview], out: pb.DataBuffer) -> None:
    rest = _dict_of(data)
    write_text(data.payload, rest, out)
    _write_metadata(rest, out, is_empty=data.metadata == {})


def _write_control(data: RuntimeData, _: list[memoryview], out: pb.DataBuffer) -> None:
    out.control.CopyFrom(write_control(data))


def _write_json(data: RuntimeData, payloads: list[memoryview], out: pb.DataBuffer) -> None:
    rest = _dict_of(data)
    write_json(data.payload, rest, out)
    _write_metadata(rest, out, is_empty=data.metadata == {})


_WRITERS: dict[DataType, Callable[[RuntimeData, list[memoryview], pb.DataBuffer], None]] = {
    DataType.AUDIO: _write_audio,
    DataType.VIDEO: _write_video,
    DataType.TENSOR: _write_tensor,
    DataType.TEXT: _write_text,
    DataType.CONTROL: _write_control,
    DataType.JSON: _write_json,
}


def _dict_of(data: RuntimeData) -> dict[str, Any]:
    if data.metadata is None:
        return {}
    if not isinstance(data.metadata, dict):
        raise PayloadError(f"{data.type.value} has metadata as a dict, not as {type(data.metadata).__name__}")
    return dict(data.metadata)


def _write_metadata(rest: dict[str, Any], out: pb.DataBuffer, *, is_empty: bool = False) -> None:
    if all(isinstance(value, str) for value in rest.values()) and not is_empty:
        out.metadata.update(rest)
    else:
        encode_metadata(rest)  # names the mistake in it, but lets pass values that only Python takes for JSON
        out.metadata_json = json.dumps(rest, separators=(",", ":"), allow_nan=False)
