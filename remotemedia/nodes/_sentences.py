"""Sentences of a text that comes piece by piece, each as early as it is sure."""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["Sentences"]

# Behind something that is no letter: whether a sentence has ended there can only now be seen.
_BEGINS_WORD = re.compile(r"(?<=\W)\w")
_ENDS_CLAUSE = re.compile(r"[,;:\u2013\u2014\u2026\uff0c\u3001\uff1b\uff1a](?=\s|[^\x00-\x7f])")


class Sentences:
    """What comes out depends on the text alone, not on its pieces. Together it is the text, but for white space
    between sentences.

    Args:
        cut: the sentences of a text, with the white space that follows each.
        clause_chars: the first sentence may end with a clause of so many characters; 0: it may not.
        most_chars: a longer sentence is cut at a space.
    """

    def __init__(self, cut: Callable[[str], list[str]], clause_chars: int, most_chars: int) -> None:
        self._cut = cut
        self._clause_chars = clause_chars
        self._most_chars = most_chars
        self._text = ""
        self._seen = 0
        self._is_first = True

    @property
    def waits(self) -> bool:
        """Whether there is text that is in no sentence yet."""
        return bool(self._text)

    def add(self, piece: str) -> list[str]:
        """Takes the next piece of the text; the sentences that are complete."""
        self._text = (self._text + piece) if self._text else piece.lstrip()
        found: list[str] = []
        while (sentence := self._next()) is not None:
            found.append(sentence)
        return found

    def end(self) -> list[str]:
        """The text has ended; what waited is a sentence, or several, and the next text begins."""
        rest = [sentence.strip() for sentence in self._cut(self._text)]
        self.clear()
        return [sentence for sentence in rest if sentence]

    def clear(self) -> None:
        """Forgets what waits; the next text begins."""
        self._text, self._seen, self._is_first = "", 0, True

    def _next(self) -> str | None:
        """The next sentence, if it is sure that it has ended."""
        while (word := _BEGINS_WORD.search(self._text, max(1, self._seen))) is not None and word.start() < self._limit:
            self._seen = word.end()
            begun = self._text[: self._seen]
            if len(parts := self._cut(begun)) > 1:
                return self._taken(len(parts[0]))
            if self._is_first and self._clause_chars:
                clauses = [one.end() for one in _ENDS_CLAUSE.finditer(begun) if one.end() >= self._clause_chars]
                if clauses:
                    return self._taken(clauses[0])
        if len(self._text) >= self._limit:
            space = self._text.rfind(" ", 1, self._limit)
            return self._taken(space if space > 0 else self._limit)
        return None

    @property
    def _limit(self) -> int:
        return self._most_chars

    def _taken(self, count: int) -> str:
        sentence, rest = self._text[:count].strip(), self._text[count:]
        self._text, self._seen, self._is_first = rest.lstrip(), 0, False
        return sentence
