"""WAV, from files and through pipes: what is read is what libsndfile reads, and what is written it reads again."""

import asyncio
import contextlib
import io
import json
import os
import resource
import struct
import subprocess
import threading

import numpy as np
import pytest

from remotemedia._audio.reader import AudioReader
from remotemedia._audio.wav import wav_head
from remotemedia.cli._errors import Mistake
from remotemedia.cli._pipes import PipeReader
from remotemedia.cli._run_sources import open_source
from remotemedia.cli._wav import read_wav_head

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
        head = await read_wav_head(reader, "it")
        raw = await reader.read_all()
        return head.form.decode(raw[: head.data_bytes]), head.form.sample_rate

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
        (GOOD[:12], "it ends within its header"),
        (GOOD[:30], "it ends within its header"),
        (GOOD[:12] + GOOD[36:], "is a WAV without a sample format"),
        (GOOD[:16] + struct.pack("<I", 4) + b"\1\0\1\0" + GOOD[36:], "'fmt ' of 4 bytes"),
        (GOOD[:16] + struct.pack("<I", 1 << 30), "chunk b'fmt ' of 1073741824 bytes"),
        (GOOD[:20] + b"\2\0" + GOOD[22:], "format 2, 16 bits"),
        (GOOD[:22] + b"\0\0" + GOOD[24:], "0 channels"),
        (GOOD[:24] + b"\0\0\0\0" + GOOD[28:], "0 Hz"),
    ],
)
def test_what_is_no_wav(data, message):
    with pytest.raises(Mistake, match="it is ") as caught:
        read(data)
    assert message in str(caught.value)


# --- heads, in files and in pipes --------------------------------------------------------------------------------

FRAMES = (np.arange(1, 401) * 80 - 16_000).astype(np.int16)
PCM = FRAMES.tobytes()
FULL = 0xFFFFFFFF


def chunk(name, content, size=None, order="<"):
    return (
        name + struct.pack(order + "I", len(content) if size is None else size) + content + b"\0" * (len(content) % 2)
    )


