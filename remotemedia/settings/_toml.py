"""``runtime.toml``: read, checked, and every key with its line."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from remotemedia._naming import unknown_key
from remotemedia._python_rules import node_type_problems
from remotemedia._rules import Rule
from remotemedia._telling import clip, json_shown
from remotemedia.core.multiprocessing import MultiprocessConfig
from remotemedia.errors import Problem
from remotemedia.settings._keys import FIELDS, SERVICE_RULES

__all__ = ["RuntimeFile", "parse_runtime_file", "read_runtime_file"]

Key = tuple[str, ...]

_MOST_BYTES = 64 * 1024
_TABLE: Key = ("multiprocess",)
_PYTHON_TABLE: Key = ("multiprocess", "python")
_SERVICE_TABLE: Key = ("service",)
_NODES_TABLE: Key = ("multiprocess", "nodes")
_TABLES = (_TABLE, _PYTHON_TABLE, _NODES_TABLE, _SERVICE_TABLE)
_PYTHON_KEYS = {"executable": "python_executable", "venv_path": "venv_path", "extra_paths": "extra_paths"}
_NAME_OF: dict[Key, str] = {
    **{(*_TABLE, name): name for name in FIELDS if name not in _PYTHON_KEYS.values()},
    **{(*_PYTHON_TABLE, key): name for key, name in _PYTHON_KEYS.items()},
    **{(*_SERVICE_TABLE, name): name for name in SERVICE_RULES},
}
_RULES: dict[str, Rule] = {**MultiprocessConfig.RULES, **SERVICE_RULES}
_KEY_OF = {name: key for key, name in _NAME_OF.items()}


@dataclass(frozen=True)
class RuntimeFile:
    """The settings of one file.

    Attributes:
        path: the file.
        values: what it sets, by the name of MultiprocessConfig's field.
        problems: all that is wrong with it.
        lines: the line of each of ``values`` and ``service_values``.
        service_values: what it sets in ``[service]``.
    """

    path: Path
    values: Mapping[str, Any]
    problems: tuple[Problem, ...]
    lines: Mapping[str, int]
    service_values: Mapping[str, Any]


def read_runtime_file(path: Path) -> RuntimeFile:
    """Reads and checks a file; its mistakes are in ``problems``. FileNotFoundError when it is not there."""
    text = _read(path)
    if isinstance(text, Problem):
        return RuntimeFile(path, {}, (text,), {}, {})
    return parse_runtime_file(path, text)


def parse_runtime_file(path: Path, text: str) -> RuntimeFile:
    """What a file with this text would be."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        return RuntimeFile(path, {}, (_syntax_problem(path, text, error),), {}, {})
    values, wrong = {}, []
    for key, value in _settings(document):
        name = _NAME_OF.get(key)
        if name == "nodes":
            mistakes = [((*key, *inner), message) for inner, message in node_type_problems(value)]
        else:
            message = _what_is_wrong_here(key, value) if name is None else _RULES[name].wrong(value, "", json_shown)
            mistakes = [(key, message)] if message else []
        if mistakes:
            wrong += mistakes
        elif name is not None:
            values[name] = value
    lines = _lines(text, {_KEY_OF[name] for name in values} | {key for key, _ in wrong})
    problems = tuple(Problem(message, ".".join(key), str(path), lines[key]) for key, message in wrong)
    line_of = {name: lines[_KEY_OF[name]] for name in values}
    service_values = {name: value for name, value in values.items() if name in SERVICE_RULES}
    own = {name: value for name, value in values.items() if name not in SERVICE_RULES}
    return RuntimeFile(path, own, problems, line_of, service_values)


def _read(path: Path) -> str | Problem:
    try:
        if path.exists() and not path.is_file():
            return Problem("is not a file", file=str(path))
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            return Problem(f"has more than {_MOST_BYTES} bytes: that is not a file of settings", file=str(path))
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except FileNotFoundError:
        raise
    except OSError as error:
        return Problem(f"cannot be read: {error.strerror}", file=str(path))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return Problem(f"is not UTF-8: there is a byte 0x{data[error.start]:02x}", file=str(path), line=line)


def _syntax_problem(path: Path, text: str, error: Exception) -> Problem:
    if isinstance(error, RecursionError):
        return Problem("is nested too deeply", file=str(path))
    message, line = str(error), None
    if match := re.fullmatch(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", message):
        lines = text.rstrip().split("\n")
        message, line = match[1], int(match[2] or len(lines))
        if line <= len(lines):
            message += f", in: {clip(lines[line - 1].strip(), 80)}"
    return Problem(f"is not TOML: {message}", file=str(path), line=line)


def _settings(document: Mapping[str, Any]) -> Iterator[tuple[Key, object]]:
    """The entries one by one: the values of the known tables, and anything else as a whole."""
    for key, value in document.items():
        if (key,) not in _TABLES or not isinstance(value, dict):
            yield (key,), value
            continue
        for inner, setting in value.items():
            if (key, inner) != _PYTHON_TABLE or not isinstance(setting, dict):
                yield (key, inner), setting
            else:
                yield from (((*_PYTHON_TABLE, name), entry) for name, entry in setting.items())


def _what_is_wrong_here(key: Key, value: object) -> str:
    if key in _TABLES:
        return f"must be a table, [{'.'.join(key)}], not {json_shown(value)}"
    if key == (*_SERVICE_TABLE, "tokens"):
        return "tokens do not belong here: write them into a file of their own, one a line, and name that as token_file"
    # A key that belongs elsewhere gets that place named; python_executable has a name of its own there.
    belongs = _KEY_OF.get(key[-1]) or next((known for known in _KEY_OF.values() if known[-1] == key[-1]), None)
    if belongs is not None:
        return f"there is no key {key[-1]!r} here; it is {belongs[-1]!r} in [{'.'.join(belongs[:-1])}]"
    if len(key) == 1:
        return unknown_key(key[0], [".".join(table) for table in _TABLES], "table")
    tables = [_PYTHON_TABLE[-1]] if key[:-1] == _TABLE else []
    return unknown_key(key[-1], [name[-1] for name in _NAME_OF if name[:-1] == key[:-1]] + tables)


def _lines(text: str, keys: set[Key]) -> dict[Key, int]:
    """The line of each key. tomllib does not say: it is the first after the longest beginning without the key."""
    found: dict[Key, int] = {}
    lines = text.split("\n")
    without = 0
    for count in range(1, len(lines) + 1):
        if len(found) == len(keys):
            break
        try:
            document = tomllib.loads("\n".join(lines[:count]))
        except ValueError:
            continue  # in the middle of a value
        for key in keys - found.keys():
            if _has(document, key):
                found[key] = without + 1
        without = count
    return found


def _has(document: Mapping[str, Any], key: Key) -> bool:
    parent = functools.reduce(lambda table, name: table.get(name) or {}, key[:-1], document)
    return key[-1] in parent
