"""What ``remotemedia run`` writes: text and JSON by the line, audio as WAV or FLAC, into files or pipes."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from remotemedia._audio.errors import AudioFileError
from remotemedia._audio.samples import NotNumbers
from remotemedia._audio.wav import check_form, wav_head
from remotemedia._audio.writer import SoundEncoder
from remotemedia.cli._drafts import Draft, new_draft
from remotemedia.cli._errors import Mistake
from remotemedia.cli._job import Sink
from remotemedia.cli._pipes import PipeWriter
from remotemedia.core.data import AudioMetadata, DataType, RuntimeData

__all__ = ["AUDIO_SUFFIXES", "STDOUT", "FileSink", "is_special"]

STDOUT = "-"

AUDIO_SUFFIXES = _WAV, _FLAC = ".wav", ".flac"
# FLAC has no more than 24 bits.
_FLAC_SUBTYPES = {"int16": "PCM_16", "int32": "PCM_24", "float32": "PCM_24", "float64": "PCM_24"}


class FileSink(Sink):
    """One ``-O``: a node's output on its way into a file.

    A file is written beside the one it becomes when ``keep()`` is called; pipes and devices are written as they are.
    """

    def __init__(self, node_id: str, port: str | None, file: str) -> None:
        super().__init__(node_id, port, file)
        self._numbers = NotNumbers()
        self._resources = ExitStack()
        self._content: _Text | _Wav | _Flac | None = None
        self._draft: Draft | None = None
        self._fd = -1
        self._is_terminal = False

    def open(self) -> None:
        """Mistake for a file that cannot be written."""
        if self.file == STDOUT:
            if sys.__stdout__ is None:
                raise Mistake("-O -: stdout is closed")
            self._fd = sys.__stdout__.fileno()
        elif is_special(Path(self.file)):
            self._fd = self._open(Path(self.file), os.O_WRONLY)
        else:
            self._draft = self._resources.enter_context(new_draft(Path(self.file), "the output"))
            self._fd = self._draft.fd
        self._is_terminal = os.isatty(self._fd)

    def _open(self, path: Path, flags: int) -> int:
        try:
            fd = os.open(path, flags | os.O_CLOEXEC)
        except OSError as error:
            raise Mistake(f"the output cannot be written to {self.file}: {error.strerror}") from None
        self._resources.callback(os.close, fd)
        return fd

    @property
    def wants_audio(self) -> bool:
        """Whether the file is one of audio, by its name."""
        return self._suffix in AUDIO_SUFFIXES

    @property
    def _suffix(self) -> str:
        return Path(self.file).suffix.lower()

    async def take(self, data: RuntimeData) -> None:
        if data.type is DataType.CONTROL:
            return  # a mark: a file has no place for it
        with self._errors():
            if data.type is DataType.AUDIO:
                await self._take_audio(data)
            elif data.type is DataType.TEXT and isinstance(data.payload, str):
                await self._take_text(data.payload)
            elif data.type is DataType.JSON and isinstance(data.payload, str):
                # A value is a line: in JSON an end of line can only stand between two tokens.
                await self._take_text(data.payload.replace("\r", " ").replace("\n", " "), "JSON")
            else:
                raise self._unfit(data.type.name, "which cannot be written: text, JSON and audio can")
        self.messages += 1

    async def finish(self) -> bool:
        with self._errors():
            if self._content is not None:
                await self._content.finish()
        replaced = self._numbers.take_warning()
        if replaced is not None:
            self.warning = f"{self.file}: {replaced}"
        return self._content is not None or not self.wants_audio

    async def _take_text(self, text: str, kind: str = "text") -> None:
        if self._content is None:
            if self.wants_audio:
                raise self._unfit(kind, "and the file is one of audio; choose another ending, such as .txt")
            self._content = _Text(PipeWriter(self._fd))
        if not isinstance(self._content, _Text):
            raise self._unfit(kind, "after audio; -O NODE.PORT=FILE takes one port alone")
        await self._content.take(text)

    async def _take_audio(self, data: RuntimeData) -> None:
        samples, form = data.payload, data.metadata
        if not isinstance(samples, np.ndarray) or not isinstance(form, AudioMetadata):
            raise self._unfit("audio", "that does not say its rate and channels (see RuntimeData.audio)")
        if not samples.size:
            return  # how the audio nodes mark the end of an utterance
        if samples.dtype.name not in _FLAC_SUBTYPES:
            raise self._unfit("audio", f"of {samples.dtype.name}; {', '.join(_FLAC_SUBTYPES)} can be written")
        shaped = samples.ndim in (1, 2) and (1 if samples.ndim == 1 else samples.shape[1]) == form.channels
        try:
            check_form("which", form.sample_rate, form.channels)
        except AudioFileError:
            shaped = False
        if not shaped:
            raise self._unfit(
                "audio", f"of shape {samples.shape} said to be {form.channels} channels at {form.sample_rate} Hz"
            )
        if self._content is None:
            self._content = self._new_audio(form.sample_rate, form.channels, samples.dtype)
        if isinstance(self._content, _Text):
            raise self._unfit("audio", "after text; -O NODE.PORT=FILE takes one port alone")
        new, old = (form.sample_rate, form.channels, samples.dtype.newbyteorder("<")), self._content.form
        if new != old:
            raise self._unfit("audio", f"of {_described(new)} after {_described(old)}: one file cannot have both")
        await self._content.take(self._numbers.replaced(samples))
        self.secs += len(samples) / form.sample_rate

    def _new_audio(self, rate: int, channels: int, dtype: np.dtype[Any]) -> _Wav | _Flac:
        if self._is_terminal:
            raise self._unfit("audio", "and a terminal cannot show it: -O FILE.wav, or a pipe behind it")
        if self._draft is not None and self._suffix == _FLAC:
            return _Flac(self._fd, rate, channels, dtype)
        if self._draft is not None and self._suffix != _WAV:
            raise self._unfit("audio", f"which goes into files that end in {_WAV} or {_FLAC}")
        return _Wav(PipeWriter(self._fd), rate, channels, dtype)

    def keep(self) -> None:
        if self._draft is not None and (self._content is not None or not self.wants_audio):
            with self._errors():
                self._draft.keep()

    def close(self) -> None:
        if isinstance(self._content, _Flac):
            self._content.close()
        self._resources.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            raise Mistake(f"the output cannot be written to {self.file}: {error.strerror or error}") from None

    def _unfit(self, what: str, why: str) -> Mistake:
        return Mistake(f"the output cannot be written to {self.file}: node {self.node_id!r} puts out {what} {why}")


def is_special(path: Path) -> bool:
    """Whether there is something other than a file or a folder: a named pipe, a device."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _described(form: tuple[int, int, np.dtype[Any]]) -> str:
    return f"{form[0]} Hz with {form[1]} channels of {form[2].name}"


