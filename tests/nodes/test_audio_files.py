"""AudioFileReaderNode and AudioFileWriterNode: files as users have them."""

import asyncio
import contextlib
import errno
import logging
import os
import resource
from pathlib import Path

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.nodes import AudioFileReaderNode, AudioFileWriterNode
from remotemedia.testing import NodeHost

soundfile = pytest.importorskip("soundfile")


def noise(shape):
    return np.random.default_rng(0).integers(-32768, 32767, shape, np.int16)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
@pytest.mark.parametrize("shape", [(2500,), (2500, 2)])
def test_written_and_read_back(drive, split, tmp_path, suffix, shape):
    samples, path = noise(shape), str(tmp_path / f"a.{suffix}")
    (done,) = drive(AudioFileWriterNode("w", {"path": path}), split(samples, 8_000, [700, 1]))
    assert done.payload == path
    blocks = drive(AudioFileReaderNode("r", {}), [RuntimeData.text(path)])
    assert [len(block.payload) for block in blocks] == [800, 800, 800, 100]
    assert {block.payload.dtype.name for block in blocks} == {"float32"}
    assert (blocks[0].metadata.sample_rate, blocks[0].metadata.channels) == (8_000, 1 if len(shape) == 1 else 2)
    joined = np.concatenate([block.payload for block in blocks])
    assert np.array_equal(joined * 32768, samples)


def test_floats_are_clipped_to_full_scale(drive, tmp_path):
    path = tmp_path / "a.wav"
    samples = np.array([0.5, 2.0, -2.0], np.float32)
    drive(AudioFileWriterNode("w", {"path": str(path)}), [RuntimeData.audio(samples, 8_000)])
    assert soundfile.info(path).subtype == "PCM_16"
    assert soundfile.read(path, dtype="int16")[0].tolist() == [16384, 32767, -32768]


@pytest.mark.parametrize(("suffix", "frames"), [("wav", 0), ("flac", 1)])
@pytest.mark.parametrize("messages", [[], [RuntimeData.audio(np.empty(0, np.float32), 16_000)]])
def test_without_audio_the_file_is_valid(drive, tmp_path, suffix, frames, messages):
    path = tmp_path / f"a.{suffix}"
    drive(AudioFileWriterNode("w", {"path": str(path), "sample_rate": 16_000}), messages)
    info = soundfile.info(path)
    assert (info.frames, info.samplerate, info.channels) == (frames, 16_000, 1)
    assert not soundfile.read(path)[0].any()


def test_cleanup_alone_completes_the_file(tmp_path):
    path = tmp_path / "a.wav"

    async def stopped():
        async with NodeHost(AudioFileWriterNode("w", {"path": str(path)})) as host:
            await host.feed(RuntimeData.audio(noise(30), 8_000))

    asyncio.run(stopped())
    assert soundfile.info(path).frames == 30


def test_cleanup_of_a_node_that_did_not_start_leaves_files_alone(tmp_path):
    path = tmp_path / "a.wav"
    asyncio.run(AudioFileWriterNode("w", {"path": str(path)}).cleanup())
    assert not path.exists()


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (8_000, 2)])
def test_a_change_of_format_names_both(drive, tmp_path, rate, channels):
    first = RuntimeData.audio(noise(10), 8_000)
    other = RuntimeData.audio(noise((10, channels)), rate, channels)
    with pytest.raises(ValueError, match=f"has 8000 Hz and 1 channels, this audio {rate} Hz and {channels} channels"):
        drive(AudioFileWriterNode("w", {"path": str(tmp_path / "a.wav")}), [first, other])


