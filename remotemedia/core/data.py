"""RuntimeData: the one container that travels between nodes.

This module knows media, not rings: it says what a message is and how its metadata look as bytes.
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from remotemedia.core.layouts import LARGEST, audio_layout, check_text, frame_rate, frame_size
from remotemedia.errors import ChannelCorruptedError, PayloadError

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["AudioMetadata", "DataType", "Metadata", "Payload", "RuntimeData", "VideoMetadata"]

Payload: TypeAlias = "npt.NDArray[Any] | bytes | memoryview | str"


class DataType(Enum):
    """What a payload means."""

    AUDIO = "audio"
    VIDEO = "video"
    TEXT = "text"
    TENSOR = "tensor"
    CONTROL = "control"
    JSON = "json"


_ndarray = np.ndarray
# Looking a member up in its enum takes as long as filling half a RuntimeData.
_AUDIO_TYPE, _VIDEO_TYPE, _TEXT_TYPE, _TENSOR_TYPE = DataType.AUDIO, DataType.VIDEO, DataType.TEXT, DataType.TENSOR
_CONTROL_TYPE = DataType.CONTROL
_JSON_TYPE = DataType.JSON
_SAMPLE_FORMATS = {
    np.dtype(order + code): name
    for code, name in {"f4": "f32", "f8": "f64", "i2": "i16", "i4": "i32"}.items()
    for order in "<>"
}


@dataclass
class AudioMetadata:
    """How to read an audio payload.

    Attributes:
        sample_rate: in Hz, a whole number below 2**32.
        channels: 1 = mono, 2 = stereo; a whole number below 2**32.
        format: sample format, such as ``"f32"`` or ``"i16"``.

    The fields are checked when a message with them is sent: PayloadError names the field. Whole floats, such as
    16000.0, and numpy's integers arrive as int.
    """

    sample_rate: int
    channels: int
    format: str


@dataclass
class VideoMetadata:
    """How to read a video payload.

    Attributes:
        width, height: of the picture, in pixels; whole numbers below 2**32.
        format: pixel format, such as ``"rgb"`` or ``"yuv420"``.
        fps: frames per second, a finite number; 0 = unknown.

    The fields are checked when a message with them is sent, as for AudioMetadata.
    """

    width: int
    height: int
    format: str
    fps: float


Metadata: TypeAlias = "AudioMetadata | VideoMetadata | dict[str, Any]"


@dataclass(slots=True, weakref_slot=True, eq=False, repr=False)
class RuntimeData:
    """One message: a payload and what it means.

    Attributes:
        type: what the payload is.
        payload: an ndarray of any fixed-size dtype and up to 8 dimensions, bytes-like, or str; JSON is a str, its
            text. What a channel delivers is zero-copy: arrays are read-only views into shared memory, bytes a read-only
            memoryview. The memory behind a view stays as it is until the last view of it is gone.
        session_id: filled in by the session when left empty.
        timestamp: seconds since the epoch; the time of creation unless given.
        metadata: AudioMetadata, VideoMetadata, a dict of JSON values, or None.
        port: the framework sets it: in a node, the input port that the message arrived on; in a message that a
            session receives, its output port, or "" if the node named none and does not declare exactly one.
        sequence: its number on its channel, from 0; the framework sets it.
        origin: a number of the sender's own that goes along: everything a node makes of the message also carries it,
            up to what the session receives. A message made of several has the newest one's.
    """

    type: DataType
    payload: Payload
    session_id: str = ""
    timestamp: float = field(default_factory=time.time)
    metadata: Metadata | None = None
    port: str = field(default="", kw_only=True)
    sequence: int = field(default=0, kw_only=True)
    origin: int = field(default=0, kw_only=True)

    @classmethod
    def audio(
        cls,
        samples: npt.NDArray[Any],
        sample_rate: int,
        channels: int | None = None,
        *,
        session_id: str = "",
        timestamp: float | None = None,
        port: str = "",
        origin: int = 0,
    ) -> RuntimeData:
        """Audio from an array of samples, such as float32 or int16; no copy.

        The shape is (n,) for mono or (n, channels), and gives the number of channels; above 64, ``channels`` must
        confirm it, because (2, n) would count as n channels. One dimension with ``channels`` is interleaved.
        ``sample_rate`` is in Hz. TypeError or ValueError names the argument that is wrong.
        """
        form = None
        if type(samples) is _ndarray:
            form = _SAMPLE_FORMATS.get(samples.dtype)
        if (
            form is not None
            and samples.ndim == 1
            and (channels is None or channels == 1)
            and type(sample_rate) is int
            and 0 < sample_rate <= LARGEST
        ):
            channels = 1
        else:
            sample_rate, channels = audio_layout(samples, sample_rate, channels)
            form = sample_format(samples.dtype)
        metadata = AudioMetadata(sample_rate, channels, form)
        message = _make(cls, _AUDIO_TYPE, samples, session_id, timestamp, metadata, port)
        if origin:
            message.origin = origin
        return message

    @classmethod
    def text(
        cls,
        text: str,
        *,
        session_id: str = "",
        timestamp: float | None = None,
        metadata: dict[str, Any] | None = None,
        port: str = "",
        origin: int = 0,
    ) -> RuntimeData:
        """Text from a str; TypeError for anything else."""
        if type(text) is not str:
            check_text(text)
        message = _make(cls, _TEXT_TYPE, text, session_id, timestamp, metadata, port)
        if origin:
            message.origin = origin
        return message

    @classmethod
    def json(
        cls,
        value: Any,
        *,
        session_id: str = "",
        timestamp: float | None = None,
        metadata: dict[str, Any] | None = None,
        port: str = "",
        origin: int = 0,
    ) -> RuntimeData:
        """JSON from a dict, list, str, number, bool or None, with such values in it; ``as_json()`` gives it back.

        The payload is the value as JSON text, a str: later changes of the value do not change the message. Tuples
        become lists. PayloadError names the place of what is not JSON: other types, keys that are not str, NaN and
        infinity, halves of characters, values nested too deep or within themselves.
        """
        from remotemedia.core.json_values import json_text

        message = _make(cls, _JSON_TYPE, json_text(value), session_id, timestamp, metadata, port)
        if origin:
            message.origin = origin
        return message

    @classmethod
    def tensor(
        cls,
        array: npt.NDArray[Any],
        *,
        session_id: str = "",
        timestamp: float | None = None,
        metadata: dict[str, Any] | None = None,
        port: str = "",
        origin: int = 0,
    ) -> RuntimeData:
        """A tensor from any array, or bytes; no copy. Anything else is refused when it is sent."""
        message = _make(cls, _TENSOR_TYPE, array, session_id, timestamp, metadata, port)
        if origin:
            message.origin = origin
        return message

    @classmethod
    def video(
        cls,
        frame: npt.NDArray[Any],
        format: str = "rgb",
        fps: float = 30.0,
        *,
        session_id: str = "",
        timestamp: float | None = None,
        port: str = "",
        origin: int = 0,
    ) -> RuntimeData:
        """A video frame from an array, such as uint8; no copy.

        ``rgb`` and ``bgr`` have shape (height, width, 3), ``rgba`` and ``bgra`` (height, width, 4), ``gray`` (height,
        width); ``yuv420p``, ``i420`` and ``nv12`` have their planes stacked, (height * 3 // 2, width), with an even
        width and height. The metadata have the size of the picture. TypeError or ValueError names the argument that is
        wrong; for an unknown format, ValueError lists these.
        """
        width, height = frame_size(frame, format)
        if type(fps) is not float or not 0.0 <= fps < inf:
            fps = frame_rate("RuntimeData.video: fps", fps)
        metadata = VideoMetadata(width, height, format, fps)
        message = _make(cls, _VIDEO_TYPE, frame, session_id, timestamp, metadata, port)
        if origin:
            message.origin = origin
        return message

    @classmethod
    def control(
        cls,
        name: str,
        value: object = None,
        *,
        session_id: str = "",
        timestamp: float | None = None,
        origin: int = 0,
        port: str = "",
    ) -> RuntimeData:
        """A mark: a message without a payload, in order with the data. Nodes that do not know it pass it on.

        ``name`` says what it marks: one of ``remotemedia.core.marks``, or one of your own. ``value`` is any JSON value.
        TypeError or ValueError for a name that is not a str, or is empty; a value that is not JSON is refused when the
        mark is sent.
        """
        if type(name) is not str:
            check_text(name, "RuntimeData.control takes for its name")
        if not name:
            raise ValueError("RuntimeData.control: name is empty; say what the mark means, such as 'end_of_turn'")
        metadata = {"name": name} if value is None else {"name": name, "value": value}
        # Empty, and as audio is: a program that knows no marks finds a message of zero samples.
        data = _make(cls, _CONTROL_TYPE, np.empty(0, np.float32), session_id, timestamp, metadata, port)
        data.origin = origin
        return data

    @property
    def mark(self) -> str:
        """The name of a mark; "" for any other message."""
        if self.type is not _CONTROL_TYPE or not isinstance(self.metadata, dict):
            return ""
        name = self.metadata.get("name")
        return name if isinstance(name, str) else ""

    @property
    def size(self) -> int:
        """Payload size in bytes; of text, in UTF-8."""
        if isinstance(self.payload, np.ndarray | memoryview):
            return self.payload.nbytes
        if isinstance(self.payload, str):
            return len(self.payload.encode("utf-8", "surrogatepass"))
        return len(self.payload)

    def as_numpy(self, writable: bool = False) -> npt.NDArray[Any]:
        """The payload as an array; bytes as uint8. Text raises ValueError.

        Without ``writable`` nothing is copied. An array that came through a channel is read-only, and so is its
        memory: a write through its pointer (a torch tensor made of it, a C library) ends the process. With
        ``writable`` the array is in place, at another address than the payload's, if this process is the only holder
        of the memory; else it is a private copy.
        """
        if isinstance(self.payload, _ndarray):
            array: npt.NDArray[Any] = self.payload
            if not writable:
                return array
        elif isinstance(self.payload, str):
            raise ValueError("Cannot convert text to numpy; use .payload, which is a str")
        elif isinstance(self.payload, bytes | bytearray | memoryview):
            array = np.frombuffer(self.payload, dtype=np.uint8)
        else:
            raise ValueError(f"Cannot convert {type(self.payload).__name__} to numpy")
        if not writable or array.flags.writeable:
            return array
        in_place = _writable_in_place(array)
        return array.copy() if in_place is None else in_place

    def as_text(self) -> str:
        """The str of a TEXT message; the JSON text of a JSON message. TypeError for others, and for bytes."""
        if self.type is not _TEXT_TYPE and self.type is not _JSON_TYPE:
            raise TypeError(f"RuntimeData.as_text is for TEXT and JSON, not for {self.type.name}; use .payload")
        if not isinstance(self.payload, str):
            kind = type(self.payload).__name__
            raise TypeError(f"RuntimeData.as_text needs a str, not {kind}; bytes(data.payload).decode() may make one")
        return self.payload

    def as_json(self) -> Any:
        """The value of a JSON message, or of TEXT that is JSON: a new one with each call. Of a mark, its value.

        TypeError for messages that are neither, ValueError for text that is not JSON (NaN and infinity are not).
        """
        from remotemedia.core.json_values import parse_json

        if self.mark and isinstance(self.metadata, dict):
            return self.metadata.get("value")
        if self.type is not _TEXT_TYPE and self.type is not _JSON_TYPE:
            raise TypeError(f"RuntimeData.as_json is for JSON and TEXT, not for {self.type.name}; use .payload")
        text = self.as_text()
        try:
            return parse_json(text)
        except ValueError as error:
            raise ValueError(f"RuntimeData.as_json: the payload is not JSON: {error}") from None

    def as_float32(self) -> npt.NDArray[np.float32]:
        """The samples of an audio message as float32 with full scale 1.0, in the payload's shape.

        int16 is divided by 2**15, int32 by 2**31. Floats keep their values, also those beyond 1 and those that are
        not numbers. Native float32 is the payload itself, not a copy, and read-only if it came through a channel; else
        the array is a new one. TypeError for what is not audio, for bytes, and for other dtypes.
        """
        from remotemedia.core.samples import as_float32

        return as_float32(self)

    def as_int16(self) -> npt.NDArray[np.int16]:
        """The samples of an audio message as int16, in the payload's shape.

        Floats are multiplied by 2**15 and int32 divided by 2**16, rounded to the nearest (halves to even), and clipped
        to what int16 holds; NaN becomes 0. Native int16 is the payload itself, not a copy, and read-only if it came
        through a channel; else the array is a new one. TypeError as for ``as_float32``.
        """
        from remotemedia.core.samples import as_int16

        return as_int16(self)

    def like(self, payload: Payload | dict[str, Any] | list[Any]) -> RuntimeData:
        """A new message with this payload and everything else of this one: its type, session_id, timestamp, origin
        and a copy of its metadata, but neither its port nor its sequence. The payload is not copied.

        * Audio with an array: the metadata get the channels of its shape and the sample format of its dtype; the
          sample rate stays. One dimension is mono if this payload has two, and as many channels as before otherwise.
        * Video with an array: the metadata get the size of the picture, by their pixel format.
        * A str makes TEXT of any message, and a dict makes JSON; the metadata stay only where the type does. Of a JSON
          message a list makes JSON too.

        PayloadError for a value that is not JSON; TypeError for a payload that the type cannot have, such as an array
        in a TEXT message; ValueError for an array that is not audio or not a frame of the format. All say how to make
        such a message.
        """
        from remotemedia.core.likeness import fields_like

        kind, own, metadata = fields_like(self, payload)
        message = _make(type(self), kind, own, self.session_id, self.timestamp, metadata, "")
        if self.origin:
            message.origin = self.origin
        return message

    def __eq__(self, other: object) -> bool:
        """Same type, payload (dtype, shape and values), session, timestamp and metadata."""
        if not isinstance(other, RuntimeData):
            return NotImplemented
        return (
            self.type is other.type
            and self.session_id == other.session_id
            and self.timestamp == other.timestamp
            and self.metadata == other.metadata
            and _same_payload(self.payload, other.payload)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Type, shape, dtype, range and metadata, in a few hundred characters and a few milliseconds at most."""
        from remotemedia.core.wording import message_shown  # here: most messages are never shown

        return message_shown(self)

    @staticmethod
    def _maker_for(value: object) -> str:
        """For the channel: how to make a message of ``value``, in words."""
        from remotemedia.core.wording import maker_for

        return maker_for(value)


def sample_format(dtype: np.dtype[Any]) -> str:
    """What AudioMetadata call samples of this dtype: ``f32``, ``f64``, ``i16``, ``i32``, else numpy's name of it."""
    return _SAMPLE_FORMATS.get(dtype) or dtype.name


def _make(
    cls: type[RuntimeData],
    data_type: DataType,
    payload: Payload,
    session_id: str,
    timestamp: float | None,
    metadata: Metadata | None,
    port: str,
) -> RuntimeData:
    return cls(data_type, payload, session_id, time.time() if timestamp is None else timestamp, metadata, port=port)


def make_with(make: Callable[..., RuntimeData]) -> None:
    """From now on ``make`` makes what ``RuntimeData.tensor`` and its like return; it must do what ``_make`` does.

    The extension has one that is three times as quick, and this module must not know the extension.
    """
    global _make
    _make = make


def _same_payload(a: Payload, b: Payload) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        # Bytes, not ==: NaNs and void records compare as what they are.
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return False
    return a == b


def _writable_in_place(array: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
    grant = getattr(_owner(array), "try_writable", None)
    return None if grant is None else cast(Callable[..., Any], grant)(array)


def held_again(payload: Payload) -> object:
    """Holds the shared memory of a received payload once more: nothing is written there in place while this exists.

    None for a payload that lies elsewhere.
    """
    hold = getattr(_owner(payload), "again", None)
    return None if hold is None else cast(Callable[..., Any], hold)()


def _owner(payload: object) -> object:
    while isinstance(payload, np.ndarray):
        payload = payload.base
    return payload.obj if isinstance(payload, memoryview) else payload


# --- wire form -------------------------------------------------------------------------------------------------
# Each function has its inverse beside it; docs/ring.md shows where the bytes go.

_AUDIO = struct.Struct("<II")
_VIDEO = struct.Struct("<IId")
_NO_METADATA, _AUDIO_KIND, _VIDEO_KIND, _JSON_KIND = range(4)


def encode_metadata(metadata: Metadata | None) -> tuple[int, bytes]:
    """Kind and bytes of a message's metadata; PayloadError or TypeError for metadata that cannot travel."""
    if metadata is None:
        return _NO_METADATA, b""
    try:
        if isinstance(metadata, AudioMetadata):
            head = _AUDIO.pack(metadata.sample_rate, metadata.channels)
            return _AUDIO_KIND, head + metadata.format.encode()
        if isinstance(metadata, VideoMetadata):
            fps = metadata.fps
            head = _VIDEO.pack(metadata.width, metadata.height, fps)
            if not 0.0 <= fps < inf:
                raise ValueError("fps")
            return _VIDEO_KIND, head + metadata.format.encode()
        if isinstance(metadata, dict):
            raw = json.dumps(metadata, separators=(",", ":")).encode()
            check_keys(metadata)
            return _JSON_KIND, raw
    except (struct.error, TypeError, ValueError, AttributeError, RecursionError) as error:
        if isinstance(metadata, dict):
            from remotemedia.core.wording import entry_refused

            raise PayloadError(entry_refused(metadata, error)) from None
        from remotemedia.core.wording import with_whole_numbers

        return encode_metadata(with_whole_numbers(metadata))
    raise TypeError(
        f"RuntimeData.metadata must be AudioMetadata, VideoMetadata, a dict of JSON values or None, "
        f"not {type(metadata).__name__}"
    )


def check_keys(value: object) -> None:
    # json.dumps would make them str without a word, and {1: "a", "1": "b"} two entries under one key.
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise TypeError(f"key {key!r} is not a str")
            check_keys(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            check_keys(inner)


def decode_metadata(kind: int, raw: bytes) -> Metadata | None:
    """The metadata that ``encode_metadata`` wrote; ChannelCorruptedError for anything else."""
    try:
        if kind == _NO_METADATA:
            return None
        if kind == _AUDIO_KIND:
            rate, channels = _AUDIO.unpack_from(raw)
            return AudioMetadata(rate, channels, raw[_AUDIO.size :].decode())
        if kind == _VIDEO_KIND:
            width, height, fps = _VIDEO.unpack_from(raw)
            return VideoMetadata(width, height, raw[_VIDEO.size :].decode(), fps)
        if kind == _JSON_KIND:
            value = json.loads(raw)
            if not isinstance(value, dict):
                raise ValueError(f"{type(value).__name__} is not a dict")
            return value
    except (struct.error, ValueError, RecursionError) as error:
        raise ChannelCorruptedError(f"metadata of kind {kind} cannot be read: {error}") from None
    raise ChannelCorruptedError(f"unknown metadata kind {kind}")
