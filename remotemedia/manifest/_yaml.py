"""YAML as values with the line of each; of YAML 1.2 what JSON has, so that ``no`` and ``12:30`` stay words."""

from __future__ import annotations

import re
from collections.abc import Callable

import yaml

from remotemedia._naming import place
from remotemedia._telling import shown
from remotemedia.errors import Problem

__all__ = ["YamlTree", "compose"]

_MOST_REPEATED = 10_000
"""How many values aliases may repeat: a few lines of them can make a billion."""

_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_STANDARD = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core schema, where PyYAML's own has 1.1's."""

    yaml_implicit_resolvers: dict[str | None, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


def _add_resolver(kind: str, pattern: str, first: list[str]) -> None:
    _Loader.add_implicit_resolver(_STANDARD + kind, re.compile(rf"(?:{pattern})\Z"), first)


_add_resolver("null", "~|null|Null|NULL|", ["~", "n", "N", ""])
_add_resolver("bool", "true|True|TRUE|false|False|FALSE", list("tTfF"))
_add_resolver("int", _INT.pattern, list("-+0123456789"))
_add_resolver("float", _FLOAT.pattern, list("-+.0123456789"))


def _whole_number(text: str) -> int:
    return int(text, 0) if text.startswith(("0o", "0x")) else int(text)


def _number(text: str) -> float:
    return float(text.replace(".inf", "inf").replace(".nan", "nan") if "." in text else text)


_SCALARS: dict[str, Callable[[str], object]] = {
    "null": lambda text: None,
    "bool": lambda text: {"true": True, "false": False}[text.lower()],
    "int": _whole_number,
    "float": lambda text: _number(text.lower()),
    "str": lambda text: text,
}


def compose(text: str) -> yaml.Node | None:
    """The tree of a text; yaml.YAMLError or RecursionError where there is none."""
    loader = _Loader(text)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


class TooManyRepeats(Exception):
    """Aliases make more of the text than anybody wrote by hand."""


class YamlTree:
    """The values of a composed tree.

    Attributes:
        value: what JSON would give for it.
        lines: the line of each place, from 1.
        repeated_keys: keys given twice in one mapping; the last one counts.
        problems: what JSON has no form for.
    """

    def __init__(self, root: yaml.Node | None) -> None:
        self.lines: dict[str, int] = {}
        self.repeated_keys: list[Problem] = []
        self.problems: list[Problem] = []
        self._open: set[int] = set()
        self._seen: set[int] = set()
        self._repeats = 0
        self.value = None if root is None else self._value(root, ())

    def _value(self, node: yaml.Node, steps: tuple[str | int, ...]) -> object:
        if id(node) in self._open:
            self._problem("this alias stands for what it is in", node, steps)
            return None
        if id(node) in self._seen:
            self._repeats += 1
            if self._repeats > _MOST_REPEATED:
                raise TooManyRepeats
        self._seen.add(id(node))
        self._open.add(id(node))
        try:
            return self._content(node, steps)
        finally:
            self._open.discard(id(node))

    def _content(self, node: yaml.Node, steps: tuple[str | int, ...]) -> object:
        kind = node.tag.removeprefix(_STANDARD)
        if isinstance(node, yaml.ScalarNode) and kind in _SCALARS:
            try:
                return _SCALARS[kind](node.value)
            except (ValueError, KeyError):
                self._problem(f"{shown(node.value, 40)} cannot be read as {kind}", node, steps)
        elif isinstance(node, yaml.SequenceNode) and kind == "seq":
            return [self._item(item, (*steps, index)) for index, item in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode) and kind == "map":
            return self._mapping(node, steps)
        else:
            tag = "!!" + kind if node.tag.startswith(_STANDARD) else node.tag
            self._problem(f"the tag {tag} is not allowed in a manifest; write the plain value", node, steps)
        return None

    def _item(self, node: yaml.Node, steps: tuple[str | int, ...]) -> object:
        self.lines[place(*steps)] = node.start_mark.line + 1
        return self._value(node, steps)

    def _mapping(self, node: yaml.MappingNode, steps: tuple[str | int, ...]) -> dict[str, object]:
        values: dict[str, object] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._problem("a key must be one word", key, steps)
                continue
            name = key.value
            here = (*steps, name)
            if name == "<<" and key.style is None:
                self._problem("merge keys (<<) are not YAML 1.2; write the values out", key, here)
                continue
            if name in values:
                first = self.lines[place(*here)]
                message = f"key {name!r} is given twice (first in line {first})"
                self.repeated_keys.append(Problem(message, place(*here), line=key.start_mark.line + 1))
            self.lines[place(*here)] = key.start_mark.line + 1
            values[name] = self._value(value, here)
        return values

    def _problem(self, message: str, node: yaml.Node, steps: tuple[str | int, ...]) -> None:
        self.problems.append(Problem(message, place(*steps), line=node.start_mark.line + 1))