def test_a_missing_folder_is_named_before_any_audio(drive, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        drive(AudioFileWriterNode("w", {"path": str(tmp_path / "nowhere" / "a.wav")}), [])


def test_a_missing_file_is_named(drive, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file at .*nothing\.wav"):
        drive(AudioFileReaderNode("r", {}), [RuntimeData.text(str(tmp_path / "nothing.wav"))])


def test_a_file_that_is_not_audio_is_named(drive, tmp_path):
    path = tmp_path / "text.wav"
    path.write_text("this is not audio")
    with pytest.raises(ValueError, match=r"text\.wav cannot be read as audio"):
        drive(AudioFileReaderNode("r", {}), [RuntimeData.text(str(path))])


def test_end_markers_and_real_time_pacing_change_no_samples(drive, tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(300), 8_000)
    texts = [RuntimeData.text(str(path))] * 2
    config = {"block_ms": 10, "realtime": True, "end_marker": True}
    blocks = drive(AudioFileReaderNode("r", config), texts)
    assert [len(block.payload) for block in blocks] == [80, 80, 80, 60, 0] * 2
    joined = np.concatenate([block.payload for block in blocks[:5]])
    assert np.array_equal(joined * 32768, noise(300))


# --- samples that are not numbers --------------------------------------------------------------------------------

NOT_NUMBERS = np.array([np.nan, 0.5, np.inf, -np.inf, 2, -2], np.float32)


@pytest.mark.parametrize(
    ("name", "subtype", "expected"),
    [
        ("a.wav", "PCM_16", [0, 0.5, 1 - 2**-15, -1, 1 - 2**-15, -1]),
        ("a.wav", "PCM_24", [0, 0.5, 1 - 2**-23, -1, 1 - 2**-23, -1]),
        ("a.wav", "FLOAT", [0, 0.5, 1, -1, 2, -2]),
        ("a.flac", "PCM_16", [0, 0.5, 1 - 2**-15, -1, 1 - 2**-15, -1]),
        ("a.flac", "PCM_24", [0, 0.5, 1 - 2**-23, -1, 1 - 2**-23, -1]),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_not_a_number_is_replaced_and_counted(drive, split, tmp_path, caplog, name, subtype, expected, dtype):
    config = {"path": str(tmp_path / name), "subtype": subtype}
    drive(AudioFileWriterNode("w", config), split(np.tile(NOT_NUMBERS, 2).astype(dtype), 8_000, [4]))
    assert soundfile.read(tmp_path / name)[0].tolist() == expected * 2
    said = "AudioFileWriterNode: 2 samples were NaN, taken as 0; 4 samples were infinite, taken as 1 or -1"
    assert caplog.record_tuples == [("remotemedia.nodes", logging.WARNING, said)]


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
@pytest.mark.parametrize("dtype", [">f4", ">f8", ">i2", ">i4"])
def test_big_endian_samples_are_the_same_samples(drive, tmp_path, name, dtype):
    samples = np.array([0.5, -0.25, 0])
    if dtype[1] == "i":
        samples *= -float(np.iinfo(dtype).min)
    message = RuntimeData.audio(samples.astype(dtype), 8_000)
    drive(AudioFileWriterNode("w", {"path": str(tmp_path / name), "subtype": "PCM_24"}), [message])
    assert soundfile.read(tmp_path / name)[0].tolist() == [0.5, -0.25, 0]


def test_integers_in_a_file_of_floats_keep_their_level(drive, tmp_path):
    path = tmp_path / "a.wav"
    samples = np.array([-32768, 16384], np.int16)
    drive(AudioFileWriterNode("w", {"path": str(path), "subtype": "FLOAT"}), [RuntimeData.audio(samples, 8_000)])
    assert soundfile.read(path)[0].tolist() == [-1, 0.5]


# --- files that cannot be finished -------------------------------------------------------------------------------


@contextlib.contextmanager
def no_file_above(size):
    """As on a full disk: what this process writes beyond this many bytes of a file is refused."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(params=[True, False])
def nameless(request, monkeypatch):
    """Whether the file system has files without a name; that it has none is made up here."""
    if not request.param:
        monkeypatch.setattr(os, "O_TMPFILE", os.O_TMPFILE | os.O_EXCL | os.O_CREAT)
    return request.param


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
@pytest.mark.parametrize("samples", [150_000, 51_000])
def test_a_file_that_cannot_be_finished_is_not_left_behind(collect, split, tmp_path, nameless, name, samples):
    """The longer one fails while it is written, the shorter at the latest when it is completed."""
    (tmp_path / name).write_bytes(b"of an earlier run")
    errors = []

    async def live():
        node = AudioFileWriterNode("w", {"path": str(tmp_path / name)})
        await node.initialize()
        calls = [lambda m=message: node.process(m) for message in split(noise(samples), 8_000, [25_000])]
        for call in (*calls, node.finish, node.cleanup):
            try:
                await collect(call())
            except OSError as error:
                errors.append(str(error))

    with no_file_above(100_000):
        asyncio.run(live())
    # The first is that of a message or of finish(), and finish() has it too; cleanup() has nothing to add.
    expected = f"[Errno {errno.EFBIG}] AudioFileWriterNode: {tmp_path / name} cannot be written: File too large"
    assert set(errors) == {expected}
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == b"of an earlier run"


@pytest.mark.parametrize(
    ("name", "rate", "channels", "said"),
    [
        ("a.flac", 8_000, 9, "FLAC cannot have 9 channels at 8000 Hz as PCM_16"),
        ("a.flac", 1_000_000, 1, "FLAC cannot have 1 channels at 1000000 Hz as PCM_16"),
        ("a.wav", 2**32 - 1, 1, "WAV cannot have 1 channels at 4294967295 Hz as PCM_16"),
    ],
)
def test_a_form_that_the_file_cannot_have_leaves_nothing(drive, tmp_path, name, rate, channels, said):
    samples = np.zeros((10, channels), np.float32)
    with pytest.raises(OSError) as caught:
        drive(AudioFileWriterNode("w", {"path": str(tmp_path / name)}), [RuntimeData.audio(samples, rate, channels)])
    assert str(caught.value).startswith(f"AudioFileWriterNode: {tmp_path / name} cannot be written: {said} (")
    assert list(tmp_path.iterdir()) == []


def test_until_it_is_complete_there_is_no_file(collect, tmp_path, nameless):
    path = tmp_path / "a.wav"
    path.write_bytes(b"of an earlier run")
    path.chmod(0o640)

    async def live():
        node = AudioFileWriterNode("w", {"path": str(path)})
        await node.initialize()
        await collect(node.process(RuntimeData.audio(noise(30), 8_000)))
        assert path.read_bytes() == b"of an earlier run"
        assert len(list(tmp_path.iterdir())) == (1 if nameless else 2)
        await node.finish()
        assert soundfile.info(path).frames == 30

    asyncio.run(live())
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path)], ids=["a folder", "a pipe", "a circle of links"]
)
def test_only_files_are_replaced(drive, tmp_path, make):
    path = tmp_path / "a.wav"
    make(path)
    with pytest.raises(OSError, match=r"a\.wav cannot be written: "):
        drive(AudioFileWriterNode("w", {"path": str(path)}), [RuntimeData.audio(noise(30), 8_000)])
    assert not path.is_file()


# --- lengths that heads do not know ------------------------------------------------------------------------------


def unknown_flac(path, frames):
    """FLAC as a stream: it does not say how many samples it has."""
    soundfile.write(path, noise(frames), 8_000)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)


def test_a_flac_without_a_sample_count_is_read_to_its_end(drive, tmp_path):
    unknown_flac(tmp_path / "a.flac", 9_000)
    blocks = drive(AudioFileReaderNode("r", {"block_ms": 500}), [RuntimeData.text(str(tmp_path / "a.flac"))])
    assert [len(block.payload) for block in blocks] == [4000, 4000, 1000]
    assert np.array_equal(np.concatenate([block.payload for block in blocks]) * 32768, noise(9_000))


def test_a_wav_that_ends_early_is_read_with_a_warning(drive, tmp_path, caplog):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(3_000), 8_000)
    path.write_bytes(path.read_bytes()[:-2000])
    blocks = drive(AudioFileReaderNode("r", {}), [RuntimeData.text(str(path))])
    assert sum(len(block.payload) for block in blocks) == 2000
    assert caplog.messages == [f"AudioFileReaderNode: {path} ends after 0.25 of 0.38 s"]


def test_a_rate_that_cannot_be_is_named(drive, tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(30), 8_000)
    content = path.read_bytes()
    path.write_bytes(content[:24] + b"\xff" * 4 + content[28:])
    with pytest.raises(ValueError, match=r"a\.wav cannot be read as audio: it is audio of 4294967295 Hz; 1 to"):
        drive(AudioFileReaderNode("r", {}), [RuntimeData.text(str(path))])
