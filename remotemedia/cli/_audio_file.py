"""Audio files that are read block by block."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from remotemedia._audio.errors import AudioFileError
from remotemedia._audio.reader import AudioReader
from remotemedia.cli._errors import Mistake

__all__ = ["AudioFile", "block_frames"]


class AudioFile:
    """A file that is read block by block. Mistake if it is not a file with sound in it.

    Attributes:
        secs: its length, or None if only reading will tell.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader = self._open()
        self.sample_rate = self._reader.sample_rate
        self.channels = self._reader.channels
        self.secs = self._reader.secs

    def blocks(self, milliseconds: int) -> Iterator[npt.NDArray[np.float32]]:
        """All of it, in blocks of this length; the last may be shorter. The file is closed at the end."""
        frames = block_frames(self.sample_rate, milliseconds)
        with self._reader as reader:
            try:
                while len(block := reader.read(frames)):
                    yield block
                reader.check_sound()
            except AudioFileError as error:
                raise Mistake(str(error)) from None

    @property
    def warning(self) -> str | None:
        """A warning about the length, or None; valid at the end."""
        return self._reader.warning

    def close(self) -> None:
        """May be repeated."""
        self._reader.close()

    def _open(self) -> AudioReader:
        try:
            reader = AudioReader(self.path)
            if reader.frames == 0:
                reader.close()
                reader.check_sound()
            return reader
        except FileNotFoundError:
            raise Mistake(f"there is no file {self.path}") from None
        except OSError as error:
            raise Mistake(f"{self.path} cannot be read: {error.strerror}") from None
        except AudioFileError as error:
            raise Mistake(str(error)) from None


def block_frames(sample_rate: int, milliseconds: int) -> int:
    """Samples per channel of a block of this length."""
    return max(1, sample_rate * milliseconds // 1000)
