"""A WAV or FLAC file that a node writes: complete, or not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from remotemedia._audio.writer import AudioWriter
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode
from remotemedia.nodes._common import audio_of, import_library, warn_of

__all__ = ["SUBTYPES", "WrittenFile"]

SUBTYPES = ("PCM_16", "PCM_24", "FLOAT")
_SUFFIXES = (".wav", ".flac")


class WrittenFile:
    """``load`` first, then ``add``; ``complete`` at the end, or else ``close``.

    Args:
        node: whose file it is; it has the params ``path`` and ``subtype``, one of SUBTYPES.
        sample_rate: of a file without audio, in Hz.

    ValueError for a path or subtype that does not do.
    """

    def __init__(self, node: MultiprocessNode, sample_rate: int = 22_050) -> None:
        self._node = node
        self._name = type(node).__name__
        self._path: str = node.config["path"]
        self._subtype: str = node.config["subtype"]
        self._sample_rate = sample_rate
        suffix = Path(self._path).suffix.lower()
        if suffix not in _SUFFIXES:
            raise ValueError(
                f"{self._name}: param 'path' must end in one of {', '.join(_SUFFIXES)}; not {self._path!r}"
            )
        if suffix == ".flac" and self._subtype == "FLOAT":
            raise ValueError(f"{self._name}: param 'subtype' must be 'PCM_16' or 'PCM_24' for FLAC")
        self._writer: AudioWriter | None = None
        self._error: OSError | None = None
        self._started = False

    def load(self, extra: str = "speech") -> None:
        """Load the file library; ImportError if it is not installed, FileNotFoundError without the folder."""
        import_library(self._node, "soundfile", extra)
        folder = Path(self._path).absolute().parent
        if not folder.is_dir():
            raise FileNotFoundError(f"{self._name}: no folder {folder} for param 'path' {self._path!r}")
        self._started = True

    def add(self, data: RuntimeData) -> None:
        """Append one message.

        TypeError or ValueError for anything but audio of the file's rate and channels; OSError if it cannot be written,
        as for every later message.
        """
        samples, form = audio_of(self._node, data)
        writer = self._opened(form.sample_rate, form.channels)
        if (form.sample_rate, form.channels) != (writer.sample_rate, writer.channels):
            raise ValueError(
                f"{self._name}: {self._path} has {writer.sample_rate} Hz and {writer.channels} "
                f"channels, this audio {form.sample_rate} Hz and {form.channels} channels"
            )
        if samples.size:
            with self._errors():
                writer.write(samples)

    def complete(self) -> RuntimeData:
        """Complete the file; its path as TEXT. OSError if it cannot be completed."""
        self._complete()
        return RuntimeData.text(self._path)

    def close(self) -> None:
        """Complete the file if ``complete`` did not."""
        if self._started and self._error is None:
            self._complete()

    def _opened(self, sample_rate: int, channels: int) -> AudioWriter:
        if self._writer is None:
            with self._errors():
                self._writer = AudioWriter(Path(self._path), sample_rate, channels, self._subtype)
        return self._writer

    def _complete(self) -> None:
        self._started = False
        writer = self._opened(self._sample_rate, 1)
        with self._errors(), writer:
            if not writer.frames and self._path.lower().endswith(".flac"):
                writer.write(np.zeros((1, writer.channels), np.float32))
            writer.keep()
        warn_of(self._node, writer.numbers)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raises the first error again in every later call: half a file is useless."""
        if self._error is not None:
            raise self._error
        try:
            yield
        except OSError as error:
            text = f"{self._name}: {self._path} cannot be written: {error.strerror or error}"
            self._error = OSError(text) if error.errno is None else OSError(error.errno, text)
            raise self._error from error
