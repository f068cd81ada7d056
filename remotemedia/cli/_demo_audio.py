"""The audio files of the demo: the question that is read, the answer that is written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import soundfile

from remotemedia.cli._errors import Mistake

__all__ = ["AudioFile", "AudioSource", "MadeAudio", "answer_file", "length_secs"]

_SUFFIXES = (".wav", ".flac")


class AudioSource(Protocol):
    """Speech to be fed."""

    @property
    def sample_rate(self) -> int:
        """In Hz."""

    @property
    def channels(self) -> int:
        """1 = mono."""

    @property
    def secs(self) -> float:
        """Its length."""

    def blocks(self, milliseconds: int) -> Iterator[npt.NDArray[np.float32]]:
        """All of it, in blocks of this length; the last may be shorter."""


class AudioFile:
    """A file that is read block by block. Mistake for what is not a file with sound in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            raise Mistake(f"there is no file {path}")
        if not path.is_file():
            raise Mistake(f"{path} is not a file")
        self._file = self._open()
        self.sample_rate: int = self._file.samplerate
        self.channels: int = self._file.channels
        self.secs: float = self._file.frames / self._file.samplerate
        if not self._file.frames:
            raise Mistake(f"{path} has no sound in it: its length is zero")

    def blocks(self, milliseconds: int) -> Iterator[npt.NDArray[np.float32]]:
        frames = _block_frames(self.sample_rate, milliseconds)
        done = 0
        with self._file as file:
            while True:
                try:
                    block: npt.NDArray[np.float32] = file.read(frames, dtype="float32")
                except soundfile.SoundFileError as error:
                    raise Mistake(
                        f"{self.path} cannot be read after {done / self.sample_rate:.1f} s: {_reason(error)}"
                    ) from None
                if not len(block):
                    return
                done += len(block)
                yield block

    def _open(self) -> Any:
        try:
            with self.path.open("rb") as file:
                if not file.read(1):
                    raise Mistake(f"{self.path} is empty")
            return soundfile.SoundFile(self.path)
        except OSError as error:
            raise Mistake(f"{self.path} cannot be read: {error.strerror}") from None
        except (soundfile.SoundFileError, TypeError) as error:  # TypeError: a .raw file, which does not say what it is
            raise Mistake(
                f"{self.path} is not audio that can be read: {_reason(error)} (WAV, FLAC and OGG are)"
            ) from None


@dataclass(frozen=True)
class MadeAudio:
    """Mono samples in memory, shape (n,)."""

    samples: npt.NDArray[np.float32]
    sample_rate: int
    channels: int = 1

    @property
    def secs(self) -> float:
        return len(self.samples) / self.sample_rate

    def blocks(self, milliseconds: int) -> Iterator[npt.NDArray[np.float32]]:
        frames = _block_frames(self.sample_rate, milliseconds)
        for start in range(0, len(self.samples), frames):
            yield self.samples[start : start + frames]


class AnswerFile:
    """A file in the making beside the one it becomes."""

    def __init__(self, final: Path, draft: Path) -> None:
        self.final = final
        self.draft = draft

    def keep(self) -> None:
        """The draft becomes the answer."""
        self.draft.replace(self.final)


@contextmanager
def answer_file(path: Path, question: Path | None) -> Iterator[AnswerFile]:
    """Until ``keep()`` is called, an existing answer stays as it is. Mistake for a path that cannot be written."""
    # A link stays one: what it points to is replaced.
    final = path.resolve()
    if final.is_dir():
        raise Mistake(f"the answer cannot be written to {path}: it is a folder")
    if path.suffix.lower() not in _SUFFIXES or final.suffix.lower() not in _SUFFIXES:
        raise Mistake(f"the answer's file must end in {' or '.join(_SUFFIXES)}, not {str(path)!r}")
    if not final.parent.is_dir():
        raise Mistake(f"the answer cannot be written to {path}: there is no folder {path.parent}")
    if final.exists() and not os.access(final, os.W_OK):
        raise Mistake(f"the answer cannot be written to {path}: the file is write-protected")
    if question is not None and question.resolve() == final:
        raise Mistake(f"the answer would replace the question {question}; choose another -o")
    draft = final.with_name(f".{final.stem[:100]}-{os.getpid()}{final.suffix}")
    try:
        draft.open("wb").close()
    except OSError as error:
        raise Mistake(f"the answer cannot be written to {path}: {error.strerror}") from None
    try:
        yield AnswerFile(final, draft)
    finally:
        draft.unlink(missing_ok=True)


def length_secs(path: Path) -> tuple[float, int]:
    """Seconds and sample rate of a file."""
    info = soundfile.info(path)
    return info.frames / info.samplerate, info.samplerate


def _block_frames(sample_rate: int, milliseconds: int) -> int:
    return max(1, sample_rate * milliseconds // 1000)


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", error)).removeprefix("Error : ").rstrip(".")
