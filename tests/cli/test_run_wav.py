"""WAV through pipes: what is read is what libsndfile reads, and what is written it reads again."""

import asyncio
import io
import os
import struct
import threading

import numpy as np
import pytest

from remotemedia.cli._errors import Mistake
from remotemedia.cli._pipes import PipeReader
from remotemedia.cli._wav import read_wav_head, wav_head

soundfile = pytest.importorskip("soundfile")

NOISE = np.random.default_rng(0).normal(0, 0.5, (500, 6)).astype(np.float32)


def read(data):
    """Samples and their rate, from a real pipe."""
    ours, theirs = os.pipe()

    def write():
        with os.fdopen(theirs, "wb") as pipe:
            pipe.write(data)

    async def talk():
        reader = PipeReader(ours)
        form, size = await read_wav_head(reader, "it")
        raw = await reader.read_all()
        return form.decode(raw if size is None else raw[:size]), form.sample_rate

    writer = threading.Thread(target=write)
    writer.start()
    try:
        return asyncio.run(talk())
    finally:
        writer.join()
        os.close(ours)


@pytest.mark.parametrize("form", ["WAV", "WAVEX"])
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAW", "ULAW"])
def test_every_sample_format(form, channels, subtype):
    file = io.BytesIO()
    soundfile.write(file, NOISE[:, :channels], 11_025, subtype, format=form)
    file.seek(0)
    expected = soundfile.read(file, dtype="float32")[0]
    samples, rate = read(file.getvalue())
    assert (samples.shape, samples.tobytes(), rate) == (expected.shape, expected.tobytes(), 11_025)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("dtype", ["int16", "int32", "float32", "float64"])
def test_what_is_written_is_read_again(dtype, channels, known):
    samples = (NOISE[:, :channels] * (1 if dtype.startswith("f") else 20_000)).astype(dtype).squeeze()
    head = wav_head(11_025, channels, samples.dtype, samples.nbytes if known else None)
    file = io.BytesIO(head + samples.tobytes())
    with soundfile.SoundFile(file) as read:
        assert (read.samplerate, read.channels, read.frames) == (11_025, channels, 500)
        assert read.read(dtype=dtype).tobytes() == samples.tobytes()


def test_more_than_a_wav_can_count_is_read_to_its_end():
    head = wav_head(8000, 1, np.dtype(np.float32), 1 << 32)
    assert head == wav_head(8000, 1, np.dtype(np.float32), None)[: len(head) - 16 - 4] + head[-20:]
    assert struct.unpack("<I", head[-4:]) == (0xFFFFFFFF,)


def test_a_stream_cut_within_a_sample():
    head = wav_head(8000, 2, np.dtype(np.int16))
    assert read(head + b"\0\x40\0\xc0" + b"abc")[0].tolist() == [[0.5, -0.5]]


def test_a_chunk_of_odd_length_is_padded():
    head = wav_head(8000, 1, np.dtype(np.int16), 2)
    odd = b"note" + struct.pack("<I", 3) + b"abc\0"
    assert read(head[:-8] + odd + head[-8:] + b"\0\x40")[0].tolist() == [0.5]


GOOD = wav_head(8000, 1, np.dtype(np.int16), 4) + b"abcd"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not a WAV"),
        (b"RIFF", "is not a WAV"),
        (b"fLaC" + GOOD[4:], "is not a WAV"),
        (GOOD[:12], "it ends in its head"),
        (GOOD[:30], "it ends in its head"),
        (GOOD[:12] + GOOD[36:], "does not say how its samples look"),
        (GOOD[:16] + struct.pack("<I", 4) + b"\1\0\1\0" + GOOD[36:], "'fmt ' of 4 bytes"),
        (GOOD[:16] + struct.pack("<I", 1 << 30), "chunk b'fmt ' of 1073741824 bytes"),
        (GOOD[:20] + b"\2\0" + GOOD[22:], "format 2, 16 bits"),
        (GOOD[:22] + b"\0\0" + GOOD[24:], "0 channels"),
        (GOOD[:24] + b"\0\0\0\0" + GOOD[28:], "0 Hz"),
        (GOOD[:32] + b"\3\0" + GOOD[34:], "cannot be read from a pipe"),
        (GOOD[:34] + b"\x0c\0" + GOOD[36:], "12 bits"),
    ],
)
def test_what_is_no_wav(data, message):
    with pytest.raises(Mistake, match="it is ") as caught:
        read(data)
    assert message in str(caught.value)
