"""RuntimeData and its metadata, without any channel."""

from __future__ import annotations

import re
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
from remotemedia.errors import ChannelCorruptedError, PayloadError


def test_fields_as_the_contract_has_them() -> None:
    samples = np.zeros(160, np.float32)
    data = RuntimeData(DataType.AUDIO, samples, "session", 12.5, AudioMetadata(16000, 1, "f32"))
    assert (data.type, data.session_id, data.timestamp) == (DataType.AUDIO, "session", 12.5)
    assert data.payload is samples
    assert data.as_numpy() is samples
    assert [kind.value for kind in DataType] == ["audio", "video", "text", "tensor", "control", "json"]


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


@pytest.mark.parametrize("origin", [0, 1, 2**64 - 1])
def test_makers_take_an_origin(origin: int) -> None:
    made = [
        RuntimeData.audio(FRAMES, 8000, origin=origin),
        RuntimeData.text("x", origin=origin),
        RuntimeData.tensor(FRAMES, origin=origin),
        RuntimeData.video(PIXELS, origin=origin),
        RuntimeData.json(None, origin=origin),
    ]
    assert [data.origin for data in made] == [origin] * 5
    assert RuntimeData.text("x").origin == 0


FRAMES = np.zeros((5, 2), np.float32)


@pytest.mark.parametrize(
    ("samples", "arguments", "said"),
    [
        (FRAMES, (8000,), (8000, 2)),
        (FRAMES[:, :1], (8000,), (8000, 1)),
        (FRAMES[:0], (8000,), (8000, 2)),
        (FRAMES[:, 0], (8000,), (8000, 1)),
        (np.zeros(6, np.int16), (8000, 2), (8000, 2)),
        (np.zeros((1, 64), np.uint8), (8000,), (8000, 64)),
        (np.zeros((9, 100), np.float16), (8000, 100), (8000, 100)),
        (FRAMES, (16000.0, 2.0), (16000, 2)),
        (FRAMES, (np.uint32(44100), np.int8(2)), (44100, 2)),
        (FRAMES, (np.float32(44100),), (44100, 2)),
    ],
)
def test_audio_has_the_channels_of_its_shape(samples: Any, arguments: Any, said: tuple[int, int]) -> None:
    metadata = RuntimeData.audio(samples, *arguments).metadata
    assert isinstance(metadata, AudioMetadata)
    assert (metadata.sample_rate, metadata.channels) == said
    assert {type(value) for value in said} == {type(metadata.sample_rate), type(metadata.channels)} == {int}


@pytest.mark.parametrize(
    ("arguments", "kind", "why"),
    [
        (([0.1, 0.2], 8000), TypeError, r"numpy array of samples, not list; np.asarray\(x, np.float32\) makes one"),
        ((b"ab", 8000), TypeError, r"not bytes; np.frombuffer\(x, np.int16\)"),
        ((8000, FRAMES), TypeError, "numpy array of samples, not int"),
        ((FRAMES, FRAMES), TypeError, "sample_rate in Hz must be a whole number from 1 to 4294967295, not array"),
        ((FRAMES, "8000"), TypeError, "sample_rate .* not '8000'"),
        ((FRAMES, True), TypeError, "sample_rate .* not True"),
        ((FRAMES, 0), ValueError, "sample_rate .* not 0"),
        ((FRAMES, 2**32), ValueError, "sample_rate .* not 4294967296"),
        ((FRAMES, 16000.5), ValueError, "sample_rate .* not 16000.5"),
        ((FRAMES, float("nan")), ValueError, "sample_rate .* not nan"),
        ((FRAMES[:, 0], 8000, 0), ValueError, "channels must be a whole number from 1"),
        ((FRAMES, 8000, 1), ValueError, r"shape \(5, 2\) is \(n, channels\), so 2 channels, not 1"),
        ((FRAMES.T, 8000, 2), ValueError, r"shape \(2, 5\) is \(n, channels\), so 5 channels, not 2; use samples.T"),
        (
            (np.zeros((2, 65)), 8000),
            ValueError,
            "so 65 channels; for 2 channels pass samples.T, else channels=65",
        ),
        ((np.zeros((5, 0)), 8000), ValueError, "and has no channels"),
        ((FRAMES[:, 0], 8000, 2), ValueError, "5 samples are not frames of 2 channels each"),
        ((np.zeros(()), 8000), ValueError, r"shape \(n,\) or \(n, channels\), not \(\)"),
        ((np.zeros((1, 2, 3)), 8000), ValueError, r"not \(1, 2, 3\)"),
        ((np.zeros(3, complex), 8000), TypeError, "numbers such as float32 or int16, not complex128"),
        ((np.array(["a"]), 8000), TypeError, "not <U1"),
    ],
)
def test_what_is_no_audio_says_which_argument(arguments: Any, kind: type[Exception], why: str) -> None:
    with pytest.raises(kind, match=f"RuntimeData.audio.*{why}"):
        RuntimeData.audio(*arguments)


