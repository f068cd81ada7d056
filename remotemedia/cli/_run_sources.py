"""What ``remotemedia run`` feeds: audio files, text files, and pipes of either."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

from remotemedia.cli._errors import Mistake
from remotemedia.cli._pipes import PipeReader
from remotemedia.core.data import RuntimeData

if TYPE_CHECKING:
    from remotemedia.cli._audio_file import AudioFile

__all__ = ["STDIN", "Source", "open_source"]

STDIN = "-"

_AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".caf", ".w64", ".rf64")
_AUDIO_MAGIC = (b"RIFF", b"RF64", b"fLaC", b"OggS")
_SNIFFED_BYTES = 4096


class Source(Protocol):
    """Messages to be fed; one owner closes it.

    Attributes:
        name: of the file, for messages.
        unit: what ``total`` and the amounts are in: "s" or "B".
        total: all there is to feed, or None.
    """

    name: str
    unit: str
    total: float | None

    def messages(self) -> AsyncGenerator[tuple[RuntimeData, float], None]:
        """Each message, and how much that makes so far. Mistake for what cannot be read."""

    def close(self) -> None:
        """May be repeated."""


def open_source(file: str, form: str, *, chunk_ms: int, whole_text: bool) -> Source:
    """The source that fits ``file`` and ``form`` ("audio", "text" or "auto"). Mistake for what cannot be read."""
    if file == STDIN:
        if sys.__stdin__ is None:
            raise Mistake("-i -: stdin is closed")
        return _Stream("stdin", sys.__stdin__.fileno(), form, chunk_ms, whole_text)
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
    source = _Stream(str(path), fd, "text" if stat.S_ISREG(mode) else form, chunk_ms, whole_text, owned=True)
    if stat.S_ISREG(mode):
        source.total = path.stat().st_size
    return source


def _looks_like_audio(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(_SNIFFED_BYTES)
    except OSError as error:
        raise Mistake(f"{path} cannot be read: {error.strerror}") from None
    if path.suffix.lower() in _AUDIO_SUFFIXES or head.startswith(_AUDIO_MAGIC):
        return True
    if b"\0" in head:
        raise Mistake(f"{path} is neither audio that can be read (WAV, FLAC and OGG are) nor text")
    return False


class _AudioSource:
    unit = "s"

    def __init__(self, path: Path, chunk_ms: int) -> None:
        self.name = str(path)
        self._chunk_ms = chunk_ms
        self._file: AudioFile = _audio_files().AudioFile(path)
        self.total: float | None = self._file.secs

    async def messages(self) -> AsyncGenerator[tuple[RuntimeData, float], None]:
        rate, channels = self._file.sample_rate, self._file.channels
        frames = 0
        for block in self._file.blocks(self._chunk_ms):
            frames += len(block)
            yield RuntimeData.audio(block, rate, channels), frames / rate

    def close(self) -> None:
        self._file.close()


class _Stream:
    """Text or WAV from a descriptor; what it is, its first bytes tell."""

    def __init__(self, name: str, fd: int, form: str, chunk_ms: int, whole_text: bool, *, owned: bool = False) -> None:
        self.name = name
        self.unit = "B"
        self.total: float | None = None
        self._fd = fd
        self._owned = owned
        self._form = form
        self._chunk_ms = chunk_ms
        self._whole_text = whole_text
        self._reader = PipeReader(fd)

    async def messages(self) -> AsyncGenerator[tuple[RuntimeData, float], None]:
        try:
            is_audio = self._form == "audio" or (self._form == "auto" and await self._begins_like_audio())
            async for message in self._audio() if is_audio else self._text():
                yield message
        except OSError as error:
            raise Mistake(f"{self.name} cannot be read: {error.strerror}") from None

    async def _begins_like_audio(self) -> bool:
        # No byte more than is needed: who types a short line waits for the answer to it.
        for count in range(1, 5):
            head = await self._reader.peek(count)
            if len(head) < count or not any(magic.startswith(head) for magic in _AUDIO_MAGIC):
                return False
        return head[:1] != b"R" or (await self._reader.peek(12))[8:] == b"WAVE"

    async def _audio(self) -> AsyncGenerator[tuple[RuntimeData, float], None]:
        from remotemedia.cli._wav import read_wav_head

        block_frames = _audio_files().block_frames
        form, left = await read_wav_head(self._reader, self.name)
        self.unit = "s"
        block_bytes = block_frames(form.sample_rate, self._chunk_ms) * form.frame_bytes
        frames = 0
        while left is None or left > 0:
            raw = await self._reader.read(block_bytes if left is None else min(block_bytes, left))
            if left is not None:
                left -= len(raw)
            if len(raw) < form.frame_bytes:
                break
            block = form.decode(raw)
            frames += len(block)
            yield RuntimeData.audio(block, form.sample_rate, form.channels), frames / form.sample_rate

    async def _text(self) -> AsyncGenerator[tuple[RuntimeData, float], None]:
        number = size = 0
        while raw := await (self._reader.read_all() if self._whole_text else self._reader.read_line()):
            number += 1
            size += len(raw)
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                line = number + raw.count(b"\n", 0, error.start)
                raise Mistake(
                    f"{self.name} is not UTF-8 text: line {line} has the byte {raw[error.start]:#04x}"
                ) from None
            yield RuntimeData.text(text if self._whole_text else text.removesuffix("\n").removesuffix("\r")), size

    def close(self) -> None:
        if self._owned:
            self._owned = False
            os.close(self._fd)


def _audio_files() -> ModuleType:
    try:
        from remotemedia.cli import _audio_file
    except ImportError as error:
        raise Mistake(f"audio needs soundfile ({error}): pip install 'remotemedia[speech]'") from None
    return _audio_file
