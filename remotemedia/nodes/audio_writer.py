"""AudioFileWriterNode: audio becomes a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from remotemedia._audio.writer import AudioWriter
from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode, Param, register_node
from remotemedia.nodes._common import audio_of, import_library, warn_of

__all__ = ["AudioFileWriterNode"]

_SUFFIXES = (".wav", ".flac")


@register_node("AudioFileWriterNode")
class AudioFileWriterNode(MultiprocessNode):
    """Writes all audio it gets to one WAV or FLAC file, which it creates or replaces.

    Ports: input ``audio`` (float32, float64, int16 or int32; shape (n,) or (n, channels); rate and channels as in
    the first message); output ``path`` (TEXT: the path, once, at the end of the stream).

    The file appears, or replaces the previous one, when it is complete: once ``finish()``, or else ``cleanup()``, has
    run. Until then nothing changes, even if the process dies or the disk is full. An interrupt keeps the audio so far.
    A FLAC file without audio gets one silent frame: libsndfile writes no header, and so no valid file, before the
    first frame.

    NaN is written as 0 and infinity as 1 or -1; a warning at the end says how many there were. Floats beyond full scale
    keep their value with ``FLOAT``, and are clipped otherwise.
    """

    params = {
        "path": Param(str, help="of the file, ending in .wav or .flac; its folder must exist"),
        "subtype": Param(str, "PCM_16", choices=("PCM_16", "PCM_24", "FLOAT"), help="sample format; FLOAT in WAV only"),
        "sample_rate": Param(int, 22_050, low=1, help="of a file without audio, in Hz"),
    }
    inputs = {"audio": DataType.AUDIO}
    outputs = {"path": DataType.TEXT}

    def __init__(self, node_id: str, config: dict[str, Any]) -> None:
        super().__init__(node_id, config)
        self._path: str = self.config["path"]
        self._subtype: str = self.config["subtype"]
        self._sample_rate: int = self.config["sample_rate"]
        suffix = Path(self._path).suffix.lower()
        if suffix not in _SUFFIXES:
            raise ValueError(
                f"AudioFileWriterNode: param 'path' must end in one of {', '.join(_SUFFIXES)}; not {self._path!r}"
            )
        if suffix == ".flac" and self._subtype == "FLOAT":
            raise ValueError("AudioFileWriterNode: param 'subtype' must be 'PCM_16' or 'PCM_24' for FLAC")
        self._writer: AudioWriter | None = None
        self._error: OSError | None = None
        self._started = False

    async def initialize(self) -> None:
        """Load the file library; ImportError if it is not installed, FileNotFoundError without the folder."""
        import_library(self, "soundfile")
        self._check_folder()
        self._started = True

    async def process(self, data: RuntimeData) -> None:
        """Append one message.

        TypeError or ValueError for anything but audio of the file's rate and channels; OSError if it cannot be written,
        as for every later message.
        """
        samples, form = audio_of(self, data)
        writer = self._opened(form.sample_rate, form.channels)
        if (form.sample_rate, form.channels) != (writer.sample_rate, writer.channels):
            raise ValueError(
                f"AudioFileWriterNode: {self._path} has {writer.sample_rate} Hz and {writer.channels} "
                f"channels, this audio {form.sample_rate} Hz and {form.channels} channels"
            )
        if samples.size:
            with self._errors():
                writer.write(samples)

    async def finish(self) -> RuntimeData:
        """Complete the file; its path. OSError if it cannot be completed."""
        self._complete()
        return RuntimeData.text(self._path)

    async def cleanup(self) -> None:
        """Complete the file if ``finish()`` did not."""
        if self._started and self._error is None:
            self._complete()

    def _check_folder(self) -> None:
        folder = Path(self._path).absolute().parent
        if not folder.is_dir():
            raise FileNotFoundError(f"AudioFileWriterNode: no folder {folder} for param 'path' {self._path!r}")

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
        warn_of(self, writer.numbers)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raises the first error again in every later call: half a file is useless."""
        if self._error is not None:
            raise self._error
        try:
            yield
        except OSError as error:
            text = f"AudioFileWriterNode: {self._path} cannot be written: {error.strerror or error}"
            self._error = OSError(text) if error.errno is None else OSError(error.errno, text)
            raise self._error from error
