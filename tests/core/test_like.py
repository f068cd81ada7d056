"""RuntimeData.like: a message with another payload and everything else of the one it was made from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from remotemedia.core.data import AudioMetadata, DataType, RuntimeData, VideoMetadata
from remotemedia.errors import PayloadError

KEPT: dict[str, Any] = {"session_id": "s", "timestamp": 12.5, "origin": 7}
MONO = np.zeros(6, np.float32)
STEREO = np.zeros((6, 2), np.float32)
PIXELS = np.zeros((4, 6, 3), np.uint8)


def filled(data: RuntimeData) -> RuntimeData:
    """As it arrives in a node."""
    data.port, data.sequence = "in", 9
    return data


MESSAGES = [
    filled(RuntimeData.audio(MONO, 8000, **KEPT)),
    filled(RuntimeData.video(PIXELS, "bgr", 25.0, **KEPT)),
    filled(RuntimeData.tensor(MONO, metadata={"layout": "N"}, **KEPT)),
    filled(RuntimeData.text("x", metadata={"language": "en"}, **KEPT)),
]


@pytest.mark.parametrize("data", MESSAGES, ids=lambda data: data.type.name)
def test_everything_but_the_payload_stays(data: RuntimeData) -> None:
    payload = data.payload[:] if isinstance(data.payload, str) else np.copy(data.as_numpy())
    new = data.like(payload)
    assert new is not data and new.payload is payload
    assert (new.type, new.session_id, new.timestamp, new.origin) == (data.type, "s", 12.5, 7)
    assert new.metadata == data.metadata
    assert new.metadata is not data.metadata
    assert (new.port, new.sequence) == ("", 0)


JSON = filled(RuntimeData.json({"a": 1}, metadata={"schema_type": "s"}, **KEPT))


@pytest.mark.parametrize("data", [*MESSAGES, JSON], ids=lambda data: data.type.name)
def test_a_dict_makes_json(data: RuntimeData) -> None:
    new = data.like({"words": ["ä"]})
    assert (new.type, new.payload, new.timestamp, new.origin) == (DataType.JSON, '{"words":["ä"]}', 12.5, 7)
    assert (new.session_id, new.port, new.sequence) == ("s", "", 0)
    assert new.metadata == ({"schema_type": "s"} if data is JSON else None)
    assert JSON.like([1, None]).as_json() == [1, None]


@pytest.mark.parametrize("data", [*MESSAGES, JSON], ids=lambda data: data.type.name)
def test_a_str_makes_text(data: RuntimeData) -> None:
    new = data.like("words")
    assert (new.type, new.payload, new.timestamp, new.origin) == (DataType.TEXT, "words", 12.5, 7)
    assert new.metadata == ({"language": "en"} if data.type is DataType.TEXT else None)


@pytest.mark.parametrize(
    ("data", "samples", "channels", "sample_format"),
    [
        (RuntimeData.audio(MONO, 8000), MONO.astype(np.int16), 1, "i16"),
        (RuntimeData.audio(MONO, 8000), MONO.astype(">f8"), 1, "f64"),
        (RuntimeData.audio(MONO, 8000), STEREO, 2, "f32"),
        (RuntimeData.audio(STEREO, 8000), MONO, 1, "f32"),
        (RuntimeData.audio(STEREO, 8000), STEREO[:, :1], 1, "f32"),
        (RuntimeData.audio(MONO, 8000, 2), MONO[:4], 2, "f32"),  # interleaved, as before
        (RuntimeData.audio(np.zeros((1, 100)), 8000, 100), np.ones((2, 100)), 100, "f64"),
        (RuntimeData(DataType.AUDIO, b"abcd", metadata=AudioMetadata(8000, 2, "i16")), MONO, 2, "f32"),
        (RuntimeData(DataType.AUDIO, MONO, metadata=AudioMetadata(8000, 1, "mine")), MONO[:2], 1, "mine"),
    ],
)
def test_audio_says_what_its_array_is(data: RuntimeData, samples: Any, channels: int, sample_format: str) -> None:
    assert data.like(samples).metadata == AudioMetadata(8000, channels, sample_format)


@given(
    before=st.sampled_from([(4,), (4, 1), (4, 2), (4, 3)]),
    after=st.sampled_from([(4, 1), (4, 2), (4, 3)]),
    dtypes=st.tuples(*[st.sampled_from(["f4", "f8", "i2", "i4", "f2", "u1", ">i2"])] * 2),
)
def test_with_two_dimensions_it_is_what_audio_makes(before: Any, after: Any, dtypes: Any) -> None:
    new = RuntimeData.audio(np.zeros(before, dtypes[0]), 8000, timestamp=1.0).like(np.zeros(after, dtypes[1]))
    assert new == RuntimeData.audio(np.zeros(after, dtypes[1]), 8000, timestamp=1.0)


@pytest.mark.parametrize(
    ("data", "frame", "size"),
    [
        (RuntimeData.video(PIXELS), PIXELS[:2, :3], (3, 2)),
        (RuntimeData.video(np.zeros((6, 4), "u1"), "nv12"), np.zeros((12, 8), "u1"), (8, 8)),
        (RuntimeData(DataType.VIDEO, MONO, metadata=VideoMetadata(6, 4, "h264", 0.0)), MONO[:2], (6, 4)),
    ],
)
def test_video_says_how_large_its_frame_is(data: RuntimeData, frame: Any, size: tuple[int, int]) -> None:
    metadata = data.like(frame).metadata
    assert isinstance(metadata, VideoMetadata) and (metadata.width, metadata.height) == size


@pytest.mark.parametrize(
    ("data", "payload"),
    [
        (RuntimeData.audio(MONO, 8000), b"abcd"),
        (RuntimeData.tensor(b"abcd"), MONO),
        (RuntimeData.tensor(MONO), memoryview(b"a")),
        (RuntimeData(DataType.AUDIO, MONO), STEREO),
        (RuntimeData(DataType.VIDEO, b"a", metadata={"codec": "h264"}), b"bc"),
    ],
)
def test_what_no_array_can_say_stays(data: RuntimeData, payload: Any) -> None:
    new = data.like(payload)
    assert (new.type, new.metadata) == (data.type, data.metadata)
    assert new.payload is payload


TEXT, AUDIO = RuntimeData.text("x"), RuntimeData.audio(MONO, 8000)


@pytest.mark.parametrize(
    ("data", "payload", "kind", "why"),
    [
        (
            TEXT,
            MONO,
            TypeError,
            r"for TEXT it takes a str, not ndarray; RuntimeData.audio\(x, sample_rate\) or .*origin",
        ),
        (TEXT, b"a", TypeError, r"not bytes; .*RuntimeData.tensor\(x\) makes one, with timestamp=data.timestamp"),
        (TEXT, None, TypeError, "not NoneType; it cannot become AUDIO"),
        (
            TEXT,
            ["a"],
            TypeError,
            r"for TEXT it takes a str, not list; .*RuntimeData.json\(x\) makes one, with timestamp",
        ),
        (JSON, MONO, TypeError, "for JSON it takes a dict or a list, not ndarray; RuntimeData.audio"),
        (JSON, 1, TypeError, r"for JSON it takes a dict or a list, not int"),
        (AUDIO, [0.5], TypeError, r"for AUDIO it takes an array, bytes, a str or a dict, not list; .*json\(x\)"),
        (AUDIO, None, TypeError, "not NoneType; it cannot become AUDIO or VIDEO or TEXT or TENSOR or JSON$"),
        (AUDIO, MONO.astype(complex), TypeError, "samples must be numbers such as float32 or int16, not complex128"),
        (AUDIO, np.zeros((2, 65)), ValueError, "so 65 channels; for 2 channels pass samples.T"),
        (AUDIO, np.zeros((1, 2, 3)), ValueError, r"must have shape \(n,\) or \(n, channels\), not \(1, 2, 3\)"),
        (RuntimeData.audio(MONO, 8000, 2), MONO[:5], ValueError, "5 samples are not frames of 2 channels each"),
        (
            RuntimeData.video(PIXELS),
            PIXELS[..., 0],
            ValueError,
            r"frame of 'rgb' must have shape \(height, width, 3\), not \(4, 6\); RuntimeData.video\(x, format, fps\) ",
        ),
    ],
)
def test_what_does_not_fit_says_how_to_make_it(
    data: RuntimeData, payload: Any, kind: type[Exception], why: str
) -> None:
    with pytest.raises(kind, match=f"^RuntimeData.like.*{why}"):
        data.like(payload)


def test_a_change_of_the_new_metadata_is_not_one_of_the_old() -> None:
    for data in MESSAGES:
        new = data.like(data.payload)
        if isinstance(new.metadata, dict):
            new.metadata["more"] = 1
        else:
            assert new.metadata is not None
            new.metadata.format = "other"
        assert new.metadata != data.metadata


def test_what_is_not_json_says_where() -> None:
    with pytest.raises(PayloadError, match=r"RuntimeData.json: value\['a'\] is nan"):
        AUDIO.like({"a": float("nan")})