def fmt(tag=1, channels=1, rate=8000, bits=16, align=None, more=b"", order="<"):
    align = channels * -(-bits // 8) if align is None else align
    per_sec = min(rate * align, FULL)
    return chunk(b"fmt ", struct.pack(order + "HHIIHH", tag, channels, rate, per_sec, align, bits) + more, order=order)


def extensible(tag, valid, **form):
    guid = struct.pack("<H", tag) + bytes.fromhex("000000001000800000aa00389b71")
    return fmt(0xFFFE, more=struct.pack("<HHI", 22, valid, 0) + guid, **form)


def wave(*chunks, riff=b"RIFF", order="<"):
    content = b"WAVE" + b"".join(chunks)
    return riff + struct.pack(order + "I", len(content)) + content


def ds64(size, content=None):
    return chunk(b"ds64", struct.pack("<QQQI", 0, size, 0, 0) if content is None else content)


def data(content=PCM, size=None, order="<"):
    return b"data" + struct.pack(order + "I", len(content) if size is None else size) + content


LIST = chunk(b"LIST", b"INFOISFT" + struct.pack("<I", 6) + b"Lavf\0\0")
WIDE = np.arange(-8, 8) / 8
PLAYED = FRAMES / 32768
CUT = "it ends after 0.05 of {} s"
# The bytes, then what is heard or the error, then the warning.
HEADS = {
    "16 bits": (wave(fmt(), data()), PLAYED, None),
    "8 bits": (wave(fmt(bits=8), data((WIDE * 128 + 128).astype("u1").tobytes())), WIDE, None),
    "24 bits": (
        wave(fmt(bits=24), data(b"".join(int(x).to_bytes(3, "little", signed=True) for x in WIDE * 2**23))),
        WIDE,
        None,
    ),
    "32 bits": (wave(fmt(bits=32), data((WIDE * 2**31).astype("<i4").tobytes())), WIDE, None),
    "float32": (wave(fmt(3, bits=32), data((WIDE * 4).astype("<f4").tobytes())), WIDE * 4, None),
    "float64": (wave(fmt(3, bits=64), data((WIDE * 4).astype("<f8").tobytes())), WIDE * 4, None),
    "A-law": (wave(fmt(6, bits=8), data(b"\xd5\x55")), np.array([8, -8]) / 32768, None),
    "u-law that says 16 bits": (
        wave(fmt(7, bits=16), data(b"\xff\x80\x00")),
        np.array([0, 32124, -32124]) / 32768,
        None,
    ),
    "12 bits in 16": (wave(fmt(bits=12), data()), PLAYED, None),
    "stereo with the alignment of mono": (wave(fmt(channels=2, align=2), data()), PLAYED.reshape(-1, 2), None),
    "no alignment": (wave(fmt(align=0), data()), PLAYED, None),
    "a form of 18 bytes": (wave(fmt(more=b"\0\0"), data()), PLAYED, None),
    "extensible": (wave(extensible(1, 16), data()), PLAYED, None),
    "extensible, 20 bits in 24": (
        wave(extensible(1, 20, bits=24), data(b"\0\0\x40\0\0\xc0")),
        np.array([0.5, -0.5]),
        None,
    ),
    "extensible, 24 bits in 32": (
        wave(extensible(1, 24, bits=32), data((WIDE * 2**31).astype("<i4").tobytes())),
        WIDE,
        None,
    ),
    "extensible float": (wave(extensible(3, 32, bits=32), data(WIDE.astype("<f4").tobytes())), WIDE, None),
    "RIFX": (
        wave(fmt(order=">"), data(FRAMES.astype(">i2").tobytes(), order=">"), riff=b"RIFX", order=">"),
        PLAYED,
        None,
    ),
    "RIFX float": (
        wave(fmt(3, bits=32, order=">"), data(WIDE.astype(">f4").tobytes(), order=">"), riff=b"RIFX", order=">"),
        WIDE,
        None,
    ),
    "RF64": (wave(ds64(800), fmt(), data(size=FULL), LIST, riff=b"RF64"), PLAYED, None),
    "BW64": (wave(ds64(800), fmt(), data(size=FULL), LIST, riff=b"BW64"), PLAYED, None),
    "RF64 that needs no ds64": (wave(ds64(0), fmt(), data(), LIST, riff=b"RF64"), PLAYED, None),
    "RF64 without ds64": (wave(fmt(), data(size=FULL), riff=b"RF64"), PLAYED, None),
    "RF64 of unknown length": (wave(ds64(0), fmt(), data(size=FULL), riff=b"RF64"), PLAYED, None),
    "RF64 with a short ds64": (wave(ds64(0, b"1234"), fmt(), data(size=FULL), riff=b"RF64"), PLAYED, None),
    "RF64 that is cut": (
        wave(ds64(8_000_000_000), fmt(), data(size=FULL), riff=b"RF64"),
        PLAYED,
        CUT.format("500000.00"),
    ),
    "a chunk before the form": (wave(chunk(b"JUNK", bytes(28)), fmt(), data()), PLAYED, None),
    "a list before the samples": (wave(fmt(), LIST, chunk(b"fact", bytes(4)), data()), PLAYED, None),
    "an odd chunk, padded": (wave(fmt(), chunk(b"note", b"abc"), data()), PLAYED, None),
    "an odd chunk, not padded": (wave(fmt(), chunk(b"note", b"abc")[:-1], data()), PLAYED, None),
    "a chunk of a megabyte and more": (wave(fmt(), chunk(b"bext", bytes(1_200_001)), data()), PLAYED, None),
    "a chunk behind the samples": (wave(fmt(), data(), LIST), PLAYED, None),
    "rubbish behind the samples": (wave(fmt(), data(), b"abc"), PLAYED, None),
    "size 0": (wave(fmt(), data(size=0)), PLAYED, None),
    "the greatest size": (wave(fmt(), data(size=FULL)), PLAYED, None),
    "size 0x7ffff000": (wave(fmt(), data(size=0x7FFFF000)), PLAYED, None),
    "size 0x80000000": (wave(fmt(), data(size=0x80000000)), PLAYED, None),
    "size 0 and samples like a chunk": (
        wave(fmt(), data(b"LIST\x40\0\0\0abcd", size=0)),
        np.frombuffer(b"LIST\x40\0\0\0abcd", "<i2") / 32768,
        None,
    ),
    "cut short": (wave(fmt(), data(size=1600)), PLAYED, CUT.format("0.10")),
    "cut within a sample": (wave(fmt(), data(PCM + b"\1", size=1600)), PLAYED, CUT.format("0.10")),
    "a size with half a sample": (wave(fmt(), data(PCM + b"\1")), PLAYED, None),
    "1 Hz": (wave(fmt(rate=1), data(PCM[:2])), PLAYED[:1], None),
    "768 kHz": (wave(fmt(rate=768_000), data()), PLAYED, None),
    "size 0 and a list": (wave(fmt(), data(b""), LIST), "has no sound in it: its length is zero", None),
    "size 0 and chunks": (wave(fmt(), data(b""), LIST, chunk(b"id3 ", b"abc")), "has no sound in it", None),
    "size 0 and a chunk without its padding": (
        wave(fmt(), data(b""), LIST, chunk(b"id3 ", b"abc"))[:-1],
        "has no",
        None,
    ),
    "size 0 and nothing": (wave(fmt(), data(b"")), "has no sound in it: its length is zero", None),
    "nothing of what it says": (wave(fmt(), data(b"", size=800)), "has no sound in it: its length is zero", None),
    "nothing but its name": (wave(), "is a WAV without samples: it ends within its header", None),
    "cut in the form": (wave(fmt())[:30], "is a WAV without samples: it ends within its header", None),
    "cut before the samples": (wave(fmt(), LIST), "is a WAV without samples: it ends within its header", None),
    "cut in a chunk": (wave(fmt(), LIST)[:-4], "is a WAV without samples: it ends within its header", None),
    "no form": (wave(data()), "is a WAV without a sample format", None),
    "a form too short": (wave(chunk(b"fmt ", b"1234"), data()), "with an invalid header: 'fmt ' of 4 bytes", None),
    "a form too long": (wave(chunk(b"fmt ", b"", 1 << 30)), "chunk b'fmt ' of 1073741824 bytes", None),
    "a chunk without a name": (wave(fmt(), chunk(b"\0\0\0\1", b"1234"), data()), "with an invalid header", None),
    "0 Hz": (wave(fmt(rate=0), data()), "is audio of 0 Hz; 1 to 100000000 Hz can be read", None),
    "2**32-1 Hz": (wave(fmt(rate=FULL), data()), "is audio of 4294967295 Hz; 1 to 100000000 Hz can be read", None),
    "2**31 Hz": (wave(fmt(rate=1 << 31), data()), "is audio of 2147483648 Hz", None),
    "no channels": (wave(fmt(channels=0), data()), "is audio of 0 channels; 1 to 1024 can be read", None),
    "65535 channels": (wave(fmt(channels=65535, align=0), data()), "is audio of 65535 channels", None),
    "0 bits": (wave(fmt(bits=0), data()), "samples of a format that cannot be read: format 1, 0 bits", None),
    "64 bits": (wave(fmt(bits=64), data()), "samples of a format that cannot be read: format 1, 64 bits", None),
    "float16": (wave(fmt(3), data()), "samples of a format that cannot be read: format 3, 16 bits", None),
}


def fed(path, form="audio"):
    """What ``run`` feeds of a file or a pipe: samples, rate and warning, or the mistake; named "it"."""

    async def talk(source):
        blocks = [(message.payload, message.metadata.sample_rate) async for message, _ in source.messages()]
        (rate,) = {rate for _, rate in blocks}
        return np.concatenate([block for block, _ in blocks]), rate, source.warning

    source = None
    try:
        source = open_source(str(path), form, chunk_ms=7, whole_text=False)
        samples, rate, warning = asyncio.run(talk(source))
        return samples, rate, warning and warning.replace(str(path), "it")
    except Mistake as mistake:
        return str(mistake).replace(str(path), "it")
    finally:
        if source is not None:
            source.close()


def piped(path, content, form="audio"):
    os.mkfifo(path)

    def write():
        # The reader may have had enough.
        with contextlib.suppress(BrokenPipeError), path.open("wb") as pipe:
            pipe.write(content)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        return fed(path, form)
    finally:
        writer.join()


@pytest.fixture(params=["file", "pipe"])
def carried(request, tmp_path):
    """Bytes to what ``run`` feeds of them, as a file or through a pipe with a name."""

    def feed(content):
        path = tmp_path / "x.wav"
        if request.param == "pipe":
            return piped(path, content)
        path.write_bytes(content)
        return fed(path)

    feed.kind = request.param
    return feed


@pytest.mark.parametrize("name", HEADS)
def test_a_head_means_the_same_in_a_file_and_in_a_pipe(carried, name):
    content, expected, warning = HEADS[name]
    found = carried(content)
    if isinstance(expected, str):
        assert isinstance(found, str), found
        assert found.startswith("it ")
        assert expected in found
        return
    assert not isinstance(found, str), found
    samples, rate, said = found
    assert np.array_equal(samples, expected.astype(np.float32))
    assert rate == {"1 Hz": 1, "768 kHz": 768_000}.get(name, 8000)
    assert said == warning


def test_what_only_libsndfile_decodes(carried):
    """ADPCM is read from a file; for a pipe, the error says that a file would do."""
    file = io.BytesIO()
    soundfile.write(file, NOISE[:, 0], 8000, "MS_ADPCM", format="WAV")
    found = carried(file.getvalue())
    if carried.kind == "pipe":
        assert found.startswith("it is a WAV with samples of a format that cannot be read: format 2, 4 bits")
        assert found.endswith("; name the file instead: more formats can be read from files")
    else:
        file.seek(0)
        assert np.array_equal(found[0], soundfile.read(file, dtype="float32")[0])


# --- pipes that carry something else -----------------------------------------------------------------------------


def encoded(form, subtype=None, times=1):
    file = io.BytesIO()
    soundfile.write(file, np.tile(NOISE[:, 0], times), 16_000, subtype, format=form)
    return file.getvalue()


OTHERS = {
    "MP3": lambda: encoded("MP3"),
    "MP3, tagged": lambda: b"ID3\4\0\0\0\0\0\0" + encoded("MP3"),
    "MP3 of MPEG 2": lambda: b"\xff\xf3\x40\xc4" + bytes(64),
    "AAC": lambda: b"\xff\xf1\x50\x80" + bytes(64),
    "AIFF": lambda: encoded("AIFF"),
    "AIFF, compressed": lambda: encoded("AIFF", "ULAW"),
    "AU": lambda: encoded("AU"),
    "CAF": lambda: encoded("CAF"),
    "W64": lambda: encoded("W64"),
    "FLAC": lambda: encoded("FLAC"),
    "OGG": lambda: encoded("OGG"),
    "VOC": lambda: encoded("VOC"),
    "NIST SPHERE": lambda: encoded("NIST"),
    "AVI video": lambda: b"RIFF\x24\0\0\0AVI LIST" + bytes(64),
    "MP4 or M4A": lambda: b"\0\0\0\x20ftypM4A " + bytes(64),
    "WebM or Matroska": lambda: b"\x1aE\xdf\xa3" + bytes(64),
    "AMR": lambda: b"#!AMR\n" + bytes(64),
    "WavPack": lambda: b"wvpk\x10\x10\x10\0" + bytes(64),
    "WMA": lambda: b"\x30\x26\xb2\x75\x8e\x66\xcf\x11" + bytes(64),
    "gzip": lambda: b"\x1f\x8b\x08" + bytes(64),
}


@pytest.mark.parametrize("form", ["auto", "audio"])
@pytest.mark.parametrize("name", OTHERS)
def test_a_pipe_is_told_what_it_carries_and_what_it_may(tmp_path, name, form):
    kind = name.partition(",")[0].partition(" of ")[0]
    said = piped(tmp_path / "pipe", OTHERS[name](), form)
    expected = f"it is not a WAV, the only audio that can be read from a pipe: it looks like {kind}. Name the file"
    assert said.startswith(expected), said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("eins".encode("utf-16"), "it looks like UTF-16 text; text must be UTF-8"),
        (bytes(1000), "it begins with a zero byte: it is neither a WAV nor text. Raw samples need a header"),
        (PCM, "it is not UTF-8 text: line 1 has the byte 0xd0, nor is it a WAV, the only audio that"),
    ],
)
def test_a_pipe_of_something_unknown(tmp_path, content, message):
    assert piped(tmp_path / "pipe", content, "auto").startswith(message)


