"""Which keys there are and what their values may be: it follows from MultiprocessConfig and ServiceConfig."""

from __future__ import annotations

import dataclasses
import inspect
import re

from remotemedia._rules import Rule, is_text, problems_of
from remotemedia.core.multiprocessing import MultiprocessConfig
from remotemedia.errors import Problem
from remotemedia.service.config import ServiceConfig

__all__ = [
    "FIELDS",
    "SERVICE_RULES",
    "find_setting_problems",
    "setting_meanings",
]

FIELDS = tuple(field.name for field in dataclasses.fields(MultiprocessConfig))
SERVICE_RULES = {
    # A file of settings is shown around; secrets have one of their own.
    **{name: rule for name, rule in ServiceConfig.RULES.items() if name != "tokens"},
    "token_file": Rule("the path of a file", is_text),
}
"""What the table [service] of runtime.toml may have."""


def find_setting_problems(settings: object, place: str = "metadata.multiprocess") -> list[Problem]:
    """What is wrong with the settings of a manifest, or with any others under the names of MultiprocessConfig.

    Args:
        settings: should be a mapping of settings by name, as JSON or YAML has them; it is not changed.
        place: where it stands, for the messages.
    """
    return problems_of(settings, MultiprocessConfig.PIPELINE_RULES, place)


def setting_meanings(of: type[MultiprocessConfig] | type[ServiceConfig] = MultiprocessConfig) -> dict[str, str]:
    """One line on each field, as its class documents it; empty under ``python -OO``."""
    documented = re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)", inspect.getdoc(of) or "", re.MULTILINE)
    return {name: " ".join(text.split()).replace("``", "") for name, text in documented if name in of.RULES}
