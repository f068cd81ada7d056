"""What a value may be, wherever it is written: in Python, in a file, in the environment."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any

from remotemedia._naming import unknown_key
from remotemedia._telling import json_shown, shown
from remotemedia.errors import Problem

__all__ = [
    "FLAG",
    "LEAST_MEMORY_LIMIT_BYTES",
    "LIST",
    "MAPPING",
    "MEMORY_LIMIT",
    "MOST_MEMORY_LIMIT_BYTES",
    "NAME",
    "PYTHONS_IN_FORCE",
    "RETRIES",
    "SECS",
    "STRING",
    "TEXT",
    "TOKEN",
    "Rule",
    "check",
    "is_list_of_paths",
    "is_text",
    "number",
    "one_of",
    "positive_number",
    "problems_of",
    "whole_number",
]

PYTHONS_IN_FORCE = ("python", "python3")
"""What ``python_executable`` is in files that are written for any machine: the interpreter that is in force anyway."""


class Rule:
    """The values that something takes. Not a dataclass: each node's process would spend a millisecond on making it one.

    Attributes:
        says: the values in words, such as "a whole number from 1 to 10".
        has_type: whether a value is of the right type.
        allows: whether a value of that type is possible.
        optional: whether None is also a value.
    """

    def __init__(
        self,
        says: str,
        has_type: Callable[[object], bool],
        allows: Callable[[Any], bool] = lambda value: True,
        *,
        optional: bool = False,
    ) -> None:
        self.says = says
        self.has_type = has_type
        self.allows = allows
        self.optional = optional

    def or_none(self) -> Rule:
        """The same with None as a value too."""
        return Rule(self.says, self.has_type, self.allows, optional=True)

    def words(self, null: str = "None") -> str:
        """The values in words, None too. ``null``: how its place writes None; "" where it cannot."""
        return f"{self.says} or {null}" if self.optional and null else self.says

    def refusal(self, value: object) -> type[TypeError] | type[ValueError] | None:
        """The exception that fits a wrong value; None for a right one."""
        if value is None and self.optional:
            return None
        if not self.has_type(value):
            return TypeError
        return None if self.allows(value) else ValueError

    def wrong(self, value: object, null: str = "None", show: Callable[[object], str] = shown) -> str | None:
        """``must be ..., not ...`` for a wrong value; None for a right one."""
        return f"must be {self.words(null)}, not {show(value)}" if self.refusal(value) else None

    def check(self, name: str, value: object, *, secret: bool = False) -> None:
        """Raises what fits a wrong value, which is not shown when it is ``secret``."""
        if refusal := self.refusal(value):
            raise refusal(f"{name} must be {self.words()}" if secret else f"{name} {self.wrong(value)}")


def check(settings: Any, rules: Mapping[str, Rule]) -> None:
    """Raises for the first field of a dataclass that breaks its rule; a value without a repr is not shown."""
    from dataclasses import fields  # here: no node's process needs it

    for field in fields(settings):
        rules[field.name].check(field.name, getattr(settings, field.name), secret=not field.repr)


def problems_of(settings: object, rules: Mapping[str, Rule], place: str) -> list[Problem]:
    """What is wrong with settings by name, as JSON or YAML has them; ``place`` says where they stand."""
    if not isinstance(settings, Mapping):
        return [Problem(f"must be settings by name, not {json_shown(settings)}", place)]
    prefix = f"{place}." if place else ""
    found = []
    for key, value in settings.items():
        rule = rules.get(key)
        message = unknown_key(key, rules) if rule is None else rule.wrong(value, "null", json_shown)
        if message:
            found.append(Problem(message, f"{prefix}{key}"))
    return found


# --- numbers -----------------------------------------------------------------------------------------------------


def whole_number(low: int | None = None, high: int | None = None, *, optional: bool = False) -> Rule:
    return Rule(
        f"a whole number{_span(low, high)}",
        lambda value: isinstance(value, int) and not isinstance(value, bool),
        lambda value: (low is None or low <= value) and (high is None or value <= high),
        optional=optional,
    )


def number(low: float | None = None, high: float | None = None, *, says: str = "", optional: bool = False) -> Rule:
    """A finite number, said in words of its own where ``says`` has some."""
    return Rule(
        says or f"a number{_span(low, high)}",
        _is_number,
        lambda value: _is_finite(value) and (low is None or low <= value) and (high is None or value <= high),
        optional=optional,
    )


def positive_number(says: str, *, optional: bool = False) -> Rule:
    return Rule(says, _is_number, lambda value: _is_finite(value) and value > 0, optional=optional)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_finite(value: float) -> bool:
    return float("-inf") < value < float("inf")  # math.isfinite raises for whole numbers that no float can hold


def _span(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f" from {low} to {high}"
    if low is not None:
        return f" of at least {low}"
    return "" if high is None else f" of at most {high}"


SECS = positive_number("a positive number of seconds")

LEAST_MEMORY_LIMIT_BYTES, MOST_MEMORY_LIMIT_BYTES = 1 << 20, 1 << 60
MEMORY_LIMIT = whole_number(LEAST_MEMORY_LIMIT_BYTES, MOST_MEMORY_LIMIT_BYTES, optional=True)
"""Bytes of private memory that a node's process may have; the schema of manifests has the same limits."""

RETRIES = whole_number(0, 100)
"""How often a message may be given to a node again; the schema of manifests has the same limits."""


# --- others ------------------------------------------------------------------------------------------------------


def _of_type(says: str, kind: type) -> Rule:
    return Rule(says, lambda value: isinstance(value, kind))


FLAG, LIST, MAPPING = _of_type("true or false", bool), _of_type("a list", list), _of_type("a mapping", dict)
STRING = _of_type("a string", str)
TEXT = Rule("a non-empty string", STRING.has_type, bool)
NAME = Rule("a non-empty string without NUL characters", STRING.has_type, lambda value: value and "\0" not in value)
TOKEN = Rule(
    "visible ASCII characters without spaces", STRING.has_type, lambda value: re.fullmatch(r"[!-~]+", value) is not None
)


def one_of(choices: Sequence[object], show: Callable[[object], str] = repr) -> str:
    """The choices in words: ``'a', 'b' or 'c'``."""
    *others, last = map(show, choices)
    return f"{', '.join(others)} or {last}" if others else last


def is_text(value: object) -> bool:
    return not NAME.refusal(value)


def is_list_of_paths(value: object) -> bool:
    return isinstance(value, list | tuple) and all(is_text(path) or isinstance(path, PathLike) for path in value)
