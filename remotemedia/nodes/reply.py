"""ReplyNode: makes small talk in answer to the words heard."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from datetime import datetime

from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode, register_node
from remotemedia.nodes._common import text_of

__all__ = ["ReplyNode"]


@register_node("ReplyNode")
class ReplyNode(MultiprocessNode):
    """Answers greetings, questions for the time and the day, arithmetic in words, and a few more; repeats the rest.

    Ports: input ``text`` (TEXT, with or without capitals and punctuation); output ``text`` (TEXT: one answer per
    text; nothing for a text without words).
    """

    params = {}
    inputs = {"text": DataType.TEXT}
    outputs = {"text": DataType.TEXT}

    async def initialize(self) -> None:
        """Nothing to load."""

    async def process(self, data: RuntimeData) -> RuntimeData | None:
        """The answer to one text; TypeError for anything but text."""
        reply = answer(text_of(self, data), datetime.now().astimezone())
        return RuntimeData.text(reply, timestamp=data.timestamp) if reply else None

    async def cleanup(self) -> None:
        """Nothing to release."""


def answer(heard: str, now: datetime) -> str:
    """The reply to ``heard`` at the time ``now``; "" if there are no words in it."""
    words = re.findall(r"[a-z0-9']+", heard.lower())
    if not words:
        return ""
    said = " ".join(words)
    result = _calculate(words)
    if result is not None:
        return result
    for pattern, reply in _RULES:
        if re.search(rf"\b(?:{pattern})\b", said):
            return reply(said, now)
    return f"You said: {heard.strip()}"


def _count_words(said: str, _now: datetime) -> str:
    counted = said.partition(" words ")[2]
    counted = re.sub(r"^(?:are )?(?:there )?(?:in )?(?:the sentence )?", "", counted)
    count = len(counted.split())
    return f"There {'is one word' if count == 1 else f'are {count} words'} in: {counted}" if count else "Words in what?"


def _time(_said: str, now: datetime) -> str:
    return f"It is {now.hour % 12 or 12}:{now.minute:02} {'a m' if now.hour < 12 else 'p m'}."


def _day(_said: str, now: datetime) -> str:
    return f"Today is {now:%A}, {now:%B} {now.day}."


def _always(reply: str) -> Callable[[str, datetime], str]:
    return lambda _said, _now: reply


# The first that matches answers: questions come before the greeting they may follow.
_RULES: tuple[tuple[str, Callable[[str, datetime], str]], ...] = (
    ("how many words", _count_words),
    ("what time|what's the time|what is the time", _time),
    ("what day|what date|what's the date|what is the date", _day),
    ("how are you|how do you do", _always("I am fine, thank you.")),
    ("your name|who are you", _always("I am a small pipeline of nodes.")),
    ("what can you do|help", _always("Ask me for the time, the day, or a sum such as two plus three.")),
    ("thank you|thanks", _always("You are welcome.")),
    ("goodbye|good bye|bye|see you|good night", _always("Goodbye.")),
    ("good morning", _always("Good morning.")),
    ("good (?:afternoon|evening)", _always("Good day to you.")),
    ("hello|hi|hey", _always("Hello. What can I do for you?")),
)

# --- arithmetic --------------------------------------------------------------------------------------------------

_NUMBERS: dict[str, int] = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50,
    "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
_OPERATORS: dict[str, Callable[[float, float], float]] = {
    "plus": operator.add,
    "minus": operator.sub,
    "times": operator.mul,
    "over": operator.truediv,
}


def _calculate(words: list[str]) -> str | None:
    """The answer to the sum in ``words``, such as "what is two plus three"; None if there is none."""
    numbers, signs = _parse_sum(words)
    if not signs or len(numbers) == len(signs):
        return None
    question = _spoken(numbers[0])
    for sign, number in zip(signs, numbers[1:], strict=True):
        question += f" {'divided by' if sign == 'over' else sign} {_spoken(number)}"
    try:
        return f"{question} is {_spoken(_evaluate(numbers, signs))}."
    except ZeroDivisionError:
        return "Nobody can divide by zero."


def _parse_sum(words: list[str]) -> tuple[list[float], list[str]]:
    """Numbers and the operators between them; both empty, or as many operators as numbers, if there is no sum."""
    numbers: list[float] = []
    signs: list[str] = []
    for word in " ".join(words).replace("divided by", "over").replace("multiplied by", "times").split():
        value = int(word) if word.isdecimal() and len(word) < 10 else _NUMBERS.get(word)
        after_number = len(numbers) > len(signs)
        if value is not None and not after_number:
            numbers.append(float(value))
        elif value is not None and _continues(numbers[-1], value):
            numbers[-1] += value
        elif value is not None:
            numbers, signs = [float(value)], []
        elif word == "hundred" and after_number:
            numbers[-1] *= 100
        elif word in _OPERATORS and after_number:
            signs.append(word)
        elif signs and after_number:
            break
        else:
            numbers, signs = [], []
    return numbers, signs


def _continues(number: float, value: int) -> bool:
    """Whether ``value`` is the next part of the same number: "twenty" and "two", "two hundred" and "six"."""
    return (number >= 20 and number % 10 == 0 and 0 < value < 10) or (
        number >= 100 and number % 100 == 0 and 0 < value < 100
    )


def _evaluate(numbers: list[float], signs: list[str]) -> float:
    numbers, signs = list(numbers), list(signs)
    for first in (("times", "over"), ("plus", "minus")):
        at = 0
        while at < len(signs):
            if signs[at] in first:
                numbers[at : at + 2] = [_OPERATORS[signs.pop(at)](numbers[at], numbers[at + 1])]
            else:
                at += 1
    return numbers[0]


def _spoken(number: float) -> str:
    return str(int(number)) if number.is_integer() else f"{number:.3f}".rstrip("0")
