"""WAV, by the bytes: its head, read alike from files and from pipes, and the samples behind it.

Read are RIFF, RIFX (big-endian), RF64 and BW64, of uncompressed samples. A program that streams does not know how long
its WAV will be: it says 0, the greatest size there is, or one near the greatest signed number.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from remotemedia._audio.errors import AudioFileError

__all__ = [
    "Compressed",
    "Step",
    "WavBody",
    "WavForm",
    "WavHead",
    "check_form",
    "ends_early",
    "no_sound",
    "parse_wav_head",
    "wav_head",
]

_PCM, _FLOAT, _ALAW, _ULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_LAWS = (_ALAW, _ULAW)
# By format and bytes of a sample.
_SUBTYPES = {
    (_PCM, 1): "PCM_U8",
    (_PCM, 2): "PCM_16",
    (_PCM, 3): "PCM_24",
    (_PCM, 4): "PCM_32",
    (_FLOAT, 4): "FLOAT",
    (_FLOAT, 8): "DOUBLE",
    (_ALAW, 1): "ALAW",
    (_ULAW, 1): "ULAW",
}
_UNKNOWN = 0xFFFFFFFF
_UNKNOWN_64 = 0xFFFFFFFFFFFFFFFF
_LONGEST_FORM = 1 << 16
# Chunks that may follow the samples. Samples begin like this by chance in one stream out of a hundred million.
_BEHIND = (
    b"LIST id3  ID3  bext cue  smpl fact PEAK JUNK junk PAD  FLLR iXML axml chna inst acid afsp levl cart note plst"
)
_KNOWN_BEHIND = frozenset(name.ljust(4) for name in _BEHIND.split())
_KNOWN = _KNOWN_BEHIND | {b"fmt ", b"data", b"ds64"}
_MOST_BEHIND = 1 << 20
# Even software radios sample below this; a higher rate would make blocks of gigabytes.
_HIGHEST_RATE = 100_000_000
# libsndfile's own limit.
_MOST_CHANNELS = 1024


@dataclass(frozen=True)
class WavForm:
    """How the samples of a WAV are encoded; ``subtype`` and ``endian`` are libsndfile's names."""

    sample_rate: int
    channels: int
    subtype: str
    frame_bytes: int
    endian: Literal["LITTLE", "BIG"] = "LITTLE"

    def decode(self, raw: bytes, out: npt.NDArray[np.float32] | None = None) -> npt.NDArray[np.float32]:
        """The whole frames in ``raw`` as float32, full scale 1.0, exactly as libsndfile reads them from a file.

        With ``out``, which must have room for them, they are written there and the result is a view of it.
        """
        import soundfile

        # The rate does not matter here, and libsndfile refuses some.
        with soundfile.SoundFile(io.BytesIO(raw), "r", 48_000, self.channels, self.subtype, self.endian, "RAW") as file:
            samples: npt.NDArray[np.float32] = file.read(dtype="float32", out=out)
        return samples


@dataclass(frozen=True)
class WavHead:
    """What a header says.

    Attributes:
        data_bytes: the most bytes that the samples have; None = up to the end of the input.
        promised: whether the header states that number as the length.
    """

    form: WavForm
    data_bytes: int | None
    promised: bool


class Compressed(AudioFileError):
    """A WAV whose samples are not PCM, float, A-law or u-law."""


@dataclass(frozen=True)
class Step:
    """What ``parse_wav_head`` needs of its input: bytes to take, to skip, or to peek at.

    The caller sends the bytes back, b"" for skipped ones; fewer than ``count`` at the end of the input.
    """

    what: Literal["take", "skip", "peek"]
    count: int


Parsing = Generator[Step, bytes, WavHead]


