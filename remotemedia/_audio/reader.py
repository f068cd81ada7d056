"""Audio files, read from their start to their end."""

from __future__ import annotations

import importlib
import io
import os
import stat
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from remotemedia._audio.errors import AudioFileError
from remotemedia._audio.kinds import WAV, kind_of
from remotemedia._audio.lengths import promised_frames
from remotemedia._audio.library import reason_of, unsought_file
from remotemedia._audio.wav import Compressed, WavBody, WavHead, check_form, ends_early, no_sound, parse_wav_head

__all__ = ["AudioReader"]

Float32: TypeAlias = "npt.NDArray[np.float32]"
NewArray: TypeAlias = "Callable[[int | tuple[int, ...], npt.DTypeLike], npt.NDArray[Any]]"

# libsndfile's value for an unknown length: the largest number of frames.
_NO_LENGTH = 1 << 62
_BLOCK_FRAMES = 1 << 16


class AudioReader:
    """A WAV, FLAC, OGG, MP3, AIFF, AU, CAF or W64 file, read block by block as float32, full scale 1.0.

    It never seeks, so that files without a length can be read.

    OSError for a file that cannot be opened, AudioFileError for one that is not audio, ImportError without soundfile.

    Attributes:
        sample_rate: in Hz.
        channels: 1 = mono.
        frames: how many samples per channel there are, or None if only reading will tell.
    """

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._content = _open(path)
        self.sample_rate = self._content.sample_rate
        self.channels = self._content.channels
        self.frames = self._content.frames
        self.frames_read = 0

    @property
    def secs(self) -> float | None:
        """Its length, or None if only reading will tell."""
        return None if self.frames is None else self.frames / self.sample_rate

    def read(self, frames: int, new_array: NewArray = np.empty) -> Float32:
        """The next samples, shape (n,) for a mono file, else (n, channels); ``frames`` of them unless the end is near.

        At the end the array is empty, shape (0,) or (0, channels). ``new_array`` makes the array that is filled.
        AudioFileError where the file is damaged.
        """
        count = frames if self.frames is None else min(frames, self.frames - self.frames_read)
        if count <= 0:
            return np.empty(self._shape(0), np.float32)
        out = new_array(self._shape(count), np.float32)
        try:
            samples = self._content.read_into(out)
        except OSError as error:
            raise AudioFileError(self.name, f"cannot be read after {self._read_secs:.1f} s: {error.strerror}") from None
        except RuntimeError as error:  # soundfile's are
            raise AudioFileError(
                self.name, f"cannot be read after {self._read_secs:.1f} s: {reason_of(error)}"
            ) from None
        self.frames_read += len(samples)
        return samples if len(samples) else np.empty(self._shape(0), np.float32)

    def read_all(self) -> Float32:
        """All samples that are left."""
        blocks = []
        # Block by block: a FLAC may state more samples than there is memory for.
        while len(block := self.read(_BLOCK_FRAMES)):
            blocks.append(block)
        return np.concatenate(blocks) if blocks else np.empty(self._shape(0), np.float32)

    @property
    def warning(self) -> str | None:
        """A warning about the length, or None; valid at the end."""
        return self._content.warning(self.frames_read)

    def check_sound(self) -> None:
        """AudioFileError if it is known, or by the end has turned out, to have no samples."""
        if self.frames == 0 or (self.frames is None and not self.frames_read):
            raise no_sound(self.name)

    def close(self) -> None:
        """May be repeated."""
        self._content.close()

    def __enter__(self) -> AudioReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _read_secs(self) -> float:
        return self.frames_read / self.sample_rate

    def _shape(self, frames: int) -> int | tuple[int, ...]:
        return frames if self.channels == 1 else (frames, self.channels)


class _Content(Protocol):
    sample_rate: int
    channels: int
    frames: int | None

    def read_into(self, out: Float32) -> Float32:
        """The part of ``out`` that was filled, from its beginning."""

    def warning(self, frames: int) -> str | None:
        """A warning about the length after so many frames, or None."""

    def close(self) -> None:
        """May be repeated."""


def _open(path: Path) -> _Content:
    if not stat.S_ISREG(path.stat().st_mode):
        raise AudioFileError(str(path), "is not a file")
    importlib.import_module("soundfile")  # before anything is read: a WAV would need it only with its first samples
    with ExitStack() as resources:
        file = resources.enter_context(path.open("rb"))
        head = file.read(64)
        if not head:
            raise AudioFileError(str(path), "is empty")
        if kind_of(head) == WAV:
            with suppress(Compressed):  # libsndfile knows some of those
                content = _WavContent(str(path), file)
                resources.pop_all()
                return content
    return _LibraryContent(path, head)


class _WavContent:
    """A WAV, with the same header parser as for pipes; it owns the file from then on."""

    def __init__(self, name: str, file: io.BufferedReader) -> None:
        file.seek(0)
        head = _wav_head_of(name, file)
        self._body = WavBody(name, head)
        self.sample_rate, self.channels = head.form.sample_rate, head.form.channels
        there = os.fstat(file.fileno()).st_size - file.tell()
        self.frames: int | None = min(there, self._body.bytes_of(there)) // head.form.frame_bytes
        self._file = file

    def read_into(self, out: Float32) -> Float32:
        return self._body.decode(self._file.read(self._body.bytes_of(len(out))), out)

    def warning(self, frames: int) -> str | None:
        return self._body.warning

    def close(self) -> None:
        self._file.close()


def _wav_head_of(name: str, file: io.BufferedReader) -> WavHead:
    parsing = parse_wav_head(name)
    step = next(parsing)
    while True:
        at, content = file.tell(), b""
        if step.what == "skip":
            file.seek(step.count, os.SEEK_CUR)
        else:
            content = file.read(step.count)
            if step.what == "peek":
                file.seek(at)
        try:
            step = parsing.send(content)
        except StopIteration as end:
            head: WavHead = end.value
            return head


class _LibraryContent:
    """All that libsndfile reads."""

    def __init__(self, path: Path, head: bytes) -> None:
        import soundfile

        self._name = str(path)
        try:
            self._file = unsought_file()(path)
        except (soundfile.SoundFileError, TypeError) as error:  # TypeError: a .raw file, which has no header
            kind = kind_of(head)
            reason = reason_of(error) + (f", it looks like {kind}" if kind else "")
            raise AudioFileError(
                self._name, f"is not audio that can be read: {reason} (WAV, FLAC and OGG are)", reason
            ) from None
        self.sample_rate, self.channels = self._file.samplerate, self._file.channels
        try:
            check_form(self._name, self.sample_rate, self.channels)
        except AudioFileError:
            self.close()
            raise
        self.frames: int | None = None
        self._promised = 0
        if self._file.frames < _NO_LENGTH:
            self.frames = self._file.frames
            self._promised = promised_frames(path, kind_of(head), self._file.frames) or self._file.frames

    def read_into(self, out: Float32) -> Float32:
        samples: Float32 = self._file.read(out=out)
        return samples

    def warning(self, frames: int) -> str | None:
        if frames >= self._promised:
            return None
        return ends_early(self._name, frames, self._promised, self.sample_rate)

    def close(self) -> None:
        self._file.close()