# --- forms -------------------------------------------------------------------------------------------------------


class _Text:
    """Each text and a newline."""

    def __init__(self, writer: PipeWriter) -> None:
        self._writer = writer

    async def take(self, text: str) -> None:
        await self._writer.write(f"{text}\n".encode(errors="backslashreplace"))

    async def finish(self) -> None:
        pass


class _Wav:
    """The samples as they are, behind a head that learns their number in the end, where that is possible."""

    def __init__(self, writer: PipeWriter, rate: int, channels: int, dtype: np.dtype[Any]) -> None:
        self.form = (rate, channels, dtype.newbyteorder("<"))
        self._writer = writer
        self._written_bytes: int | None = None

    async def take(self, samples: npt.NDArray[Any]) -> None:
        if self._written_bytes is None:
            await self._writer.write(wav_head(*self.form))
            self._written_bytes = 0
        await self._writer.write(np.ascontiguousarray(samples, self.form[2]).data)
        self._written_bytes += samples.nbytes

    async def finish(self) -> None:
        self._writer.rewrite_start(wav_head(*self.form, self._written_bytes))


class _Flac:
    """Samples through libsndfile, which seeks."""

    def __init__(self, fd: int, rate: int, channels: int, dtype: np.dtype[Any]) -> None:
        self.form = (rate, channels, dtype.newbyteorder("<"))
        try:
            self._encoder = SoundEncoder(fd, "FLAC", rate, channels, _FLAC_SUBTYPES[dtype.name])
        except ImportError as error:
            from remotemedia._install import install_advice

            raise Mistake(f"FLAC needs soundfile ({error}): {install_advice('speech')}") from None

    async def take(self, samples: npt.NDArray[Any]) -> None:
        self._encoder.write(samples)

    async def finish(self) -> None:
        self._encoder.finish()

    def close(self) -> None:
        self._encoder.close()
