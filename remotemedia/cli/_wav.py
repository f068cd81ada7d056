"""WAV through pipes, where nothing can be sought: the head before the samples, and sizes that nobody knows yet."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from remotemedia.cli._errors import Mistake
from remotemedia.cli._pipes import PipeReader

__all__ = ["WavForm", "read_wav_head", "wav_head"]

_PCM, _FLOAT, _ALAW, _ULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_SUBTYPES = {
    (_PCM, 8): "PCM_U8",
    (_PCM, 16): "PCM_16",
    (_PCM, 24): "PCM_24",
    (_PCM, 32): "PCM_32",
    (_FLOAT, 32): "FLOAT",
    (_FLOAT, 64): "DOUBLE",
    (_ALAW, 8): "ALAW",
    (_ULAW, 8): "ULAW",
}
_UNKNOWN = 0xFFFFFFFF
# Programs that stream WAV write no size, the greatest one, or one near the greatest positive number.
_NO_SIZE = (0, _UNKNOWN)
_LARGEST_HEAD_CHUNK = 1 << 20


@dataclass(frozen=True)
class WavForm:
    """How the samples of a WAV lie in its bytes; ``subtype`` is libsndfile's name."""

    sample_rate: int
    channels: int
    subtype: str
    frame_bytes: int

    def decode(self, raw: bytes) -> npt.NDArray[np.float32]:
        """The whole frames in ``raw`` as float32, full scale 1.0, exactly as libsndfile reads them from a file."""
        import soundfile

        with soundfile.SoundFile(
            io.BytesIO(raw), "r", self.sample_rate, self.channels, self.subtype, "LITTLE", "RAW"
        ) as file:
            samples: npt.NDArray[np.float32] = file.read(dtype="float32")
        return samples


async def read_wav_head(reader: PipeReader, name: str) -> tuple[WavForm, int | None]:
    """Reads up to the first sample: the form, and how many bytes of samples there are, None = up to the end.

    Mistake for what is not a WAV of samples.
    """
    riff = await reader.read(12)
    if riff[:4] != b"RIFF" or riff[8:] != b"WAVE":
        raise Mistake(f"{name} is not a WAV, the only audio that can be read from a pipe")
    form = None
    while True:
        head = await reader.read(8)
        kind, size = struct.unpack("<4sI", head) if len(head) == 8 else (b"", 0)
        if kind == b"data":
            break
        if size > _LARGEST_HEAD_CHUNK:
            raise Mistake(f"{name} is a WAV whose head makes no sense: chunk {kind!r} of {size} bytes")
        content = await reader.read(size + size % 2)
        if not kind or len(content) < size:
            raise Mistake(f"{name} is a WAV without samples: it ends in its head")
        if kind == b"fmt ":
            form = _form_of(content, name)
    if form is None:
        raise Mistake(f"{name} is a WAV that does not say how its samples look: there is no 'fmt ' before 'data'")
    return form, None if size in _NO_SIZE else size


def _form_of(content: bytes, name: str) -> WavForm:
    if len(content) < 16:
        raise Mistake(f"{name} is a WAV whose head makes no sense: 'fmt ' of {len(content)} bytes")
    tag, channels, rate, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", content)
    if tag == _EXTENSIBLE and len(content) >= 26:
        (tag,) = struct.unpack_from("<H", content, 24)
    subtype = _SUBTYPES.get((tag, bits))
    if subtype is None or not channels or not rate or frame_bytes != channels * bits // 8:
        raise Mistake(
            f"{name} is a WAV with samples of a format that cannot be read from a pipe: format {tag}, {bits} bits, "
            f"{channels} channels, {rate} Hz (PCM, float, A-law and u-law can)"
        )
    return WavForm(rate, channels, subtype, frame_bytes)


def wav_head(sample_rate: int, channels: int, dtype: np.dtype[Any], data_bytes: int | None = None) -> bytes:
    """What comes before samples of ``dtype`` (int16, int32, float32, float64); None: their size is not known yet."""
    width = dtype.itemsize
    tag = _FLOAT if dtype.kind == "f" else _PCM
    frame_bytes = channels * width
    form = struct.pack("<HHIIHH", tag, channels, sample_rate, sample_rate * frame_bytes, frame_bytes, 8 * width)
    fact = b""
    if tag == _FLOAT:
        frames = _UNKNOWN if data_bytes is None else data_bytes // frame_bytes
        fact = struct.pack("<4sII", b"fact", 4, min(frames, _UNKNOWN))
    body = b"WAVE" + struct.pack("<4sI", b"fmt ", len(form)) + form + fact
    # What is too long for the format is what it would be in a pipe: read up to its end.
    if data_bytes is None or len(body) + 8 + data_bytes >= _UNKNOWN:
        riff_size = data_size = _UNKNOWN
    else:
        riff_size, data_size = len(body) + 8 + data_bytes, data_bytes
    return struct.pack("<4sI", b"RIFF", riff_size) + body + struct.pack("<4sI", b"data", data_size)
