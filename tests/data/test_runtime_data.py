"""RuntimeData and its metadata, without any channel."""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from remotemedia.core.data import (
    AudioMetadata,
    DataType,
    RuntimeData,
    VideoMetadata,
    decode_metadata,
    encode_metadata,
)
from remotemedia.errors import ChannelCorruptedError


def test_fields_as_the_contract_has_them() -> None:
    samples = np.zeros(160, np.float32)
    data = RuntimeData(DataType.AUDIO, samples, "session", 12.5, AudioMetadata(16000, 1, "f32"))
    assert (data.type, data.session_id, data.timestamp) == (DataType.AUDIO, "session", 12.5)
    assert data.payload is samples
    assert data.as_numpy() is samples
    assert [kind.value for kind in DataType] == ["audio", "video", "text", "tensor"]


def test_timestamp_is_now_unless_given() -> None:
    before = time.time()
    assert before <= RuntimeData.text("x").timestamp <= time.time()


@pytest.mark.parametrize(
    ("payload", "size"),
    [
        (np.zeros((2, 3), "f8"), 48),
        (np.zeros((0, 3)), 0),
        (b"abc", 3),
        (bytearray(4), 4),
        (memoryview(np.zeros(3, "f8")), 24),
        ("abc", 3),
        ("ä€", 5),
        ("\ud800", 3),
    ],
)
def test_size_is_in_bytes(payload: Any, size: int) -> None:
    assert RuntimeData(DataType.TENSOR, payload).size == size


def test_makers() -> None:
    audio = RuntimeData.audio(np.zeros((5, 2), np.int16), 8000, 2, session_id="s")
    assert audio.metadata == AudioMetadata(8000, 2, "i16")
    assert audio.session_id == "s"
    assert RuntimeData.audio(np.zeros(5, ">f4"), 8000).metadata.format == "f32"  # type: ignore[union-attr]
    video = RuntimeData.video(np.zeros((480, 640, 3), np.uint8))
    assert video.metadata == VideoMetadata(640, 480, "rgb", 30.0)
    assert RuntimeData.text("x").type is DataType.TEXT
    assert RuntimeData.tensor(np.zeros(1)).type is DataType.TENSOR


def test_as_numpy() -> None:
    assert RuntimeData(DataType.TENSOR, b"\1\2").as_numpy().tolist() == [1, 2]
    with pytest.raises(ValueError, match="Cannot convert text to numpy"):
        RuntimeData.text("x").as_numpy()
    with pytest.raises(ValueError, match="Cannot convert list"):
        RuntimeData(DataType.TENSOR, [1]).as_numpy()  # type: ignore[arg-type]
    frozen = np.arange(3)
    frozen.flags.writeable = False
    copy = RuntimeData.tensor(frozen).as_numpy(writable=True)
    copy[0] = 9
    assert frozen[0] == 0
    own = np.arange(3)
    assert RuntimeData.tensor(own).as_numpy(writable=True) is own
    raw = RuntimeData(DataType.TENSOR, b"\1\2").as_numpy(writable=True)
    raw[0] = 7


def test_equality() -> None:
    def data(payload: Any, **fields: Any) -> RuntimeData:
        return RuntimeData(DataType.TENSOR, payload, timestamp=1.0, **fields)

    nan = np.array([np.nan])
    assert data(nan) == data(nan.copy())
    assert data(np.zeros(2, "f4")) != data(np.zeros(2, "f8"))
    assert data(np.zeros(4)) != data(np.zeros((2, 2)))
    assert data(b"ab") == data(memoryview(b"ab"))
    assert data(b"ab") != data(np.frombuffer(b"ab", np.uint8))
    assert data("a") != data("a", session_id="s")
    assert data("a", metadata={}) != data("a")
    assert data("a") != "a"
    with pytest.raises(TypeError):
        hash(data("a"))


@pytest.mark.parametrize(
    ("kind", "raw"),
    [(1, b""), (1, b"1234567"), (1, bytes(8) + b"\xff"), (2, bytes(15)), (3, b""), (3, b"{"), (3, b"[1]"), (3, b"5"),
     (3, b'{"a":' * 100_000), (4, b""), (255, b"")],
)  # fmt: skip
def test_garbage_metadata_is_corruption(kind: int, raw: bytes) -> None:
    with pytest.raises(ChannelCorruptedError, match="metadata"):
        decode_metadata(kind, raw)


@given(kind=st.integers(0, 4), raw=st.binary(max_size=60))
def test_random_metadata_is_read_or_corruption(kind: int, raw: bytes) -> None:
    try:
        decode_metadata(kind, raw)
    except ChannelCorruptedError as error:
        assert str(error)


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {},
        {"a": [1, 2.5, None, True, {"b": "\ud800\0"}], "": -(10**30)},
        {"inf": float("inf")},
        AudioMetadata(0, 2**32 - 1, ""),
        AudioMetadata(48000, 2, "f" * 1000),
        VideoMetadata(1, 2, "yuv420", 29.97),
    ],
)
def test_metadata_comes_back(metadata: Any) -> None:
    back = decode_metadata(*encode_metadata(metadata))
    assert back == metadata
    assert type(back) is type(metadata)


def test_tuples_in_metadata_arrive_as_lists() -> None:
    """JSON has no tuples."""
    assert decode_metadata(*encode_metadata({"a": (1, 2)})) == {"a": [1, 2]}


def test_slots_and_weak_references() -> None:
    import weakref

    data = RuntimeData.text("x")
    assert weakref.ref(data)() is data
    with pytest.raises(AttributeError):
        data.nonsense = 1  # type: ignore[attr-defined]
    assert sys.getsizeof(data) < 200
