"""The audio of the demo: the question that is fed, the answer that is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import soundfile

from remotemedia.cli._audio_file import block_frames
from remotemedia.cli._drafts import Draft, new_draft, real_path
from remotemedia.cli._errors import Mistake

__all__ = ["AudioSource", "MadeAudio", "answer_file", "length_secs"]

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
    def secs(self) -> float | None:
        """Its length, or None if only reading will tell."""

    @property
    def warning(self) -> str | None:
        """A warning about the length, or None; valid at the end."""

    def blocks(self, milliseconds: int) -> Iterator[npt.NDArray[np.float32]]:
        """All of it, in blocks of this length; the last may be shorter."""


@dataclass(frozen=True)
class MadeAudio:
    """Mono samples in memory, shape (n,)."""

    samples: npt.NDArray[np.float32]
    sample_rate: int
    channels: int = 1

    @property
    def secs(self) -> float:
        return len(self.samples) / self.sample_rate

    @property
    def warning(self) -> None:
        return None

    def blocks(self, milliseconds: int) -> Iterator[npt.NDArray[np.float32]]:
        frames = block_frames(self.sample_rate, milliseconds)
        for start in range(0, len(self.samples), frames):
            yield self.samples[start : start + frames]


@contextmanager
def answer_file(path: Path, question: Path | None) -> Iterator[Draft]:
    """Until ``keep()`` is called, an existing answer stays as it is. Mistake for a path that cannot be written."""
    final = real_path(path)
    if not final.is_dir() and not {path.suffix.lower(), final.suffix.lower()} <= set(_SUFFIXES):
        raise Mistake(f"the answer's file must end in {' or '.join(_SUFFIXES)}, not {str(path)!r}")
    if question is not None and real_path(question) == final:
        raise Mistake(f"the answer would replace the question {question}; choose another -o")
    with new_draft(path, "the answer", named=True) as draft:
        yield draft


def length_secs(path: Path) -> tuple[float, int]:
    """Seconds and sample rate of a file."""
    info = soundfile.info(path)
    return info.frames / info.samplerate, info.samplerate