def parse_wav_head(name: str) -> Parsing:
    """Reads up to the first sample.

    AudioFileError unless it is a WAV with samples, Compressed for an encoding that is not read here.
    The caller reads the input, so that files and pipes share these steps.
    """
    riff = yield Step("take", 12)
    if riff[:4] not in (b"RIFF", b"RIFX", b"RF64", b"BW64") or riff[8:] != b"WAVE":
        raise AudioFileError(name, "is not a WAV")
    order = ">" if riff[:4] == b"RIFX" else "<"
    form = None
    long_size = None
    while True:
        head = yield Step("take", 8)
        if len(head) < 8:
            raise AudioFileError(name, "is a WAV without samples: it ends within its header")
        kind, size = struct.unpack(f"{order}4sI", head)
        if kind == b"data":
            break
        if not all(32 <= byte < 127 for byte in kind) or (kind in (b"fmt ", b"ds64") and size > _LONGEST_FORM):
            raise AudioFileError(name, f"is a WAV with an invalid header: chunk {kind!r} of {size} bytes")
        if kind not in (b"fmt ", b"ds64"):
            yield Step("skip", size)
            yield from _skip_padding(size)
            continue
        content = yield Step("take", size)
        yield from _skip_padding(size)
        if len(content) < size:
            raise AudioFileError(name, "is a WAV without samples: it ends within its header")
        if kind == b"fmt ":
            form = _form_of(content, order, name)
        elif size >= 16:
            (long_size,) = struct.unpack_from(f"{order}Q", content, 8)
    if form is None:
        raise AudioFileError(name, "is a WAV without a sample format: there is no 'fmt ' chunk before 'data'")
    if size == _UNKNOWN and long_size is not None:
        size = long_size
    if size == 0 and (yield from _only_chunks_follow(order)):
        return WavHead(form, 0, promised=True)
    if size in (0, _UNKNOWN, _UNKNOWN_64):
        return WavHead(form, None, promised=False)
    return WavHead(form, size, promised=not _is_of_a_stream(size))


def _skip_padding(size: int) -> Generator[Step, bytes, None]:
    """Skips the padding byte after an odd chunk, which some programs omit."""
    if size % 2:
        ahead = yield Step("peek", 5)
        if ahead[:4] not in _KNOWN or ahead[1:] in _KNOWN:
            yield Step("skip", 1)


def _is_of_a_stream(size: int) -> bool:
    """Whether programs write this size when they do not know it: 0x7ffff000, 0x80000000, 0xffffffd0 and the like."""
    return 0x7FFF0000 <= size <= 0x80000100 or 0xFFFFFF00 <= size < _UNKNOWN


def _only_chunks_follow(order: str) -> Generator[Step, bytes, bool]:
    """Whether 'data' is empty: only other chunks follow it, up to the end."""
    at = 0
    while True:
        ahead = yield Step("peek", at + 4)
        if len(ahead) == at:
            return at > 0
        if ahead[at:].ljust(4) not in _KNOWN_BEHIND:
            return False
        ahead = yield Step("peek", at + 8)
        if len(ahead) < at + 8:
            return False
        (size,) = struct.unpack_from(f"{order}I", ahead, at + 4)
        at += 8 + size + size % 2
        if at > _MOST_BEHIND:
            return True
        if len((yield Step("peek", at))) < at - size % 2:
            return False
        # An odd chunk at the end may lack its padding.
        at = min(at, len((yield Step("peek", at))))


