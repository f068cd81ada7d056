"""Buffers as clients send them: what a pipeline gets of them, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import remotemedia_v1_pb2 as pb

from remotemedia.core.data import AudioMetadata, DataType, RuntimeData
from remotemedia.wire.buffers import audio_data_of, buffer_of, data_of, json_as_text, kind_of
from remotemedia.wire.payload import Envelope, decode, encode

KINDS = {
    "audio": pb.AudioBuffer,
    "video": pb.VideoFrame,
    "tensor": pb.TensorBuffer,
    "numpy": pb.NumpyBuffer,
    "binary": pb.BinaryBuffer,
    "text": pb.TextBuffer,
    "json": pb.JsonData,
    "file": pb.FileBuffer,
}


def of(member: str, common: dict[str, Any] | None = None, /, **fields: Any) -> pb.DataBuffer:
    return pb.DataBuffer(**{member: KINDS[member](**fields)}, **(common or {}))


def received(buffer: pb.DataBuffer) -> RuntimeData:
    message = pb.StreamRequest(data_chunk=pb.DataChunk(buffer=buffer))
    envelope = decode(pb.StreamRequest, message.SerializeToString())
    return data_of(envelope.message.data_chunk.buffer, envelope.payloads)


F32 = np.arange(6, dtype="f4")
RAW = F32.tobytes()
CODED = {"frame_number": 9, "timestamp_us": 7, "codec": 3, "is_keyframe": True}
FILE = {"filename": "b", "mime_type": "x/y", "size": 2**63, "offset": 1, "length": 2, "stream_id": "s"}


@pytest.mark.parametrize(
    "buffer",
    [
        of("audio", samples=RAW, sample_rate=16000, channels=2, format=1, num_samples=6),
        of("audio", samples=RAW, sample_rate=8000, channels=1, format=2, num_samples=12),
        of("video", pixel_data=RAW, width=4, height=2, format=1, fps=30),
        of("video", pixel_data=RAW, width=4, height=4, format=5),
        of("video", pixel_data=RAW, width=640, height=480),
        of("video", pixel_data=RAW, width=64, **CODED),
        of("video", format=255, codec=1),
        of("video", {"metadata": {"more": "text"}}, pixel_data=RAW, format=255),
        of("tensor", data=RAW, shape=[2, 3], dtype=1, layout="NC"),
        of("tensor", data=RAW, shape=[2, 6], dtype=2),
        of("tensor", data=RAW, shape=[2, 3], dtype=3),
        of("tensor", data=RAW, shape=[24], dtype=4),
        of("tensor", data=RAW, shape=[3, 8], dtype=5),
        of("tensor", {"metadata_json": '{"a":[1]}'}, data=b"abcd", dtype=1),
        of("tensor", shape=[0, 3], dtype=1),
        of("numpy", data=RAW, shape=[3], dtype="float64", strides=[8], c_contiguous=True, f_contiguous=True),
        of("binary", {"metadata": {"a": "b"}, "port": "left"}, data=b"\0\1", mime_type="image/png"),
        of("binary"),
        of("text", text_data="hé".encode(), encoding="utf-8", language="fr", channel="ui"),
        of("text", {"timestamp_secs": 1.5}, encoding="utf-8"),
        of("json", json_payload=' {"a": 1}\n', schema_type="s"),
        of("file", path="/a/b", **FILE),
        of("file", path="a"),
    ],
    ids=kind_of,
)
def test_an_echo_is_what_was_sent(buffer: pb.DataBuffer) -> None:
    data = received(buffer)
    payloads: list[memoryview] = []
    message = pb.StreamRequest(data_chunk=pb.DataChunk(buffer=buffer_of(data, payloads)))
    echo = pb.StreamRequest.FromString(encode(Envelope(message, payloads))).data_chunk.buffer
    if not buffer.timestamp_secs:
        assert echo.timestamp_secs == data.timestamp > 1e9
        echo.timestamp_secs = 0
    assert echo == buffer


@pytest.mark.parametrize(
    ("buffer", "payload", "metadata"),
    [
        (of("audio", samples=RAW, sample_rate=8), F32, AudioMetadata(8, 1, "f32")),
        (of("tensor", data=RAW, shape=[6]), F32, None),
        (of("tensor", data=b"ab", shape=[2]), np.array([97, 98], "u1"), None),
        (of("tensor", data=b"abcd", shape=[2]), np.frombuffer(b"abcd", "f2"), None),
        (of("tensor", data=b"\0\0\0\0"), np.array(0, "f4"), None),
        (of("numpy", data=RAW, shape=[2, 3], dtype=">f4"), np.frombuffer(RAW, ">f4").reshape(2, 3), None),
        (of("numpy", data=RAW, shape=[2, 3], dtype="f4", f_contiguous=True), F32.reshape(3, 2).T, None),
        (of("numpy", data=RAW, shape=[2, 2], dtype="<f4", strides=[12, 4]), F32.reshape(2, 3)[:, :2], None),
        (of("numpy", shape=[0, 9], dtype="bool", strides=[-9, 9]), np.zeros((0, 9), "?"), None),
        (of("text", text_data=b"\xe9", encoding="ISO-8859-1"), "é", None),
        (of("text", {"metadata": {"language": "x"}}, text_data=b"a"), "a", {"language": "x"}),
        (of("text", {"metadata": {"language": "x"}}, text_data=b"a", language="y"), "a", {"language": "y"}),
        (of("json", {"metadata_json": '{"a": 1}'}, json_payload="1"), "1", {"a": 1}),
        (of("json", {"metadata": {"schema_type": "a"}}, json_payload="1", schema_type="b"), "1", {"schema_type": "b"}),
        (
            of("audio", {"metadata": {"a": "b"}}, sample_rate=8, metadata_json=b"{}"),
            F32[:0],
            AudioMetadata(8, 1, "f32"),
        ),
    ],
)
def test_what_clients_may_leave_out_or_say_otherwise(buffer: pb.DataBuffer, payload: Any, metadata: Any) -> None:
    data = received(buffer)
    assert data == RuntimeData(data.type, payload, "", data.timestamp, metadata)


def test_the_older_chunk_of_audio() -> None:
    buffer = pb.AudioBuffer(samples=RAW, sample_rate=16000, channels=2, format=pb.AUDIO_FORMAT_F32)
    message = pb.StreamRequest(audio_chunk=pb.AudioChunk(buffer=buffer))
    envelope = decode(pb.StreamRequest, message.SerializeToString())
    data = audio_data_of(envelope.message.audio_chunk.buffer, envelope.payloads)
    assert data == RuntimeData.audio(F32.reshape(3, 2), 16000, 2, timestamp=data.timestamp)


def test_json_for_those_who_take_text() -> None:
    """As it was before JSON was a type of its own: a text that says what it is, and goes out as it came."""
    buffer = of(
        "json", {"metadata": {"a": "b"}, "port": "p", "timestamp_secs": 1.5}, json_payload="{ }", schema_type="s"
    )
    data = json_as_text(received(buffer))
    metadata = {"a": "b", "mime_type": "application/json", "schema_type": "s"}
    assert data == RuntimeData(DataType.TEXT, "{ }", "", 1.5, metadata)
    assert data.port == "p"
    assert buffer_of(data, []) == buffer


def test_kinds() -> None:
    assert kind_of(of("numpy")) == "numpy"
    assert kind_of(pb.DataBuffer()) == ""


NUMPY = {"data": RAW, "dtype": "float32"}


@pytest.mark.parametrize(
    ("buffer", "said"),
    [
        (pb.DataBuffer(), "the DataBuffer holds nothing; set one of audio, video, tensor, json, text, binary, numpy"),
        (pb.DataBuffer(control=pb.ControlMessage()), "holds control, which is not data; set one of audio"),
        (of("binary", {"timestamp_secs": float("inf")}), "timestamp_secs is inf"),
        (of("binary", {"metadata_json": "[]"}), "metadata_json is not a JSON object, but a list"),
        (of("binary", {"metadata_json": '{"a": NaN}'}), "metadata_json is not JSON: NaN"),
        (of("binary", {"metadata_json": "{}", "metadata": {"a": "b"}}), "both metadata and metadata_json"),
        (of("audio", samples=RAW), "sample_rate is 0 or not set; give it in Hz"),
        (of("audio", samples=RAW, sample_rate=8, format=9), r"format 9 is not one of 1 \(f32\), 2 \(i16\), 3 \(i32\)"),
        (of("audio", samples=RAW, sample_rate=8, channels=4), "samples has 24 bytes, .* 4 x 4 bytes"),
        (of("audio", samples=RAW, sample_rate=8, num_samples=7), "num_samples is 7, but samples has 6"),
        (of("audio", sample_rate=8, metadata_json=b"1"), "AudioBuffer.metadata_json is not a JSON object"),
        (of("audio", sample_rate=8, metadata_json=b"[" * 100_000), "metadata_json is not JSON: it is nested too deep"),
        (of("video", format=9), r"VideoFrame.format 9 is not one of 0 \(not given\), 1 \(rgb\)"),
        (of("video", codec=9), r"VideoFrame.codec 9 is not one of 0 \(not given\), 1 \(vp8\)"),
        (of("video", pixel_data=RAW, format=1, width=3, height=3), "has 24 bytes, but 3 x 3 rgb is 27"),
        (
            of("video", pixel_data=RAW, format=6, width=3, height=4),
            "nv12 has an even width and height, and this frame 3 x 4",
        ),
        (of("video", pixel_data=RAW, format=5, width=4, height=3), "i420 has an even width and height"),
        (of("video", format=1, width=2**32 - 1, height=2**32 - 1), "but 4294967295 x 4294967295 rgb"),
        (of("tensor", data=RAW, dtype=9), "dtype 9 is not one of 1 .float32"),
        (of("tensor", data=RAW, dtype=1, shape=[7]), "data has 24 bytes, but shape .7,. of float32 is 28"),
        (of("tensor", data=RAW, dtype=1, shape=[5]), "data has 24 bytes, but shape .5,. of float32 is 20"),
        (of("tensor", data=RAW, dtype=1, shape=[2**32, 2**32]), "is too large"),
        (of("tensor", dtype=1, shape=[0, 2**64 - 1]), "is too large"),
        (of("tensor", data=RAW, dtype=5, shape=[1] * 8 + [24]), "9 dimensions; 8 are allowed"),
        (of("tensor", data=RAW, shape=[3]), "dtype is not set, and no dtype makes the 24 bytes of data fit"),
        (of("tensor", data=RAW, shape=[0]), "dtype is not set"),
        (of("tensor", data=RAW, shape=[5]), "dtype is not set"),
        *(
            (of("numpy", dtype=name), "NumpyBuffer.dtype")
            for name in ("", "object", "O", "i4,f4", "(9,)f4", "U3", "V4")
        ),
        (of("numpy", **NUMPY, shape=[7]), "data has 24 bytes, but shape .7,. of float32 is 28"),
        (of("numpy", **NUMPY, shape=[5]), "data has 24 bytes, but shape .5,. of float32 is 20"),
        (of("numpy", **NUMPY, shape=[2**63]), "is too large"),
        (of("numpy", **NUMPY, shape=[6], strides=[4, 4]), "strides has 2 entries, but shape has 1"),
        (of("numpy", **NUMPY, shape=[6], strides=[5]), "strides .5,. of shape .6,. and float32 leave the 24 bytes"),
        (of("numpy", **NUMPY, shape=[6], strides=[-4]), "leave the 24 bytes"),
        (of("numpy", **NUMPY, shape=[2, 2], strides=[2**63 - 1, 2**63 - 1]), "leave the 24 bytes"),
        (of("numpy", **NUMPY, shape=[2**40], strides=[0]), "leave the 24 bytes"),
        (of("text", text_data=b"\xff"), "TextBuffer.text_data is not text in utf-8: .*0xff"),
        (of("text", encoding="klingon"), "encoding 'klingon' is not known; use 'utf-8'"),
        (of("text", text_data=b"x", encoding="zlib_codec"), "is not text in zlib_codec"),
        (of("text", encoding="punycode"), "is not known"),
        (of("text", encoding="x" * 1000), "^.{,200}$"),
        (of("numpy", dtype="x" * 1000), "^.{,200}$"),
        (of("numpy", dtype="float32", shape=[1] * 1000), "^.{,200}$"),
        (of("numpy", **NUMPY, shape=[6], strides=[1] * 1000), "^.{,200}$"),
        (of("json"), "json_payload is not JSON: Expecting value"),
        (of("json", json_payload='{"a": Infinity}'), "json_payload is not JSON: Infinity is not a JSON value"),
        (of("json", json_payload="[" * 100_000), "json_payload is not JSON: it is nested too deep"),
        (of("file", filename="a"), "FileBuffer.path is empty"),
    ],
)
def test_refused(buffer: pb.DataBuffer, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        received(buffer)
