"""A manifest's source: its JSON values, the line of each, and its mistakes as a text."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from remotemedia._naming import place
from remotemedia.errors import Problem
from remotemedia.manifest._yaml import TooManyRepeats, YamlTree, compose

__all__ = ["Document"]

_YAML_SUFFIXES = (".yaml", ".yml")
_LAST_STEP = re.compile(r"(\.[^.\[\]]+|\[[^\]]*\]|^[^.\[\]]+)\Z")


class Document:
    """A manifest as it was given.

    Attributes:
        path: the file, None for a text or a mapping.
        value: JSON values; None when there is nothing to go on with.
        problems: the mistakes so far.
    """

    def __init__(self, source: Path | str | Mapping[str, Any]) -> None:
        self.path: Path | None = None
        self.value: object = None
        self.problems: list[Problem] = []
        self._text = ""
        try:
            self._read(source)
            self.value = self._plain(self.value, ())
        except RecursionError:
            self.value = None
            self._add("it is nested too deep")

    def located(self, problems: Iterable[Problem]) -> list[Problem]:
        """The same problems with file and line."""
        file = "" if self.path is None else str(self.path)
        return [replace(p, file=file, line=self._line(p.place) if p.line is None else p.line) for p in problems]

    # --- reading ---

    def _read(self, source: Path | str | Mapping[str, Any]) -> None:
        if isinstance(source, Mapping):
            self.value = source
            return
        if not isinstance(source, str | Path):
            raise TypeError(f"a manifest is a path, a text or a mapping, not {type(source).__name__}")
        # No path has a line break in it, or begins with a brace.
        if isinstance(source, str) and ("\n" in source or source.lstrip().startswith("{")):
            self._text = source
        elif not self._read_file(Path(source)):
            return
        if not self._text.strip():
            self._add("there is nothing in it; a manifest has at least version and nodes")
        elif self._is_json:
            self._parse_json()
        else:
            self._parse_yaml()

    def _read_file(self, path: Path) -> bool:
        self.path = path
        try:
            raw = path.read_bytes()
        except (OSError, ValueError) as error:
            self._add(f"it cannot be read: {getattr(error, 'strerror', None) or error}")
            return False
        try:
            self._text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            self._add("it is not UTF-8 text", line=raw.count(b"\n", 0, error.start) + 1)
            return False
        return True

    @property
    def _is_json(self) -> bool:
        if self.path is not None and self.path.suffix.lower() in (".json", *_YAML_SUFFIXES):
            return self.path.suffix.lower() == ".json"
        return self._text.lstrip().startswith("{")

    def _parse_json(self) -> None:
        repeated: list[str] = []

        def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            values = dict(pairs)
            if len(values) < len(pairs):
                keys = [key for key, _ in pairs]
                repeated.extend(key for key in values if keys.count(key) > 1)
            return values

        try:
            self.value = json.loads(self._text, object_pairs_hook=unique)
        except json.JSONDecodeError as error:
            self._add(f"it is not JSON: {error.msg} (column {error.colno})", line=error.lineno)
        except ValueError as error:  # a number of thousands of digits
            self._add(f"it is not JSON: {error}")
        if repeated:
            tree = self._json_tree
            found = tree.repeated_keys if tree is not None else []
            self.problems += found or [Problem(f"key {key!r} is given twice in one mapping") for key in repeated]

    def _parse_yaml(self) -> None:
        try:
            self._yaml_tree = YamlTree(compose(self._text))
        except TooManyRepeats:
            self._add("its aliases repeat more values than a manifest can have")
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            text = ", ".join(filter(None, (error.context, error.problem)))
            line, column = (None, "") if mark is None else (mark.line + 1, f" (column {mark.column + 1})")
            self._add(f"it is not YAML: {text}{column}", line=line)
        except yaml.reader.ReaderError as error:
            line = self._text.count("\n", 0, error.position) + 1
            self._add(f"it is not YAML: there is a control character (code {error.character})", line=line)
        else:
            self.problems += self._yaml_tree.problems + self._yaml_tree.repeated_keys
            self.value = self._yaml_tree.value

    # --- lines ---

    _yaml_tree: YamlTree | None = None

    @cached_property
    def _json_tree(self) -> YamlTree | None:
        # JSON is YAML but for tabs between the values, and a parser of YAML knows lines.
        with suppress(yaml.YAMLError, RecursionError):
            return YamlTree(compose(self._text.replace("\t", " ")))
        return None

    def _line(self, at: str) -> int | None:
        if not self._text or self.value is None:
            return None
        tree = self._yaml_tree or self._json_tree
        if tree is None:
            return None
        # A missing entry is reported at the line of its would-be parent.
        while at and at not in tree.lines:
            at = _LAST_STEP.sub("", at)
        return tree.lines.get(at, 1)

    # --- values ---

    def _plain(self, value: object, steps: tuple[str | int, ...]) -> Any:
        """A copy of JSON values; anything else is a problem of its place."""
        if isinstance(value, Mapping):
            return {str(key): self._entry(key, item, steps) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._plain(item, (*steps, index)) for index, item in enumerate(value)]
        if isinstance(value, float) and not math.isfinite(value):
            self.problems.append(Problem(f"{value} is not a number that JSON has", place(*steps)))
        elif not (value is None or isinstance(value, bool | int | float | str)):
            message = f"a {type(value).__name__} is not a JSON value (None, bool, int, float, str, list, dict)"
            self.problems.append(Problem(message, place(*steps)))
            return None  # so that nothing that holds it is refused for it once more
        return value

    def _entry(self, key: object, value: object, steps: tuple[str | int, ...]) -> Any:
        if not isinstance(key, str):
            self.problems.append(Problem(f"key {key!r} must be a str", place(*steps)))
        return self._plain(value, (*steps, str(key)))

    def _add(self, message: str, line: int | None = None) -> None:
        self.problems.append(Problem(message, line=line))
