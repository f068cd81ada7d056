"""Audio files that are read block by block."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from remotemedia.cli._errors import Mistake

__all__ = ["AudioFile", "block_frames", "reason"]


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
        """All of it, in blocks of this length; the last may be shorter. The file is closed at the end."""
        frames = block_frames(self.sample_rate, milliseconds)
        done = 0
        with self._file as file:
            while True:
                try:
                    block: npt.NDArray[np.float32] = file.read(frames, dtype="float32")
                except soundfile.SoundFileError as error:
                    raise Mistake(
                        f"{self.path} cannot be read after {done / self.sample_rate:.1f} s: {reason(error)}"
                    ) from None
                if not len(block):
                    return
                done += len(block)
                yield block

    def close(self) -> None:
        """May be repeated."""
        self._file.close()

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
                f"{self.path} is not audio that can be read: {reason(error)} (WAV, FLAC and OGG are)"
            ) from None


def block_frames(sample_rate: int, milliseconds: int) -> int:
    """Samples per channel of a block of this length."""
    return max(1, sample_rate * milliseconds // 1000)


def reason(error: Exception) -> str:
    """What libsndfile says, as the end of a sentence."""
    return str(getattr(error, "error_string", error)).removeprefix("Error : ").rstrip(".")
