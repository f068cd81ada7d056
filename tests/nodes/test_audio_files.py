"""AudioFileReaderNode and AudioFileWriterNode: files as users have them."""

import asyncio

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.nodes import AudioFileReaderNode, AudioFileWriterNode

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


def test_cleanup_alone_completes_the_file(collect, tmp_path):
    path = tmp_path / "a.wav"

    async def stopped():
        node = AudioFileWriterNode("w", {"path": str(path)})
        await node.initialize()
        await collect(node.process(RuntimeData.audio(noise(30), 8_000)))
        await node.cleanup()

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
