"""Errors of a file or a stream that should be audio."""

from __future__ import annotations

__all__ = ["AudioFileError"]


class AudioFileError(ValueError):
    """It is not audio that can be read. The text is one sentence that begins with the name of the file.

    Attributes:
        reason: the same sentence without the name, to stand after a colon.
    """

    def __init__(self, name: str, text: str, reason: str | None = None) -> None:
        super().__init__(f"{name} {text}")
        self.reason = f"it {text}" if reason is None else reason
