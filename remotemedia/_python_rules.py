"""What may be said of the Python that a node's process runs, and of its environment variables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from remotemedia._naming import unknown_key
from remotemedia._rules import Rule, is_text
from remotemedia._telling import shown

__all__ = ["ENV", "NODE_TYPES", "PYTHON_RULES", "node_type_problems", "python_problems"]

_WAYS: Final = ("executable", "venv_path", "requirements")

PYTHON_RULES: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        "executable": Rule("a path or a command name", is_text),
        "venv_path": Rule("the path of a folder", is_text),
        "requirements": Rule(
            'a list of requirements as pip has them, such as "faster-whisper>=1.1,<2"; options are not among them',
            lambda value: isinstance(value, list | tuple) and bool(value) and all(map(is_text, value)),
            lambda value: all(re.match(r"[A-Za-z0-9._/]", entry) and "\n" not in entry for entry in value),
        ),
        "version": Rule(
            'a version of Python such as "3.12"',
            lambda value: isinstance(value, str),
            lambda value: re.fullmatch(r"3\.\d{1,2}", value) is not None,
        ),
    }
)
"""What may be said of a node's Python: one of the first three, and with ``requirements`` a version."""

ENV: Final = Rule(
    "environment variables as strings by name",
    lambda value: isinstance(value, Mapping) and all(isinstance(text, str) for text in (*value, *value.values())),
    lambda value: all(name and "=" not in name and "\0" not in f"{name}{text}" for name, text in value.items()),
)


def python_problems(python: object) -> Iterator[tuple[str, str]]:
    """Key, "" for the whole, and message of all that is wrong with what is said of a node's Python."""
    if not isinstance(python, Mapping):
        yield "", f"must be a mapping with one of {', '.join(_WAYS)}, not {shown(python)}"
        return
    yield from _wrong_values(python, PYTHON_RULES)
    given = [way for way in _WAYS if way in python]
    if len(given) > 1:
        yield given[1], f"must not stand beside {given[0]}: one of them is enough"
    elif not given:
        yield "", f"must have one of {', '.join(_WAYS)}"
    elif "version" in python and given != ["requirements"]:
        yield "version", f"must stand beside requirements: the Python of {given[0]} has a version of its own"


def node_type_problems(settings: object) -> Iterator[tuple[tuple[str, ...], str]]:
    """Keys and message of all that is wrong with settings by node type: for each, its Python and its ``env``."""
    if not isinstance(settings, Mapping):
        yield (), f"must be settings by node type, not {shown(settings)}"
        return
    for node_type, own in settings.items():
        if not isinstance(own, Mapping):
            yield (node_type,), f"must be a table with one of {', '.join(_WAYS)}, or env, not {shown(own)}"
            continue
        if "env" in own and ENV.refusal(own["env"]):
            yield (node_type, "env"), f"must be {ENV.words()}"  # what was given may be secret
        python = {key: value for key, value in own.items() if key != "env"}
        if python or not own:
            yield from (((node_type, key) if key else (node_type,), said) for key, said in python_problems(python))


def _wrong_values(values: Mapping[Any, Any], rules: Mapping[str, Rule]) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        rule = rules.get(key)
        if message := unknown_key(key, rules) if rule is None else rule.wrong(value):
            yield str(key), message


NODE_TYPES: Final = Rule(
    "settings by node type, each with executable, venv_path or requirements, or with env",
    lambda value: isinstance(value, Mapping),
    lambda value: not any(node_type_problems(value)),
)
