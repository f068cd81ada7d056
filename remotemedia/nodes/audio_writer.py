"""AudioFileWriterNode: audio becomes a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode, Param, register_node
from remotemedia.nodes._common import audio_of, import_library

__all__ = ["AudioFileWriterNode"]

_SUFFIXES = (".wav", ".flac")


@register_node("AudioFileWriterNode")
class AudioFileWriterNode(MultiprocessNode):
    """Writes all audio it gets to one WAV or FLAC file, which it creates or replaces.

    Ports: input ``audio`` (float32, float64, int16 or int32; shape (n,) or (n, channels); rate and channels as in
    the first message); output ``path`` (TEXT: the path, once, at the end of the stream).

    The file is created by the first audio, or at the end if there was none, and is complete once ``finish()`` or
    ``cleanup()`` has run. An interrupt leaves in it what was written. A FLAC file without audio gets one silent
    frame: libsndfile writes no header, and so no valid file, before the first frame.
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
            raise ValueError("AudioFileWriterNode: param 'subtype' must be one of 'PCM_16', 'PCM_24' for FLAC")
        self._soundfile: Any = None
        self._file: Any = None
        self._finished = False

    async def initialize(self) -> None:
        """Load the file library; ImportError if it is not installed, FileNotFoundError without the folder."""
        self._soundfile = import_library(self, "soundfile")
        self._check_folder()

    async def process(self, data: RuntimeData) -> None:
        """Append one message; TypeError or ValueError for anything but audio of the file's rate and channels."""
        samples, form = audio_of(self, data)
        if self._file is None:
            self._open(form.sample_rate, form.channels)
        if (form.sample_rate, form.channels) != (self._file.samplerate, self._file.channels):
            raise ValueError(
                f"AudioFileWriterNode: {self._path} has {self._file.samplerate} Hz and {self._file.channels} "
                f"channels, this audio {form.sample_rate} Hz and {form.channels} channels"
            )
        if samples.size:
            self._file.write(samples)

    async def finish(self) -> RuntimeData:
        """Complete the file; its path."""
        self._close()
        return RuntimeData.text(self._path)

    async def cleanup(self) -> None:
        """Complete the file if ``finish()`` did not."""
        if self._soundfile is not None:
            self._close()

    def _check_folder(self) -> None:
        folder = Path(self._path).absolute().parent
        if not folder.is_dir():
            raise FileNotFoundError(f"AudioFileWriterNode: no folder {folder} for param 'path' {self._path!r}")

    def _open(self, sample_rate: int, channels: int) -> None:
        try:
            self._file = self._soundfile.SoundFile(self._path, "w", sample_rate, channels, self._subtype)
        except self._soundfile.LibsndfileError as error:
            raise OSError(f"AudioFileWriterNode: {self._path} cannot be written: {error}") from error

    def _close(self) -> None:
        if self._finished:
            return
        if self._file is None:
            self._open(self._sample_rate, 1)
        if self._file.format == "FLAC" and not self._file.frames:
            self._file.write(np.zeros((1, self._file.channels), np.float32))
        self._file.close()
        self._finished = True
