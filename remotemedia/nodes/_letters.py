"""Tokens of a language model become text, letter by letter."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Letters"]

_MOST = 4  # bytes of a letter


class Letters:
    """A letter may be several tokens: it comes with the last.

    Args:
        decode: the text of tokens, with U+FFFD for the bytes of a letter that is not complete.
    """

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._codes: list[int] = []

    def completed_by(self, code: int) -> str:
        """What the next token completes."""
        self._codes.append(code)
        text = self._decode(self._codes)
        if text.endswith("\N{REPLACEMENT CHARACTER}") and len(self._codes) < _MOST:
            return ""
        self._codes.clear()
        return text