@pytest.mark.parametrize(
    "text", ["FORMAT: AIFF", "riff-raff", "caffeine", ".sndrc", "ID3 tags", "RIFFs, twelve", "fLat", "OggS", "PK", "f"]
)
def test_text_that_begins_with_the_same_letters_is_text(tmp_path, text):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_text(text))
    writer.start()

    async def talk(source):
        return [message.payload async for message, _ in source.messages()]

    source = open_source(str(tmp_path / "pipe"), "auto", chunk_ms=7, whole_text=False)
    try:
        assert asyncio.run(talk(source)) == [text]
    finally:
        source.close()
        writer.join()


# --- files that are not WAV --------------------------------------------------------------------------------------


def flac(path, count):
    """A second of FLAC that says it has ``count`` samples; 0 = it does not know, as ffmpeg and other streams write."""
    soundfile.write(path, np.repeat(NOISE[:, 0], 16), 8000, "PCM_16")
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0
    content[22:26] = struct.pack(">I", count)
    path.write_bytes(content)
    return np.repeat((np.clip(NOISE[:, 0], -1, 1)), 16)


@pytest.mark.parametrize(("count", "warning"), [(0, None), (8000, None), (12_000, "it ends after 1.00 of 1.50 s")])
def test_a_flac_is_read_to_its_end_whatever_it_says(tmp_path, count, warning):
    expected = flac(tmp_path / "a.flac", count)
    samples, rate, said = fed(tmp_path / "a.flac")
    assert (len(samples), rate, said) == (8000, 8000, warning)
    assert np.abs(samples - expected).max() < 1e-4


