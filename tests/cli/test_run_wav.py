"""WAV through pipes: what is read is what libsndfile reads, and what is written it reads again."""

import asyncio
import io
import os
import struct
import subprocess
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


# --- samples that are not numbers --------------------------------------------------------------------------------


def test_samples_that_are_not_numbers_are_replaced_and_counted_once_per_file(rx, tmp_path):
    path = rx.manifest(tmp_path, *["run-kinds"] * 4, connections=[])
    (tmp_path / "in").write_text("not numbers\nnot numbers\n")
    (tmp_path / "wide").write_text("float64 not numbers\n")
    inputs = [f"-i{node}={file}" for node, file in zip("abcd", ["in", "in", "in", "wide"], strict=True)]
    done = rx.run(path, *inputs, "-O", "a=a.wav", "-O", "b=b.flac", "-O", "c=-", "-O", "d=d.wav", "-q")
    replaced = "2 samples were NaN, taken as 0; 4 samples were infinite, taken as 1 or -1\n"
    assert done.returncode == 0
    assert done.stderr.decode() == (
        f"remotemedia: a.wav: {replaced}remotemedia: b.flac: {replaced}remotemedia: -: {replaced}"
        "remotemedia: d.wav: 1 sample was NaN, taken as 0; 1 sample was infinite, taken as 1 or -1\n"
    )
    # Finite ones stay, but for the integers of FLAC.
    for file in (tmp_path / "a.wav", io.BytesIO(done.stdout)):
        assert soundfile.read(file, dtype="float32")[0].tolist() == [0, 0.5, 1, -1, 2, -2] * 2
    full = 1 - 2**-23
    assert soundfile.read(tmp_path / "b.flac")[0].tolist() == [0, 0.5, full, -1, full, -1] * 2
    assert soundfile.read(tmp_path / "d.wav")[0].tolist() == [[0, 0.5], [1e300, -1]]


# --- files that cannot be finished -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["o.wav", "o.flac"])
def test_a_file_that_cannot_be_finished_is_not_left_behind(rx, tmp_path, name):
    path = rx.manifest(tmp_path, "run-full")
    (tmp_path / name).write_bytes(b"of an earlier run")
    done = rx.run(path, "-i", "-", "-O", name, "-q", data=b"text")
    assert done.stderr.decode() == f"remotemedia: the output cannot be written to {name}: File too large\n"
    assert done.returncode == 2
    assert (tmp_path / name).read_bytes() == b"of an earlier run"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.json", name]


def test_of_a_run_that_is_killed_no_file_is_left(rx, tmp_path):
    fifo = tmp_path / "hold"
    os.mkfifo(fifo)
    path = rx.manifest(tmp_path, ("run-do", {"fifo": str(fifo)}))
    (tmp_path / "in.txt").write_text("text\nhold\n")
    command = rx.arguments(path, "-i", "in.txt", "-O", "out.txt", "-q")
    # Opened once the node has got to the second line, which it must not get to the end of.
    with subprocess.Popen(command, cwd=tmp_path) as process, fifo.open("w"):
        process.kill()
        process.wait()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["hold", "in.txt", "m.json"]
