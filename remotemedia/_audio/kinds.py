"""What a file or a stream is, by its first bytes."""

from __future__ import annotations

from typing import TypeAlias

__all__ = ["WAV", "kind_of", "may_become_a_kind"]

WAV = "WAV"

# One byte, one of several, or any.
_Byte: TypeAlias = "int | frozenset[int] | None"


def _pattern(*parts: bytes | int | frozenset[int]) -> list[_Byte]:
    """A part is bytes to be matched, a number of arbitrary bytes, or a set of which one byte must match."""
    pattern: list[_Byte] = []
    for part in parts:
        if isinstance(part, bytes):
            pattern += part
        elif isinstance(part, int):
            pattern += [None] * part
        else:
            pattern.append(part)
    return pattern


# The second byte of MPEG audio: the rest of the sync, a version and a layer that exist. 0xFE is left to UTF-16.
_MPEG = frozenset(byte for byte in range(0xE0, 0xFE) if byte >> 1 & 3 and byte >> 3 & 3 != 1) | {0xFF}
_ADTS = frozenset({0xF0, 0xF1, 0xF8, 0xF9})
# Text may begin with the same letters; these bytes, which no line of text has there, tell it apart.
_NO_TEXT = frozenset(range(9))

_KINDS: list[tuple[list[_Byte], str]] = [
    *((_pattern(riff, 4, b"WAVE"), WAV) for riff in (b"RIFF", b"RIFX", b"RF64", b"BW64")),
    (_pattern(b"RIFF", 4, b"AVI "), "AVI video"),
    (_pattern(b"fLaC"), "FLAC"),
    (_pattern(b"OggS\0"), "OGG"),
    (_pattern(b"ID3", _NO_TEXT), "MP3"),
    (_pattern(b"\xff", _MPEG), "MP3"),
    (_pattern(b"\xff", _ADTS), "AAC"),
    (_pattern(b"FORM", _NO_TEXT, 3, b"AIFF"), "AIFF"),
    (_pattern(b"FORM", _NO_TEXT, 3, b"AIFC"), "AIFF"),
    (_pattern(b".snd", _NO_TEXT), "AU"),
    (_pattern(b"caff", _NO_TEXT), "CAF"),
    (_pattern(b"riff\x2e\x91\xcf\x11"), "W64"),
    (_pattern(b"wvpk", 3, b"\0"), "WavPack"),
    (_pattern(b"#!AMR"), "AMR"),
    (_pattern(b"NIST_1A\n"), "NIST SPHERE"),
    (_pattern(b"Creative Voice File"), "VOC"),
    (_pattern(b"\x30\x26\xb2\x75\x8e\x66"), "WMA"),
    (_pattern(b"\0\0\0", 1, b"ftyp"), "MP4 or M4A"),
    (_pattern(b"\x1aE\xdf\xa3"), "WebM or Matroska"),
    (_pattern(b"\x1f\x8b"), "gzip"),
    (_pattern(b"PK\x03\x04"), "ZIP"),
    (_pattern(b"\xff\xfe"), "UTF-16 text"),
    (_pattern(b"\xfe\xff"), "UTF-16 text"),
]


def kind_of(head: bytes) -> str | None:
    """The format of what begins with ``head``; None if it is not known, as for text or raw samples."""
    for pattern, kind in _KINDS:
        if len(head) >= len(pattern) and _fits(head, pattern):
            return kind
    return None


def may_become_a_kind(head: bytes) -> bool:
    """Whether ``kind_of`` could recognise the format with more bytes than ``head``."""
    return any(len(head) < len(pattern) and _fits(head, pattern) for pattern, _ in _KINDS)


def _fits(head: bytes, pattern: list[_Byte]) -> bool:
    return all(
        wanted is None or (byte in wanted if isinstance(wanted, frozenset) else byte == wanted)
        for byte, wanted in zip(head, pattern, strict=False)
    )