@pytest.mark.parametrize(("count", "warning"), [(0, None), (0xFFFFFFFF, "it ends after 1.00 of 536870.91 s")])
def test_a_whole_file_is_read_whatever_it_says(tmp_path, count, warning):
    """Nor is memory taken for what it says."""
    path = tmp_path / "a.flac"
    expected = flac(path, count)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, hard))
    try:
        with AudioReader(path) as reader:
            assert np.abs(reader.read_all() - expected).max() < 1e-4
            assert reader.warning == (warning and warning.replace("it", str(path)))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.parametrize("form", ["AIFF", "AU", "W64", "MP3"])
def test_other_files_that_end_early(tmp_path, form):
    path = tmp_path / "a"
    content = encoded(form, times=32)
    path.write_bytes(content)
    samples, _, warning = fed(path)
    assert (len(samples), warning) == (16_000, None)
    path.write_bytes(content[: len(content) * 3 // 4])
    samples, _, warning = fed(path)
    assert 0 < len(samples) < 16_000
    assert warning == f"it ends after {len(samples) / 16_000:.2f} of 1.00 s"


def test_a_flac_without_a_count_and_without_samples(tmp_path):
    flac(tmp_path / "a.flac", 0)
    content = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(content[: content.index(b"\xff\xf8")])
    assert fed(tmp_path / "a.flac") == "it has no sound in it: its length is zero"


def test_run_says_that_a_file_ends_early(rx, tmp_path):
    """The pipe's line and the file's, and both are fed: exit code 0."""
    flac(tmp_path / "u.flac", 0)
    path = rx.manifest(tmp_path, "run-echo", "run-echo", connections=[])
    short = wave(fmt(), data(size=1600))
    done = rx.run(path, "-i", "a=-", "-i", "b=u.flac", "-O", "a=a.wav", "-O", "b=b.wav", "--json", "-q", data=short)
    assert done.stderr == b"remotemedia: stdin ends after 0.05 of 0.10 s\n"
    summary = json.loads(done.stdout)
    assert (done.returncode, summary["warnings"]) == (0, ["stdin ends after 0.05 of 0.10 s"])
    assert [soundfile.info(tmp_path / name).frames for name in ("a.wav", "b.wav")] == [400, 8000]


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