def _form_of(content: bytes, order: str, name: str) -> WavForm:
    if len(content) < 16:
        raise AudioFileError(name, f"is a WAV with an invalid header: 'fmt ' of {len(content)} bytes")
    # The size of a frame is ignored: some programs get it wrong.
    tag, channels, rate, _, _, bits = struct.unpack_from(f"{order}HHIIHH", content)
    if tag == _EXTENSIBLE and len(content) >= 26:
        (tag,) = struct.unpack_from(f"{order}H", content, 24)
    check_form(name, rate, channels)
    # By the bytes of a sample: with 20 bits in 3 bytes, the lowest 4 bits are zero.
    width = 1 if tag in _LAWS else -(-bits // 8)
    subtype = _SUBTYPES.get((tag, width))
    if subtype is None or (tag == _FLOAT and bits % 8):
        error = AudioFileError if tag in (_PCM, _FLOAT) else Compressed
        raise error(
            name,
            f"is a WAV with samples of a format that cannot be read: format {tag}, {bits} bits, "
            f"{channels} channels, {rate} Hz (PCM, float, A-law and u-law can)",
        )
    return WavForm(rate, channels, subtype, width * channels, "BIG" if order == ">" else "LITTLE")


def check_form(name: str, sample_rate: int, channels: int) -> None:
    """AudioFileError for an impossible rate or number of channels."""
    if not 1 <= sample_rate <= _HIGHEST_RATE:
        raise AudioFileError(name, f"is audio of {sample_rate} Hz; 1 to {_HIGHEST_RATE} Hz can be read")
    if not 1 <= channels <= _MOST_CHANNELS:
        raise AudioFileError(name, f"is audio of {channels} channels; 1 to {_MOST_CHANNELS} can be read")


def no_sound(name: str) -> AudioFileError:
    """The error for audio of zero length."""
    return AudioFileError(name, "has no sound in it: its length is zero")


def ends_early(name: str, frames: int, promised: int, sample_rate: int) -> str:
    """The warning for audio that is shorter than its header states."""
    return f"{name} ends after {frames / sample_rate:.2f} of {promised / sample_rate:.2f} s"


class WavBody:
    """The samples after a header, from bytes that the caller reads in order.

    Attributes:
        frames: how many have been decoded.
    """

    def __init__(self, name: str, head: WavHead) -> None:
        self.form = head.form
        self.frames = 0
        self._name = name
        self._head = head
        self._left = head.data_bytes

    def bytes_of(self, frames: int) -> int:
        """How many bytes to read for so many frames; fewer, and in the end 0, towards the end of the samples."""
        count = frames * self.form.frame_bytes
        return count if self._left is None else min(count, self._left)

    def decode(self, raw: bytes, out: npt.NDArray[np.float32] | None = None) -> npt.NDArray[np.float32]:
        """The samples in the bytes that were read; none at the end."""
        if self._left is not None:
            self._left -= len(raw)
        samples = self.form.decode(raw, out) if len(raw) >= self.form.frame_bytes else np.empty(0, np.float32)
        self.frames += len(samples)
        return samples

    @property
    def warning(self) -> str | None:
        """A warning about the length, or None; valid at the end."""
        size = self._head.data_bytes
        promised = size // self.form.frame_bytes if size is not None and self._head.promised else 0
        if self.frames >= promised:
            return None
        return ends_early(self._name, self.frames, promised, self.form.sample_rate)


def wav_head(sample_rate: int, channels: int, dtype: np.dtype[Any], data_bytes: int | None = None) -> bytes:
    """The head for samples of ``dtype`` (int16, int32, float32, float64); None: their size is not known yet."""
    width = dtype.itemsize
    tag = _FLOAT if dtype.kind == "f" else _PCM
    frame_bytes = channels * width
    bytes_per_sec = min(sample_rate * frame_bytes, _UNKNOWN)
    form = struct.pack("<HHIIHH", tag, channels, sample_rate, bytes_per_sec, frame_bytes, 8 * width)
    fact = b""
    if tag == _FLOAT:
        frames = _UNKNOWN if data_bytes is None else data_bytes // frame_bytes
        fact = struct.pack("<4sII", b"fact", 4, min(frames, _UNKNOWN))
    body = b"WAVE" + struct.pack("<4sI", b"fmt ", len(form)) + form + fact
    # Samples too long for the format get the size that a pipe has: readers go on to the end.
    if data_bytes is None or len(body) + 8 + data_bytes >= _UNKNOWN:
        riff_size = data_size = _UNKNOWN
    else:
        riff_size, data_size = len(body) + 8 + data_bytes, data_bytes
    return struct.pack("<4sI", b"RIFF", riff_size) + body + struct.pack("<4sI", b"data", data_size)
