"""The lengths that truncated AIFF, AU and W64 files state: libsndfile reports only the actual one."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

__all__ = ["promised_frames"]

_MOST_CHUNKS = 1000
# A stream that does not know its length states 0, or about the largest possible number.
_UNKNOWN = 0x7FFF0000
_W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"


def promised_frames(path: Path, kind: str | None, frames: int) -> int | None:
    """The samples per channel that a file of this kind (``kinds``) states; ``frames`` are there.

    None if it does not state any, or is of another kind.
    """
    find = {"AIFF": _of_aiff, "AU": _of_au, "W64": _of_w64}.get(kind or "")
    if find is None:
        return None
    with path.open("rb") as file:
        try:
            return find(file, path.stat().st_size, frames)
        except struct.error:  # it ends within its header
            return None


def _of_aiff(file: BinaryIO, size: int, frames: int) -> int | None:
    file.seek(12)
    for _ in range(_MOST_CHUNKS):
        name, length = struct.unpack(">4sI", file.read(8))
        if name == b"COMM":
            _, promised = struct.unpack(">HI", file.read(6))
            return None if promised >= _UNKNOWN else int(promised)
        file.seek(length + length % 2, 1)
    return None


def _of_au(file: BinaryIO, size: int, frames: int) -> int | None:
    _, offset, length = struct.unpack(">4sII", file.read(12))
    return _in_proportion(frames, length, size - offset) if length < _UNKNOWN else None


def _of_w64(file: BinaryIO, size: int, frames: int) -> int | None:
    file.seek(40)
    for _ in range(_MOST_CHUNKS):
        name, length = struct.unpack("<16sQ", file.read(24))
        if name == _W64_DATA:
            return _in_proportion(frames, length - 24, size - file.tell()) if 24 <= length < 1 << 62 else None
        if length < 24:
            return None
        file.seek(length - 24 + -length % 8, 1)
    return None


def _in_proportion(frames: int, promised_bytes: int, there_bytes: int) -> int | None:
    return frames * promised_bytes // there_bytes if promised_bytes > there_bytes > 0 else None
