"""What ``remotemedia run`` feeds: audio files, files of text or JSON, and pipes of either."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING

from remotemedia._audio.kinds import WAV, kind_of, may_become_a_kind
from remotemedia._audio.wav import WavBody, no_sound
from remotemedia.cli._errors import Mistake
from remotemedia.cli._pipes import PipeReader
from remotemedia.cli._wav import read_wav_head, unfit_for_a_pipe
from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.json_values import parse_json

if TYPE_CHECKING:
    from remotemedia.cli._audio_file import AudioFile
    from remotemedia.cli._job import Source

__all__ = ["STDIN", "open_source"]

STDIN = "-"

_AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".caf", ".w64", ".rf64")
_AUDIO_KINDS = (WAV, "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF", "W64")
_SNIFFED_BYTES = 4096


def open_source(file: str, form: str, *, chunk_ms: int, whole_text: bool, as_json: bool = False) -> Source:
    """The source that fits ``file`` and ``form`` ("audio", "text" or "auto"). Mistake for unreadable input.

    With ``as_json`` each text is one JSON value.
    """
    if file == STDIN:
        if sys.__stdin__ is None:
            raise Mistake("-i -: stdin is closed")
        return _Stream("stdin", sys.__stdin__.fileno(), form, chunk_ms, whole_text, as_json)
    path = Path(file)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise Mistake(f"there is no file {path}") from None
    except OSError as error:
        raise Mistake(f"{path} cannot be read: {error.strerror}") from None
    if stat.S_ISDIR(mode):
        raise Mistake(f"{path} is not a file")
    if stat.S_ISREG(mode) and (form == "audio" or (form == "auto" and _looks_like_audio(path))):
        return _AudioSource(path, chunk_ms)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Mistake(f"{path} cannot be read: {error.strerror}") from None
    source = _Stream(str(path), fd, "text" if stat.S_ISREG(mode) else form, chunk_ms, whole_text, as_json, owned=True)
    if stat.S_ISREG(mode):
        source.total = path.stat().st_size
    return source


def _looks_like_audio(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(_SNIFFED_BYTES)
    except OSError as error:
        raise Mistake(f"{path} cannot be read: {error.strerror}") from None
    if path.suffix.lower() in _AUDIO_SUFFIXES or kind_of(head) in _AUDIO_KINDS:
        return True
    if b"\0" in head:
        kind = kind_of(head)
        looks = f"; it looks like {kind}" if kind else ""
        raise Mistake(f"{path} is neither audio that can be read (WAV, FLAC and OGG are) nor text{looks}")
    return False


class _AudioSource:
    unit = "s"

    def __init__(self, path: Path, chunk_ms: int) -> None:
        self.name = str(path)
        self._chunk_ms = chunk_ms
        self._file = _open_audio(path)
        self.total: float | None = self._file.secs

    async def messages(self) -> AsyncGenerator[tuple[RuntimeData, float], None]:
        rate, channels = self._file.sample_rate, self._file.channels
        frames = 0
        for block in self._file.blocks(self._chunk_ms):
            frames += len(block)
            yield RuntimeData.audio(block, rate, channels), frames / rate

    @property
    def warning(self) -> str | None:
        return self._file.warning

    def close(self) -> None:
        self._file.close()


class _Stream:
    """Text, JSON or WAV from a descriptor; its first bytes say whether it is WAV."""

    def __init__(
        self, name: str, fd: int, form: str, chunk_ms: int, whole_text: bool, as_json: bool, *, owned: bool = False
    ) -> None:
        self.name = name
        self.unit = "B"
        self.total: float | None = None
        self._fd = fd
        self._owned = owned
        self._form = form
        self._chunk_ms = chunk_ms
        self._whole_text = whole_text
        self._as_json = as_json
        self._reader = PipeReader(fd)
        self._body: WavBody | None = None

    @property
    def warning(self) -> str | None:
        return None if self._body is None else self._body.warning

    async def messages(self) -> AsyncGenerator[tuple[RuntimeData, float], None]:
        try:
            is_audio = self._form == "audio" or (self._form == "auto" and await self._is_audio())
            async for message in self._audio() if is_audio else self._text():
                yield message
        except OSError as error:
            raise Mistake(f"{self.name} cannot be read: {error.strerror}") from None

    async def _is_audio(self) -> bool:
        """Whether it begins like a WAV; Mistake if it begins like neither WAV nor text."""
        # No byte more than is needed: a user who types a short line waits for the answer to it.
        count = 1
        while len(head := await self._reader.peek(count)) == count and may_become_a_kind(head):
            count += 1
        kind = kind_of(head)
        if kind is None and head[:1] == b"\0":
            raise Mistake(
                f"{self.name} begins with a zero byte: it is neither a WAV nor text. Raw samples need a header, "
                f"for example by sox -t raw -r 16000 -e signed -b 16 -c 1 - -t wav -"
            )
        if kind not in (None, WAV):
            raise unfit_for_a_pipe(self.name, head)
        return kind == WAV

    async def _audio(self) -> AsyncGenerator[tuple[RuntimeData, float], None]:
        from remotemedia.cli._audio_file import block_frames

        head = await read_wav_head(self._reader, self.name)
        body, form = WavBody(self.name, head), head.form
        self._body = body
        self.unit = "s"
        block = block_frames(form.sample_rate, self._chunk_ms)
        try:
            while len(samples := body.decode(await self._reader.read(body.bytes_of(block)))):
                yield RuntimeData.audio(samples, form.sample_rate, form.channels), body.frames / form.sample_rate
        except ImportError as error:
            raise _needs_soundfile(error) from None
        if not body.frames:
            raise Mistake(str(no_sound(self.name)))

    async def _text(self) -> AsyncGenerator[tuple[RuntimeData, float], None]:
        number = size = 0
        while raw := await (self._reader.read_all() if self._whole_text else self._reader.read_line()):
            number += 1
            size += len(raw)
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                line = number + raw.count(b"\n", 0, error.start)
                known = self._form == "text" or number > 1
                hint = "" if known else ", nor is it a WAV, the only audio that can be read from a pipe"
                raise Mistake(
                    f"{self.name} is not UTF-8 text: line {line} has the byte {raw[error.start]:#04x}{hint}"
                ) from None
            if not self._whole_text:
                text = text.removesuffix("\n").removesuffix("\r")
            if not self._as_json:
                yield RuntimeData.text(text), size
            elif text.strip():
                yield self._json(text, number), size

    def _json(self, text: str, line: int) -> RuntimeData:
        try:
            parse_json(text)
        except ValueError as error:
            where = self.name if self._whole_text else f"line {line} of {self.name}"
            raise Mistake(f"{where} is not JSON, which its node takes: {error}") from None
        return RuntimeData(DataType.JSON, text)

    def close(self) -> None:
        if self._owned:
            self._owned = False
            os.close(self._fd)


def _open_audio(path: Path) -> AudioFile:
    from remotemedia.cli._audio_file import AudioFile

    try:
        return AudioFile(path)
    except ImportError as error:
        raise _needs_soundfile(error) from None


def _needs_soundfile(error: ImportError) -> Mistake:
    from remotemedia._install import install_advice

    return Mistake(f"audio needs soundfile ({error}): {install_advice('speech')}")
