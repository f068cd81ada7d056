"""Audio files as messages, and the way through a file and back."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import AudioMetadata, DataType, RuntimeData

soundfile = pytest.importorskip("soundfile")

from remotemedia.audio import load_audio_file, save_audio_file  # noqa: E402

RAMP = np.linspace(-0.5, 0.5, 100_000, dtype=np.float32)
STEREO = RAMP.reshape(-1, 2)
INTEGERS = np.arange(-3, 5, dtype=np.int16)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "data", "subtype", "back"),
    [
        ("a.wav", RuntimeData.audio(RAMP, 16_000), "FLOAT", RAMP),
        ("A.WAV", RuntimeData.audio(STEREO, 44_100), "FLOAT", STEREO),
        ("a.wav", RuntimeData.audio(RAMP.astype(">f8"), 8_000), "DOUBLE", RAMP),
        ("a.wav", RuntimeData.audio(INTEGERS, 8_000), "PCM_16", INTEGERS / np.float32(2**15)),
        ("a.wav", RuntimeData.audio(INTEGERS.astype(">i4"), 8_000), "PCM_32", INTEGERS / np.float32(2**31)),
        ("a.wav", RuntimeData.audio(INTEGERS, 8_000, 2), "PCM_16", INTEGERS.reshape(4, 2) / np.float32(2**15)),
        ("a.wav", RuntimeData.audio(RAMP.reshape(-1, 1), 8_000), "FLOAT", RAMP),
        ("a.wav", RuntimeData.audio(STEREO[:0], 8_000), "FLOAT", STEREO[:0]),
        ("a.flac", RuntimeData.audio(STEREO, 16_000), "PCM_24", STEREO),
        ("a.flac", RuntimeData.audio(RAMP.astype(">f4"), 16_000), "PCM_24", RAMP),
        ("a.flac", RuntimeData.audio(INTEGERS, 16_000), "PCM_16", INTEGERS / np.float32(2**15)),
        ("a.flac", RuntimeData.audio(STEREO[:0], 8_000), "PCM_24", np.zeros((1, 2), np.float32)),
        ("a.wav", RuntimeData.audio(2 * RAMP, 16_000), "FLOAT", 2 * RAMP),
        (
            "a.wav",
            RuntimeData(DataType.AUDIO, INTEGERS.tobytes(), metadata=AudioMetadata(8_000, 2, "i16")),
            "PCM_16",
            INTEGERS.reshape(4, 2) / np.float32(2**15),
        ),
    ],
)
def test_there_and_back(file: str, data: RuntimeData, subtype: str, back: Any) -> None:
    save_audio_file(file, data)
    assert soundfile.info(file).subtype == subtype
    got = load_audio_file(Path(file))
    sent = data.metadata
    assert isinstance(sent, AudioMetadata)
    assert (got.type, got.metadata) == (DataType.AUDIO, AudioMetadata(sent.sample_rate, sent.channels, "f32"))
    assert (got.as_numpy().dtype, got.as_numpy().shape) == (np.float32, back.shape)
    assert np.allclose(got.as_numpy(), back, rtol=0, atol=0 if file.lower().endswith("wav") else 2**-23)
    assert os.listdir() == [file]  # noqa: PTH208


@pytest.mark.parametrize("file", ["a.wav", "a.flac"])
def test_what_is_no_number_is_silence_or_full_scale(file: str, caplog: pytest.LogCaptureFixture) -> None:
    samples = np.array([np.nan, 0.5, np.inf, -np.inf], np.float32)
    with caplog.at_level(logging.WARNING):
        save_audio_file(file, RuntimeData.audio(samples, 8_000))
    assert np.allclose(load_audio_file(file).as_numpy(), [0, 0.5, 1, -1], rtol=0, atol=2**-22)
    (record,) = caplog.records
    assert file in record.getMessage() and "NaN" in record.getMessage()
    assert np.isnan(samples[0])


def test_a_flac_that_does_not_know_its_length() -> None:
    save_audio_file("a.flac", RuntimeData.audio(STEREO, 16_000))
    raw = bytearray(Path("a.flac").read_bytes())
    raw[21] &= 0xF0
    raw[22:26] = bytes(4)
    Path("stream.flac").write_bytes(raw)
    assert load_audio_file("stream.flac").as_numpy().shape == STEREO.shape


def test_other_formats_are_read() -> None:
    for file in ("a.ogg", "a.mp3", "a.aiff", "a.au"):
        soundfile.write(file, STEREO, 44_100)
        got = load_audio_file(file)
        assert (got.as_numpy().shape[1], got.metadata.sample_rate) == (2, 44_100)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("file", "kind", "why"),
    [
        ("no.wav", FileNotFoundError, "no.wav"),
        (".", (IsADirectoryError, ValueError), "directory|not a file"),
        ("text.wav", ValueError, "text.wav is not audio that can be read"),
        ("empty.wav", ValueError, "empty.wav is "),
        ("noise.raw", ValueError, "noise.raw is not audio that can be read"),
    ],
)
def test_what_cannot_be_loaded(file: str, kind: Any, why: str) -> None:
    Path("text.wav").write_text("hello " * 100)
    Path("empty.wav").touch()
    Path("noise.raw").write_bytes(bytes(range(1, 101)))
    with pytest.raises(kind, match=why):
        load_audio_file(file)


AUDIO = RuntimeData.audio(RAMP, 16_000)


@pytest.mark.parametrize(
    ("file", "data", "kind", "why"),
    [
        ("a.wav", None, TypeError, "takes a RuntimeData, not NoneType"),
        ("a.wav", RAMP, TypeError, "takes a RuntimeData, not ndarray"),
        ("a.wav", RuntimeData.text("a"), TypeError, "takes AUDIO, not TEXT"),
        ("a.wav", RuntimeData(DataType.AUDIO, RAMP), TypeError, "takes audio with AudioMetadata"),
        ("a.wav", RuntimeData(DataType.AUDIO, b"a", metadata=AudioMetadata(8, 1, "f64")), ValueError, "not of 'f64'"),
        ("a.wav", RuntimeData.audio(RAMP.astype("f2"), 8), ValueError, "samples of float16 cannot be written; int16, "),
        (
            "a.wav",
            RuntimeData(DataType.AUDIO, STEREO, metadata=AudioMetadata(8, 3, "")),
            ValueError,
            "not have 3 channels",
        ),
        (
            "a.wav",
            RuntimeData(DataType.AUDIO, RAMP, metadata=AudioMetadata(0, 1, "")),
            ValueError,
            "0 Hz is not a sample",
        ),
        ("a.mp3", AUDIO, ValueError, r"must end in .wav or .flac"),
        ("folder/a.wav", AUDIO, FileNotFoundError, "'folder/a.wav'"),
        ("a.flac", RuntimeData.audio(np.zeros((9, 9)), 8_000), OSError, "a.flac cannot be written.* 9 channels"),
        ("a.wav", RuntimeData.audio(RAMP, 2**32 - 1), OSError, "a.wav cannot be written.* 4294967295 Hz"),
    ],
)
def test_what_cannot_be_saved_leaves_what_was_there(file: str, data: Any, kind: type[Exception], why: str) -> None:
    for name in ("a.wav", "a.flac"):
        Path(name).write_text("what was there")
    with pytest.raises(kind, match=why):
        save_audio_file(file, data)
    assert {path.name: path.read_text() for path in Path().iterdir()} == dict.fromkeys(
        ("a.wav", "a.flac"), "what was there"
    )


def test_the_file_that_is_replaced_keeps_its_permissions_and_a_link_stays_one() -> None:
    Path("a.wav").touch(mode=0o640)
    Path("a.wav").chmod(0o640)
    Path("link.wav").symlink_to("a.wav")
    save_audio_file("link.wav", AUDIO)
    assert Path("link.wav").is_symlink()
    assert Path("a.wav").stat().st_mode & 0o777 == 0o640
    assert load_audio_file("a.wav").as_numpy().size == RAMP.size


def test_the_library_is_loaded_with_the_first_file() -> None:
    program = (
        "import sys, remotemedia.core.multiprocessing as door\n"
        "door.load_audio_file, door.save_audio_file\n"
        "print('soundfile' in sys.modules)\n"
        "sys.modules['soundfile'] = None\n"
        "try: door.load_audio_file('a.wav')\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0] == "False"
    assert "soundfile" in lines[1] and "-m pip install " in lines[1] and "[speech]" in lines[1]
