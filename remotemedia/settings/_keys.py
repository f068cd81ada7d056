"""Which keys there are and what their values may be: it follows from MultiprocessConfig and ServiceConfig."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Mapping

from remotemedia._naming import unknown_key
from remotemedia._rules import Rule, is_text
from remotemedia._telling import json_shown
from remotemedia.core.multiprocessing import MultiprocessConfig
from remotemedia.errors import Problem
from remotemedia.service.config import ServiceConfig

__all__ = [
    "FIELDS",
    "SERVICE_RULES",
    "find_setting_problems",
    "find_value_problem",
    "setting_meanings",
]

FIELDS = tuple(field.name for field in dataclasses.fields(MultiprocessConfig))
SERVICE_RULES = {
    # A file of settings is shown around; what is secret has one of its own.
    **{name: rule for name, rule in ServiceConfig.RULES.items() if name != "tokens"},
    "token_file": Rule("the path of a file", is_text),
}
"""What the table [service] of runtime.toml may have."""


def find_setting_problems(settings: object, place: str = "metadata.multiprocess") -> list[Problem]:
    """What is wrong with the settings of a manifest, or with any others under the names of MultiprocessConfig.

    Args:
        settings: what should be a mapping of settings by name, as JSON or YAML has them; it is not changed.
        place: where it stands, for the messages.
    """
    if not isinstance(settings, Mapping):
        return [Problem(f"must be settings by name, not {json_shown(settings)}", place)]
    prefix = f"{place}." if place else ""
    found = []
    for key, value in settings.items():
        rule = MultiprocessConfig.RULES.get(key)
        message = unknown_key(key, FIELDS) if rule is None else find_value_problem(rule, value, null="null")
        if message:
            found.append(Problem(message, f"{prefix}{key}"))
    return found


def find_value_problem(rule: Rule, value: object, null: str | None) -> str | None:
    """What is wrong with a value. ``null``: how its place writes None, where it can."""
    if not rule.refusal(value):
        return None
    says = rule.says.lower()  # "True or False" is how Python writes it
    return f"must be {says}{f' or {null}' if null and rule.optional else ''}, not {json_shown(value)}"


def setting_meanings(of: type[MultiprocessConfig] | type[ServiceConfig] = MultiprocessConfig) -> dict[str, str]:
    """One line on each field, as its class documents it; empty under ``python -OO``."""
    documented = re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)", inspect.getdoc(of) or "", re.MULTILINE)
    return {name: " ".join(text.split()).replace("``", "") for name, text in documented if name in of.RULES}