@pytest.mark.parametrize(
    ("shape", "pixel_format", "size"),
    [
        ((720, 640), "yuv420p", (640, 480)),
        ((720, 640), "YUV420", (640, 480)),
        ((720, 640), "i420", (640, 480)),
        ((6, 4), "nv12", (4, 4)),
        ((480, 640, 3), "bgr", (640, 480)),
        ((480, 640, 4), "rgba32", (640, 480)),
        ((480, 640), "gray", (640, 480)),
        ((480, 640, 1), "GRAY8", (640, 480)),
        ((0, 0, 3), "rgb24", (0, 0)),
    ],
)
def test_video_has_the_size_of_the_picture(shape: Any, pixel_format: str, size: tuple[int, int]) -> None:
    data = RuntimeData.video(np.zeros(shape, np.uint8), pixel_format, np.float32(25))  # type: ignore[arg-type]
    assert data.metadata == VideoMetadata(*size, pixel_format, 25.0)


PIXELS = np.zeros((4, 6, 3), np.uint8)


@pytest.mark.parametrize(
    ("arguments", "kind", "why"),
    [
        ((PIXELS, "rbg"), ValueError, "format 'rbg' is not one of rgb, rgba, bgr, bgra, gray, yuv420p, i420, nv12; "),
        (
            (PIXELS, "x" * 10**6),
            ValueError,
            r"format 'x{19}\[\.\.\. 999,962 characters \.\.\.\]x{19}' is not one of rgb",
        ),
        ((PIXELS, 25.0), TypeError, "format must be a str, not 25.0"),
        ((PIXELS[..., 0],), ValueError, r"'rgb' must have shape \(height, width, 3\), not \(4, 6\)"),
        ((PIXELS.transpose(2, 0, 1),), ValueError, r"not \(3, 4, 6\); use frame.transpose\(1, 2, 0\)"),
        ((PIXELS, "nv12"), ValueError, r"'nv12' must have shape \(height \* 3 // 2, width\) with .* not \(4, 6, 3\)"),
        ((PIXELS[..., 0], "i420"), ValueError, "an even width and height, not"),
        ((np.zeros((6, 3), np.uint8), "i420"), ValueError, "an even width and height, not"),
        ((PIXELS, "gray"), ValueError, r"'gray' must have shape \(height, width\), not"),
        ((PIXELS, "rgb", float("nan")), ValueError, "fps must be a number of frames per second .0 = unknown., not nan"),
        ((PIXELS, "rgb", -1), ValueError, "fps .* not -1"),
        ((PIXELS, "rgb", "25"), TypeError, "fps .* not '25'"),
        ((PIXELS.tobytes(),), TypeError, r"numpy array of pixels, not bytes; np.frombuffer\(x, np.uint8\)"),
    ],
)
def test_what_is_no_video_says_which_argument(arguments: Any, kind: type[Exception], why: str) -> None:
    with pytest.raises(kind, match=f"RuntimeData.video.*{why}"):
        RuntimeData.video(*arguments)


@pytest.mark.parametrize(("value", "why"), [(b"a", r"not bytes; x.decode\(\) makes one"), (3, r"not int; str\(x\)")])
def test_text_is_a_str(value: Any, why: str) -> None:
    with pytest.raises(TypeError, match=f"RuntimeData.text takes a str, {why}"):
        RuntimeData.text(value)


