"""What a user and a model of text have said to each other, as far as the user has heard it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from remotemedia.core.multiprocessing import Interruption, Position
from remotemedia.nodes._conversation import CHARS_PER_SEC

__all__ = ["Dialogue", "Exchange"]


@dataclass(eq=False)
class Exchange:
    """What a user said, and the answer as far as it was given.

    Attributes:
        timestamp: of the message that the user said it with; what comes of the answer carries it on.
        between: messages between the two, such as calls of tools and what these gave.
        is_recent: whether no interruption has come after it.
    """

    said: str
    timestamp: float
    answer: str = ""
    between: list[dict[str, Any]] = field(default_factory=list)
    is_recent: bool = True


class Dialogue:
    """The last exchanges of it.

    Args:
        most: so many are remembered besides the one that is under way.
    """

    def __init__(self, most: int) -> None:
        self.exchanges: list[Exchange] = []
        self._most = most

    def begin(self, said: str, timestamp: float) -> Exchange:
        """The user has said something."""
        exchange = Exchange(said, timestamp)
        self.exchanges = [*self.exchanges[-self._most :], exchange] if self._most else [exchange]
        return exchange

    def take_back(self, exchange: Exchange) -> None:
        """It failed, and may come again."""
        self.exchanges = [one for one in self.exchanges if one is not exchange]

    def clear(self) -> None:
        """Forget all of it."""
        self.exchanges.clear()

    def messages(self, system_prompt: str = "") -> list[dict[str, Any]]:
        """As a model is given it: ``role`` and ``content`` of each message; a user's messages in a row are one."""
        found: list[dict[str, Any]] = [{"role": "system", "content": system_prompt}] if system_prompt else []
        for exchange in self.exchanges:
            if found and found[-1]["role"] == "user":
                found[-1] = {"role": "user", "content": f"{found[-1]['content']}\n{exchange.said}"}
            else:
                found.append({"role": "user", "content": exchange.said})
            found += exchange.between
            if answer := exchange.answer.strip():
                found.append({"role": "assistant", "content": answer})
        return found

    def cut(self, report: Interruption) -> None:
        """An interruption: keep what the user heard of each answer since the one before.

        What was played says it, or what was delivered where nothing is known of playing. The answer that was heard last
        has the timestamp of what was heard; those before it were heard, those after it were not. Of itself that is
        kept which is spoken in the seconds that were heard, at CHARS_PER_SEC. All is kept if the report says nothing.
        """
        recent = [exchange for exchange in self.exchanges if exchange.is_recent]
        for exchange in recent:
            exchange.is_recent = False
        if not report.heard:
            return
        last = _last_heard(report)
        if last is None:
            _cut_all(recent, 0)
            return
        number = max((at for at, one in enumerate(recent) if one.timestamp == last.timestamp), default=None)
        if number is None:
            if last.secs:
                _cut_all(recent, round(last.secs * CHARS_PER_SEC))
            return
        if last.secs:
            before = sum(len(exchange.answer) for exchange in recent[:number])
            _cut_all(recent[number : number + 1], round(last.secs * CHARS_PER_SEC) - before)
        _cut_all(recent[number + 1 :], 0)


def _last_heard(report: Interruption) -> Position | None:
    """Of the output of which most was heard; None if nothing was."""
    played = [one.played for one in report.heard.values() if one.played is not None]
    delivered = [one.delivered for one in report.heard.values() if one.delivered is not None]
    return max(played or delivered, key=lambda one: (one.secs, one.sequence), default=None)


def _cut_all(exchanges: list[Exchange], chars: int) -> None:
    """Keep so many characters of their answers, and no part of a word."""
    for exchange in exchanges:
        answer = exchange.answer
        if len(answer) > max(0, chars):
            kept = answer[: max(0, chars)]
            is_within_word = bool(kept) and not kept[-1].isspace() and not answer[len(kept)].isspace()
            exchange.answer = " ".join(kept.split(" ")[:-1]) if is_within_word else kept
        chars -= len(answer)
