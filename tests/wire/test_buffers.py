"""Data that go over the wire come back as they were: docs/wire.md, "What is kept"."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import remotemedia_v1_pb2 as pb
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from remotemedia.core.data import AudioMetadata, DataType, RuntimeData, VideoMetadata
from remotemedia.errors import PayloadError
from remotemedia.wire.buffers import buffer_of, data_of, kind_of
from remotemedia.wire.payload import Envelope, decode, encode


def sent(data: RuntimeData) -> pb.DataBuffer:
    """What a client gets that knows nothing of tokens."""
    payloads: list[memoryview] = []
    message = pb.StreamRequest(data_chunk=pb.DataChunk(buffer=buffer_of(data, payloads)))
    return pb.StreamRequest.FromString(encode(Envelope(message, payloads))).data_chunk.buffer


def received(buffer: pb.DataBuffer) -> RuntimeData:
    """What a pipeline gets of a buffer that a client made without tokens."""
    message = pb.StreamRequest(data_chunk=pb.DataChunk(buffer=buffer))
    envelope = decode(pb.StreamRequest, message.SerializeToString())
    return data_of(envelope.message.data_chunk.buffer, envelope.payloads)


def there_and_back(data: RuntimeData) -> RuntimeData:
    back = received(sent(data))
    assert back.port == data.port
    return back


# --- data -> buffer -> data --------------------------------------------------------------------------------------

shapes = arrays.array_shapes(min_dims=0, max_dims=8, min_side=0, max_side=3)
numbers = st.one_of(
    arrays.boolean_dtypes(),
    arrays.integer_dtypes(endianness="<"),
    arrays.unsigned_integer_dtypes(endianness="<"),
    arrays.floating_dtypes(endianness="<", sizes=(16, 32, 64)),
    arrays.complex_number_dtypes(endianness="<", sizes=(64, 128)),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
words = st.sampled_from(["", "en", "ui", "NCHW", "application/json", "x/y"]) | st.text(max_size=3)
keys = st.sampled_from(["language", "channel", "layout", "mime_type", "schema_type", "file"]) | st.text(max_size=3)
free = st.none() | st.dictionaries(keys, words, max_size=3) | st.dictionaries(keys, json_values, max_size=3)
times = st.floats(1e-3, 4e9)


@given(arrays.arrays(numbers, shapes), free, times, st.text(max_size=5))
def test_tensors(array: Any, metadata: dict[str, Any] | None, timestamp: float, port: str) -> None:
    data = RuntimeData.tensor(array, timestamp=timestamp, metadata=metadata, port=port)
    assert there_and_back(data) == data


@given(st.binary() | st.binary().map(bytearray) | st.binary().map(memoryview), free, times)
def test_bytes(payload: Any, metadata: dict[str, Any] | None, timestamp: float) -> None:
    data = RuntimeData(DataType.TENSOR, payload, "", timestamp, metadata)
    assert there_and_back(data) == data


@given(
    st.text() | st.sampled_from(["{}", "[1, 2]", "NaN", "nul"]),
    free | st.just({"mime_type": "application/json", "schema_type": "s", "more": 1}),
    times,
)
@example("a", {"language": "", "channel": "ui"}, 1.0)
def test_texts(text: str, metadata: dict[str, Any] | None, timestamp: float) -> None:
    data = RuntimeData.text(text, timestamp=timestamp, metadata=metadata)
    expected = data
    if kind_of(sent(data)) == "json":  # a text that says that it is JSON, and is
        assert metadata is not None
        rest = {key: value for key, value in metadata.items() if key != "mime_type"}
        expected = RuntimeData(DataType.JSON, text, "", timestamp, rest or None)
    assert there_and_back(data) == expected


@given(json_values, free | st.just({"schema_type": "s", "more": 1}), times)
@example({}, {"schema_type": ""}, 1.0)
def test_json(value: Any, metadata: dict[str, Any] | None, timestamp: float) -> None:
    data = RuntimeData.json(value, timestamp=timestamp, metadata=metadata)
    assert there_and_back(data) == data
    assert sent(data).json.json_payload == data.payload


@given(st.text(min_size=1), st.fixed_dictionaries({}, optional={"size": st.integers(0, 2**64), "filename": words}))
def test_files(path: str, file: dict[str, Any]) -> None:
    data = RuntimeData.text(path, timestamp=1.0, metadata={"file": file, "more": [1]})
    assert there_and_back(data) == data


@given(
    arrays.arrays(
        st.sampled_from(["<f4", "<i2", "<i4"]), st.integers(0, 9).flatmap(lambda n: st.sampled_from([n, (n, 2)]))
    ),
    st.integers(1, 2**32 - 1),
    times,
)
def test_audio(samples: Any, rate: int, timestamp: float) -> None:
    data = RuntimeData.audio(samples, rate, samples.ndim, timestamp=timestamp)
    assert there_and_back(data) == data


@given(
    st.sampled_from([("rgb", (3,)), ("rgba", (4,)), ("gray", ())]),
    st.integers(0, 5),
    st.integers(0, 5),
    st.floats(0, allow_infinity=False),
)
def test_frames(kind: tuple[str, tuple[int, ...]], height: int, width: int, fps: float) -> None:
    name, planes = kind
    pixels = np.arange(height * width * math.prod(planes), dtype=np.uint8).reshape(height, width, *planes)
    data = RuntimeData.video(pixels, name, fps, timestamp=1.0)
    assert there_and_back(data) == data


@pytest.mark.parametrize("name", ["i420", "yuv420p", "nv12"])
def test_planar_frames(name: str) -> None:
    planes = np.arange(36, dtype=np.uint8).reshape(6, 6)
    data = RuntimeData(DataType.VIDEO, planes, "", 1.0, VideoMetadata(6, 4, name, 25.0))
    assert there_and_back(data) == data
    assert there_and_back(RuntimeData.video(planes, name, 25.0, timestamp=1.0)) == data


def test_encoded_frames() -> None:
    metadata = {"width": 640, "height": 480, "format": "encoded", "codec": "h264", "frame_number": 3}
    metadata |= {"timestamp_us": 40_000, "is_keyframe": True, "fps": 25.0, "more": {"of": "it"}}
    data = RuntimeData(DataType.VIDEO, np.arange(9, dtype=np.uint8), "", 1.0, metadata)
    assert there_and_back(data) == data
    frame = sent(data).video
    assert (frame.codec, frame.is_keyframe, frame.pixel_data) == (pb.VIDEO_CODEC_H264, True, bytes(range(9)))
    no_fields = RuntimeData(DataType.VIDEO, b"abc", "", 1.0, {"codec": "vp8"})
    zeros = dict.fromkeys(["width", "height", "frame_number", "timestamp_us", "is_keyframe", "fps"], 0)
    assert there_and_back(no_fields).metadata == zeros | {"codec": "vp8", "format": "encoded"}


F32, I32, I16, U8 = (np.arange(6, dtype=dtype) for dtype in ("f4", "i4", "i2", "u1"))
Audio, Video = AudioMetadata, VideoMetadata


@pytest.mark.parametrize(
    ("payload", "metadata", "arrives", "as_metadata"),
    [
        (F32.astype("f8"), Audio(8000, 1, "f64"), F32, Audio(8000, 1, "f32")),
        (F32.astype("f2"), Audio(8000, 1, "f16"), F32, Audio(8000, 1, "f32")),
        (I16.astype(">i2"), Audio(8000, 1, "i16"), I16, Audio(8000, 1, "i16")),
        (I32, Audio(8000, 2, "i32"), I32.reshape(3, 2), Audio(8000, 2, "i32")),
        (F32[::-2], Audio(8000, 1, "f32"), F32[::-2], Audio(8000, 1, "f32")),
        (F32.reshape(6, 1), Audio(8000, 1, "f32"), F32, Audio(8000, 1, "f32")),
        (I16.tobytes(), Audio(8000, 1, "i16"), I16, Audio(8000, 1, "i16")),
        (F32.reshape(2, 3).T, Audio(8, 2, "f32"), F32.reshape(2, 3).T, Audio(8, 2, "f32")),
        (U8.reshape(2, 3, 1), Video(3, 2, "GRAY8", 0), U8.reshape(2, 3), Video(3, 2, "gray", 0)),
        (U8[::-1], Video(2, 1, "rgb", 0), U8[::-1].reshape(1, 2, 3), Video(2, 1, "rgb", 0)),
        (U8.tobytes(), Video(2, 1, "rgb24", 0), U8.reshape(1, 2, 3), Video(2, 1, "rgb", 0)),
        (U8, Video(9, 9, "", 0), U8, Video(9, 9, "", 0)),
        (F32.astype(">f8"), None, F32.astype("<f8"), None),
        (F32.reshape(2, 3).T, None, F32.reshape(2, 3).T, None),
        (I32[::-2], None, I32[::-2], None),
    ],
)
def test_what_is_not_as_the_wire_has_it_is_made_so(payload: Any, metadata: Any, arrives: Any, as_metadata: Any) -> None:
    types = {Audio: DataType.AUDIO, Video: DataType.VIDEO}
    data = RuntimeData(types.get(type(metadata), DataType.TENSOR), payload, "", 1.0, metadata)
    assert there_and_back(data) == RuntimeData(data.type, np.ascontiguousarray(arrives), "", 1.0, as_metadata)


@pytest.mark.parametrize("array", [np.zeros(9, "f4"), np.zeros((2, 3), "i8"), np.zeros((4, 4, 3), "u1")])
def test_a_contiguous_payload_is_not_copied(array: Any) -> None:
    for data in (RuntimeData.tensor(array), RuntimeData.video(array) if array.ndim == 3 else RuntimeData.tensor(array)):
        payloads: list[memoryview] = []
        buffer = buffer_of(data, payloads)
        assert np.shares_memory(np.asarray(payloads[0]), array)
        assert np.shares_memory(data_of(buffer, payloads).as_numpy(), array)
        assert (payloads[0].format, payloads[0].contiguous, payloads[0].ndim) == ("B", True, 1)


@pytest.mark.parametrize(
    ("data_type", "payload", "metadata", "said"),
    [
        (DataType.AUDIO, F32, None, "audio needs AudioMetadata, and has NoneType"),
        (DataType.AUDIO, F32, Audio(8000, 0, "f32"), "0 channels"),
        (DataType.AUDIO, F32, Audio(8000, 4, "f32"), "shape .6,. does not fit 4 channels"),
        (DataType.AUDIO, F32.reshape(2, 3), Audio(8000, 2, "f32"), "shape .2, 3. does not fit 2 channels"),
        (DataType.AUDIO, F32.reshape(1, 2, 3), Audio(8000, 3, "f32"), "does not fit 3 channels"),
        (DataType.AUDIO, U8, Audio(8000, 1, "u8"), "dtype uint8 has no form; use float32, int16 or int32"),
        (DataType.AUDIO, b"abc", Audio(8000, 1, "f64"), "must be one of f32, i16, i32, not 'f64'"),
        (DataType.AUDIO, b"abc", Audio(8000, 1, "f32"), "has no form on the wire"),
        (DataType.AUDIO, "abc", Audio(8000, 1, "f32"), "array of samples, and has a str"),
        (DataType.AUDIO, F32, Audio(-1, 1, "f32"), "this audio has no form on the wire"),
        (DataType.VIDEO, U8, None, "needs VideoMetadata, or a dict"),
        (DataType.VIDEO, "abc", None, "and has a str"),
        (DataType.VIDEO, F32, Video(2, 1, "rgb", 0), "dtype float32 has no form; use uint8"),
        (DataType.VIDEO, U8, Video(2, 1, "bgr", 0), "'bgr' has no form; use one of rgb, rgba, gray, yuv420p"),
        (DataType.VIDEO, U8, Video(2, 2, "rgb", 0), "6 bytes is not 2 x 2 rgb, which has 12"),
        (DataType.VIDEO, U8, Video(3, 2, "i420", 0), "even width and height"),
        (DataType.VIDEO, np.zeros((6, 6), "u1"), Video(6, 6, "i420", 0), "36 bytes is not 6 x 6 i420, which has 54"),
        (DataType.VIDEO, U8, {"width": 3}, "needs metadata codec, one of vp8, h264, av1, and not ''"),
        (DataType.VIDEO, U8, {"codec": "mpeg"}, "and not 'mpeg'"),
        (DataType.VIDEO, U8, {"codec": "vp8", "width": "3"}, "this video has no form"),
        (DataType.TENSOR, "abc", None, "a tensor needs an array or bytes, and has a str"),
        (DataType.TENSOR, np.zeros(2, "M8[s]"), None, "dtype datetime64.s. have no form"),
        (DataType.TENSOR, np.zeros(2, "U3"), None, "have no form"),
        (DataType.TENSOR, np.zeros(2, "i4,f4"), None, "have no form"),
        (DataType.TENSOR, np.zeros(2, "g"), None, "have no form"),
        (DataType.TENSOR, F32, Audio(8000, 1, "f32"), "metadata as a dict, not as AudioMetadata"),
        (DataType.TENSOR, F32, {"a": math.nan}, "this tensor has no form on the wire: .*JSON"),
        (DataType.TENSOR, F32, {1: 2}, "key 1 is not a str"),
        (DataType.TENSOR, F32, {"a": F32}, "cannot travel"),
        (DataType.JSON, b"{}", None, "json needs a str, its text, and has bytes"),
        (DataType.JSON, "{", None, "this json has no form on the wire: its payload is not JSON: Expecting"),
        (DataType.JSON, "NaN", None, "its payload is not JSON: NaN is not a JSON value"),
        (DataType.JSON, '"\ud800"', None, "this json has no form on the wire"),
        (DataType.JSON, "1", Audio(8000, 1, "f32"), "json has metadata as a dict, not as AudioMetadata"),
        (DataType.TEXT, b"abc", None, "text needs a str, and has bytes"),
        (DataType.TEXT, "\ud800", None, "this text has no form on the wire: .*surrogates"),
    ],
)
def test_what_has_no_form_is_refused(data_type: DataType, payload: Any, metadata: Any, said: str) -> None:
    payloads: list[memoryview] = []
    with pytest.raises(PayloadError, match=said):
        buffer_of(RuntimeData(data_type, payload, "", 1.0, metadata), payloads)
    assert payloads == []
