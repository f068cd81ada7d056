"""The values that a setting takes, wherever it is written: in Python, in a file, in the environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from os import PathLike
from typing import Any

__all__ = [
    "FLAG",
    "PYTHONS_IN_FORCE",
    "SECS",
    "Rule",
    "check",
    "is_list_of_paths",
    "is_text",
    "number",
    "whole_number",
]

PYTHONS_IN_FORCE = ("python", "python3")
"""What ``python_executable`` is in files that are written for any machine: the interpreter that is in force anyway."""


@dataclass(frozen=True)
class Rule:
    """The values that a setting takes.

    Attributes:
        says: the values in words, such as "a whole number from 1 to 10".
        has_type: whether a value is of the right type.
        allows: whether a value of that type is possible.
        optional: whether None is a value too.
    """

    says: str
    has_type: Callable[[object], bool]
    allows: Callable[[Any], bool] = lambda value: True
    optional: bool = False

    def refusal(self, value: object) -> type[TypeError] | type[ValueError] | None:
        """The exception that fits a wrong value; None for a right one."""
        if value is None and self.optional:
            return None
        if not self.has_type(value):
            return TypeError
        return None if self.allows(value) else ValueError


def check(settings: Any, rules: Mapping[str, Rule]) -> None:
    """Raises what fits the first field of a dataclass that breaks its rule; what has no repr is not shown."""
    for field in fields(settings):
        rule, value = rules[field.name], getattr(settings, field.name)
        if refusal := rule.refusal(value):
            shown = f", not {value!r}" if field.repr else ""
            raise refusal(f"{field.name} must be {rule.says}{' or None' if rule.optional else ''}{shown}")


def whole_number(low: int, high: int, *, optional: bool = False) -> Rule:
    return Rule(
        f"a whole number from {low} to {high}",
        lambda value: isinstance(value, int) and not isinstance(value, bool),
        lambda value: low <= value <= high,
        optional,
    )


def number(says: str, *, optional: bool = False, zero: bool = False) -> Rule:
    """A positive number, or ``zero`` too, said in the words of ``says``."""
    return Rule(
        says,
        lambda value: isinstance(value, int | float) and not isinstance(value, bool),
        lambda value: 0 < value < float("inf") or (zero and value == 0),
        optional,
    )


SECS = number("a positive number of seconds")
FLAG = Rule("True or False", lambda value: isinstance(value, bool))


def is_text(value: object) -> bool:
    return isinstance(value, str) and value != "" and "\0" not in value


def is_list_of_paths(value: object) -> bool:
    return isinstance(value, list | tuple) and all(is_text(path) or isinstance(path, PathLike) for path in value)
