"""What a node class says of itself: the params in its config, its ports, and the data types on them.

::

    class Gain(MultiprocessNode):
        params = {"factor": Param(float, 1.0, low=0, help="what samples are multiplied by")}
        inputs = {"audio": DataType.AUDIO}
        outputs = {"audio": DataType.AUDIO}

What a class does not declare is not checked. Node processes load this module too: it imports little.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from remotemedia._naming import offer
from remotemedia._telling import shown

if TYPE_CHECKING:
    from remotemedia.core.data import DataType

__all__ = ["Param", "Ports", "check_declarations", "completed", "data_types", "param_problems"]

Ports: TypeAlias = "Mapping[str, DataType | tuple[DataType, ...] | None]"
"""Ports by name, with the data type that passes, several of them, or None for any."""

_KINDS: dict[type, str] = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "a non-empty string",
    list: "a list",
    dict: "a mapping",
}


@dataclass(frozen=True)
class Param:
    """One value in a node's config. TypeError or ValueError for a declaration that contradicts itself.

    Attributes:
        kind: int, float (an int will do), bool, str (not empty, unless its default is), list or dict.
        default: the value when the config has none; ``...``: it must have one; None: null is a value too.
        low, high: smallest and largest number.
        choices: the only values.
        help: meaning and unit in a few words.
    """

    kind: type[Any]
    default: Any = ...
    _: KW_ONLY
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] = ()
    help: str = ""

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise TypeError(f"Param takes int, float, bool, str, list or dict, not {self.kind!r}")
        if (self.low, self.high) != (None, None) and self.kind not in (int, float):
            raise TypeError(f"Param: low and high are for numbers, not for {self.kind.__name__}")
        object.__setattr__(self, "choices", tuple(self.choices))
        if self.default is not ... and (refusal := self.refusal(self.default)):
            raise ValueError(f"Param: the default {refusal}")

    @property
    def required(self) -> bool:
        """Whether the config must have it."""
        return self.default is ...

    @property
    def rule(self) -> str:
        """What a value may be, such as ``an integer from 1 to 10``."""
        if self.choices:
            text = f"one of {', '.join(map(repr, self.choices))}"
        elif self.kind is str and self.default == "":
            text = "a string"
        else:
            text = _KINDS[self.kind] + self._span()
        return f"{text} or null" if self.default is None else text

    def refusal(self, value: object) -> str | None:
        """Why not this value, in words that follow the name of the param; None when it may be."""
        return None if self._fits(value) else f"must be {self.rule}; not {shown(value)}"

    def _span(self) -> str:
        if self.low is not None and self.high is not None:
            return f" from {self.low} to {self.high}"
        if self.low is not None:
            return f" of at least {self.low}"
        return "" if self.high is None else f" of at most {self.high}"

    def _fits(self, value: Any) -> bool:
        if value is None:
            return self.default is None
        if isinstance(value, bool) is not (self.kind is bool):
            return False
        if not isinstance(value, (int, float) if self.kind is float else self.kind):
            return False
        if self.choices:
            return value in self.choices
        if self.kind is str:
            return bool(value) or self.default == ""
        if self.kind not in (int, float):
            return True
        if isinstance(value, float) and not math.isfinite(value):
            return False
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


def param_problems(params: Mapping[str, Param], config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Key and message of everything in ``config`` that the declared params do not allow."""
    for key, param in params.items():
        if key in config:
            if refusal := param.refusal(config[key]):
                yield key, f"param {key!r} {refusal}"
        elif param.required:
            yield key, f"param {key!r} must be {param.rule}; it is missing"
    for key in config:
        if key not in params:
            hint = offer(key, params, "the params are") if params else "it takes none"
            yield key, f"there is no param {key!r}; {hint}"


def completed(params: Mapping[str, Param], config: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """A copy of ``config`` with the defaults of what it leaves out; ValueError naming the owner and the key."""
    for _, message in param_problems(params, config):
        raise ValueError(f"{owner}: {message}")
    # A default may be a list: no two nodes share one.
    values = {key: config[key] if key in config else copy.deepcopy(param.default) for key, param in params.items()}
    for key, param in params.items():
        if param.kind is float and values[key] is not None:
            values[key] = float(values[key])
    return values


def data_types(ports: Ports | None, port: str) -> frozenset[DataType] | None:
    """The data types that a port declares; None = any."""
    declared = None if ports is None else ports.get(port)
    if declared is None:
        return None
    return frozenset(declared) if isinstance(declared, tuple) else frozenset((declared,))


def check_declarations(cls: Any) -> None:
    """TypeError that names the class and the attribute when its params, inputs or outputs are no declarations."""
    if cls.params is not None and not _is_table(cls.params, lambda value: isinstance(value, Param)):
        raise TypeError(f"{cls.__qualname__}.params must be a dict of Param by name, not {shown(cls.params)}")
    for name in ("inputs", "outputs"):
        if (ports := getattr(cls, name)) is not None and not _is_table(ports, _is_port):
            raise TypeError(
                f"{cls.__qualname__}.{name} must be a dict by port name of a DataType, a tuple of several, or None "
                f"for any, not {shown(ports)}"
            )


def _is_table(value: object, fits: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(key, str) and bool(key) and fits(entry) for key, entry in value.items()
    )


def _is_port(value: object) -> bool:
    from remotemedia.core.data import DataType

    types = value if isinstance(value, tuple) and value else (value,)
    return value is None or all(isinstance(entry, DataType) for entry in types)