NOTHING_SAID = RuntimeData.__new__(RuntimeData)
released = memoryview(b"abc")
released.release()


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (RuntimeData.audio(np.linspace(-0.5, 0.25, 160, dtype="f4"), 16000), r"<float32 \(160,\) from -0.5 to 0.25>"),
        (RuntimeData.audio(FRAMES, 8000), r"<float32 \(5, 2\) all 0>.*sample_rate=8000, channels=2, format='f32'"),
        (RuntimeData.video(PIXELS), r"<uint8 \(4, 6, 3\) all 0>.*width=6, height=4, format='rgb', fps=30.0"),
        (RuntimeData.tensor(np.array([1, np.nan, np.inf])), r"<float64 \(3,\) all 1, 2 values not finite>"),
        (RuntimeData.tensor(np.array([np.nan])), r"<float64 \(1,\), 1 value not finite>"),
        (RuntimeData.tensor(np.zeros((0, 3))), r"<float64 \(0, 3\)>"),
        (RuntimeData.tensor(np.array(7)), r"<int64 \(\) all 7>"),
        (RuntimeData.tensor(np.zeros(2, [("a", "f4")])), r"<\[\('a', '<f4'\)\] \(2,\)>"),
        (RuntimeData.tensor(np.zeros(2, [(f"a{n}", "f4") for n in range(1000)])), r"\.\.\. \(2,\)>"),
        (RuntimeData.tensor(np.zeros(10**7)), r"\(10000000,\) all 0 \(the first 262,144 of 10,000,000\)"),
        (RuntimeData.tensor(np.zeros((9, 10**6)).T), r"\(1000000, 9\) all 0 \(the first 262,143 of 9,000,000\)"),
        (RuntimeData.tensor(np.zeros((1, 10**6), "u1")), r"\(1, 1000000\) all 0 \(the first 262,144 of 1,000,000\)"),
        (RuntimeData.text("x" * 10**6), r"<'x{60}'\.\.\. \(1,000,000 characters\)>"),
        (RuntimeData.text("a", metadata={"b": "x" * 10**6, "c": [[0] * 10**6]}), r"metadata=\{'b': 'x.{,80}', 'c': "),
        (RuntimeData(DataType.TENSOR, b"\x00\xff" * 10**6), r"<2,000,000 bytes \(00 ff .{,42} \.\.\.\)>"),
        (RuntimeData(DataType.TENSOR, memoryview(np.zeros((2, 3)))), r"<48 bytes \(d \(2, 3\)\)>"),
        (RuntimeData(DataType.TENSOR, released), "<memoryview that cannot be shown"),
        (RuntimeData(DataType.TENSOR, [0] * 10**6), r"<\[0, 0, 0, 0, 0, 0, \.\.\.\]>"),  # type: ignore[arg-type]
        (RuntimeData(DataType.TEXT, "a", "s", port="words", sequence=3, origin=4), "'s'.*port='words', sequence=3, or"),
        (NOTHING_SAID, r"^RuntimeData\(\)$"),
    ],
)  # fmt: skip
def test_repr_is_short(data: RuntimeData, shown: str) -> None:
    assert re.search(shown, repr(data)), repr(data)
    assert len(repr(data)) < 400
    assert "port=''" not in repr(data)


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
        AudioMetadata(16000.0, np.int64(2), "f32"),  # type: ignore[arg-type]
        AudioMetadata(np.float32(16000), np.uint8(1), "f32"),  # type: ignore[arg-type]
        VideoMetadata(np.uint16(1), 2.0, "", np.float32(0)),  # type: ignore[arg-type]
        VideoMetadata(1, 2, "yuv420", 29.97),
    ],
)
def test_metadata_comes_back(metadata: Any) -> None:
    back = decode_metadata(*encode_metadata(metadata))
    assert back == metadata
    assert type(back) is type(metadata)


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        (AudioMetadata(16000.5, 1, "f32"), "AudioMetadata .* its sample_rate must be a whole number .* not 16000.5"),  # type: ignore[arg-type]
        (AudioMetadata("16000", 1, "f32"), "its sample_rate must be a whole number from 0 to 4294967295, not '16000'"),  # type: ignore[arg-type]
        (AudioMetadata(16000, -1, "f32"), "its channels .* not -1"),
        (AudioMetadata(16000, None, "f32"), "its channels .* not None"),  # type: ignore[arg-type]
        (AudioMetadata(16000, 1, np.dtype("f4")), r"its format must be a str, not dtype\('float32'\)"),  # type: ignore[arg-type]
        (VideoMetadata(np.zeros(10**6), 1, "", 1), "VideoMetadata .* its width .{,140}$"),  # type: ignore[arg-type]
        (VideoMetadata(1, float("inf"), "", 1), "its height .* not inf"),  # type: ignore[arg-type]
        (VideoMetadata(1, 1, "", float("nan")), "its fps must be a number of frames per second .* not nan"),
        (VideoMetadata(1, 1, "", float("inf")), "its fps .* not inf"),
        (VideoMetadata(1, 1, "", -1.0), "its fps .* not -1.0"),
        (VideoMetadata(1, 1, "", "30"), "its fps .* not '30'"),  # type: ignore[arg-type]
        ({"a": [0, {"b": {1}}]}, r"metadata\['a'\]\[1\]\['b'\] is \{1\}, .* type set is not JSON serializable"),
        ({"a": {"b": {1: 2}}}, r"metadata\['a'\]\['b'\] is \{1: 2\}, .* key 1 is not a str"),
        ({"rate": np.float32(1)}, r"metadata\['rate'\] is .* use its tolist\(\)"),
        ({"x": np.zeros(10**6)}, r"^metadata\['x'\] .{,200}$"),
    ],
)  # fmt: skip
def test_metadata_that_cannot_travel_say_which_field(metadata: Any, why: str) -> None:
    with pytest.raises(PayloadError, match=why):
        encode_metadata(metadata)


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
