"""Reading a node's config: every fault is one ValueError that names the node type, the key and the valid choices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["Params"]


class Params:
    """The config of one node, read key by key; ``done()`` then refuses the keys nobody asked for.

    Args:
        node_type: the name the node is registered under, for the error messages.
        config: the dict given in ``Pipeline.add_node``; it is not changed.
    """

    def __init__(self, node_type: str, config: Mapping[str, Any]) -> None:
        self._node_type = node_type
        self._config = config
        self._known: list[str] = []

    def integer(self, key: str, default: int, low: int, high: int | None = None) -> int:
        """An int from ``low`` to ``high``, both included."""
        value = self._value(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not _within(value, low, high):
            raise self._wrong(key, f"must be an integer {_span(low, high)}", value)
        return value

    def number(self, key: str, default: float, low: float, high: float | None = None) -> float:
        """An int or float from ``low`` to ``high``, both included; NaN is refused."""
        value = self._value(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not _within(value, low, high):
            raise self._wrong(key, f"must be a number {_span(low, high)}", value)
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """True or False."""
        value = self._value(key, default)
        if not isinstance(value, bool):
            raise self._wrong(key, "must be true or false", value)
        return value

    def text(self, key: str, default: str | None = None) -> str:
        """A str that is not empty; without ``default`` the key is required."""
        value = self._value(key, default)
        if not isinstance(value, str) or not value:
            raise self._wrong(key, "must be a non-empty string", value)
        return value

    def choice(self, key: str, default: str, choices: tuple[str, ...]) -> str:
        """One of ``choices``."""
        value = self._value(key, default)
        if not isinstance(value, str) or value not in choices:
            raise self._wrong(key, f"must be one of {', '.join(map(repr, choices))}", value)
        return value

    def done(self) -> None:
        """Raise ValueError if the config has keys that were not read."""
        unknown = [key for key in self._config if key not in self._known]
        if unknown:
            valid = f"valid keys: {', '.join(self._known)}" if self._known else "it takes none"
            raise ValueError(f"{self._node_type}: unknown config key {', '.join(map(repr, unknown))}; {valid}")

    def _value(self, key: str, default: object) -> object:
        self._known.append(key)
        return self._config.get(key, default)

    def _wrong(self, key: str, rule: str, value: object) -> ValueError:
        found = "it is missing" if key not in self._config else f"not {value!r}"
        return ValueError(f"{self._node_type}: config key {key!r} {rule}; {found}")


def _within(value: float, low: float, high: float | None) -> bool:
    return low <= value < float("inf") and (high is None or value <= high)


def _span(low: float, high: float | None) -> str:
    return f"of at least {low}" if high is None else f"from {low} to {high}"
