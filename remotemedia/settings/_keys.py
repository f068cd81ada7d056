"""Which keys there are and what their values may be: all of it follows from MultiprocessConfig."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import json
import re
from collections.abc import Mapping, Sequence

from remotemedia.core.multiprocessing import MultiprocessConfig
from remotemedia.errors import Problem

__all__ = ["FIELDS", "find_setting_problems", "find_value_problem", "setting_meanings", "shown", "unknown_key"]

FIELDS = tuple(field.name for field in dataclasses.fields(MultiprocessConfig))


def find_setting_problems(settings: object, place: str = "metadata.multiprocess") -> list[Problem]:
    """What is wrong with the settings of a manifest, or with any others under the names of MultiprocessConfig.

    Args:
        settings: what should be a mapping of settings by name, as JSON or YAML has them; it is not changed.
        place: where it stands, for the messages.
    """
    if not isinstance(settings, Mapping):
        return [Problem(f"must be settings by name, not {shown(settings)}", place)]
    prefix = f"{place}." if place else ""
    found = []
    for key, value in settings.items():
        message = unknown_key(key, FIELDS) if key not in FIELDS else find_value_problem(key, value, null="null")
        if message:
            found.append(Problem(message, f"{prefix}{key}"))
    return found


def find_value_problem(name: str, value: object, null: str | None) -> str | None:
    """What is wrong with the value of a field. ``null``: how its place writes None, where it can."""
    rule = MultiprocessConfig.RULES[name]
    if not rule.refusal(value):
        return None
    says = rule.says.lower()  # "True or False" is how Python writes it
    return f"must be {says}{f' or {null}' if null and rule.optional else ''}, not {shown(value)}"


def unknown_key(key: object, known: Sequence[str], what: str = "keys") -> str:
    """What to say of a key that is none of ``known``."""
    near = difflib.get_close_matches(str(key), known, n=1)
    return f"unknown key{f'; did you mean {near[0]}?' if near else ''} (the {what} are: {', '.join(known)})"


def shown(value: object) -> str:
    """A value about as its file has it, cut where it is long."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):  # a key that is no text, a number of thousands of digits
        return f"this {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."


def setting_meanings() -> dict[str, str]:
    """One line on each field, as its class documents it; empty under ``python -OO``."""
    documented = re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)", inspect.getdoc(MultiprocessConfig) or "", re.MULTILINE)
    return {name: " ".join(text.split()).replace("``", "") for name, text in documented if name in FIELDS}
