"""What a user and a model have said to each other, as far as the user has heard it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from remotemedia.core.multiprocessing import Heard
from remotemedia.nodes._common import Float32

__all__ = ["CHARS_PER_SEC", "Conversation", "Exchange", "Said", "Token", "heard_secs"]

CHARS_PER_SEC = 15.0
"""So fast people speak English, roughly."""

# Less than a frame of sound: sums of seconds are not exact.
_CLOSE_SECS = 0.01

Said: TypeAlias = "str | Float32"
"""Of a user: text, or an utterance, 16 kHz mono float32, shape (n,)."""


class Token(NamedTuple):
    """Of an answer: a piece of its text or of its sound.

    Attributes:
        codes: as the model has it: one for text, several for sound.
        chars: how many characters of text it completes.
        secs: how long it sounds.
    """

    codes: tuple[int, ...]
    chars: int
    secs: float

    @property
    def is_text(self) -> bool:
        """Whether it is of the text."""
        return len(self.codes) == 1


@dataclass(eq=False)
class Exchange:
    """What a user said, and the answer: its tokens as far as they were given, in the order they were made.

    Attributes:
        start_secs: seconds of answers that were given before it, since the last interruption; None once an interruption
            has come after it.
        is_whole: whether the model came to its end.
    """

    said: Said
    start_secs: float | None = 0.0
    tokens: list[Token] = field(default_factory=list)
    is_whole: bool = False

    @property
    def secs(self) -> float:
        """How long the answer sounds."""
        return sum(token.secs for token in self.tokens)

    def cut(self, secs: float) -> None:
        """Keep what was heard in the first ``secs``.

        The sound is cut at a token. The text is made before the sound that speaks it: it is cut where it would be if
        all of it were spoken equally fast, and at CHARS_PER_SEC if the answer has no end that would tell how fast.
        """
        if secs <= 0:
            self.tokens.clear()
            return
        total, chars = self.secs, sum(token.chars for token in self.tokens)
        if self.is_whole and 0 < total <= secs + _CLOSE_SECS:
            return
        most_chars = secs * (chars / total if self.is_whole and total else CHARS_PER_SEC)
        kept, heard_chars, heard, is_sounding = [], 0, 0.0, True
        for token in self.tokens:
            if token.is_text:
                if heard_chars < most_chars:
                    heard_chars += token.chars
                    kept.append(token)
            elif is_sounding and heard + token.secs / 2 <= secs:
                heard += token.secs
                kept.append(token)
            else:
                is_sounding = False
        self.tokens = kept


class Conversation:
    """The last exchanges of it.

    Args:
        most: so many are remembered besides the one that is under way.
    """

    def __init__(self, most: int) -> None:
        self.exchanges: list[Exchange] = []
        self._most = most
        self._secs = 0.0

    def begin(self, said: Said) -> Exchange:
        """The user has said something."""
        exchange = Exchange(said, self._secs)
        self.exchanges = [*self.exchanges[-self._most :], exchange] if self._most else [exchange]
        return exchange

    def add(self, exchange: Exchange, token: Token) -> None:
        """The next token of its answer was given."""
        exchange.tokens.append(token)
        self._secs += token.secs

    def take_back(self, exchange: Exchange) -> None:
        """It failed, and may come again."""
        self.exchanges = [one for one in self.exchanges if one is not exchange]

    def cut(self, secs: float | None) -> None:
        """An interruption: of all that was answered since the one before, the user heard so much; None: all of it."""
        for exchange in self.exchanges:
            if exchange.start_secs is not None and secs is not None:
                exchange.cut(secs - exchange.start_secs)
            exchange.start_secs = None
        self._secs = 0.0

    def clear(self) -> None:
        """Forget all of it."""
        self.exchanges.clear()


def heard_secs(heard: Mapping[str, Heard]) -> float | None:
    """The seconds of audio that a user has heard since the interruption before, as a report of one tells it.

    That is what was played, of the output of which most was, and what was delivered where nothing is known of playing.
    None if that is not known either: no output was reached, or what was delivered was no audio.
    """
    if played := [one.played.secs for one in heard.values() if one.played is not None]:
        return max(played)
    if not heard:
        return None
    delivered = [one.delivered.secs for one in heard.values() if one.delivered is not None]
    return (max(delivered) or None) if delivered else 0.0
