"""What a node class says of itself: the params in its config, its ports, and the data types on them.

::

    class Gain(MultiprocessNode):
        params = {"factor": Param(float, 1.0, low=0, help="what samples are multiplied by")}
        inputs = {"audio": DataType.AUDIO}
        outputs = {"audio": DataType.AUDIO}

What a class does not declare is not checked. Node processes also load this module: it imports little.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from remotemedia._naming import offer
from remotemedia._rules import FLAG, LIST, MAPPING, STRING, TEXT, Rule, number, one_of, whole_number
from remotemedia._telling import shown

if TYPE_CHECKING:
    from remotemedia.core.data import DataType

__all__ = ["Param", "Ports", "check_declarations", "completed", "data_types", "param_problems", "port_meant"]

Ports: TypeAlias = "Mapping[str, DataType | tuple[DataType, ...] | None]"
"""Ports by name, with the data type that passes, several of them, or None for any."""

_RULES: dict[type, Rule] = {int: whole_number(), float: number(), bool: FLAG, str: TEXT, list: LIST, dict: MAPPING}


@dataclass(frozen=True)
class Param:
    """One value in a node's config. TypeError or ValueError for a declaration that contradicts itself.

    Attributes:
        kind: int, float (an int will do), bool, str (not empty, unless its default is), list or dict.
        default: the value when the config has none; ``...``: it must have one; None: null is also a value.
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
        if self.kind not in _RULES:
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
        """What a value may be, such as ``a whole number from 1 to 10``."""
        return self._takes.words("null")

    def refusal(self, value: object) -> str | None:
        """Why not this value, in words that follow the name of the param; None when it may be."""
        return self._takes.wrong(value, "null")

    @property
    def _takes(self) -> Rule:
        # Made when it is asked for: a Param travels with its class, and the functions of a Rule cannot.
        rule, optional = _RULES[self.kind], self.default is None
        if self.choices:
            return Rule(one_of(self.choices), rule.has_type, self._is_choice, optional=optional)
        if self.kind is int or self.kind is float:
            limited: Any = whole_number if self.kind is int else number
            return cast("Rule", limited(self.low, self.high, optional=optional))
        if self.kind is str and self.default == "":
            return STRING
        return rule.or_none() if optional else rule

    def _is_choice(self, value: object) -> bool:
        return value in self.choices


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


def port_meant(ports: Ports | None, aliases: Mapping[str, str], port: str) -> str:
    """The declared port that ``port`` is another name of; ``port`` itself where it is declared, or no name of one.

    An alias may stand for an input port and an output port of one name: ``ports`` are those of one side.
    """
    if ports is None or port in ports:
        return port
    meant = aliases.get(port, port)
    return meant if meant in ports else port


def check_declarations(cls: Any) -> None:
    """TypeError that names the class and the attribute when its params, ports or aliases are not declarations."""
    if cls.params is not None and not _is_table(cls.params, lambda value: isinstance(value, Param)):
        raise TypeError(f"{cls.__qualname__}.params must be a dict of Param by name, not {shown(cls.params)}")
    for name in ("inputs", "outputs"):
        if (ports := getattr(cls, name)) is not None and not _is_table(ports, _is_port):
            raise TypeError(
                f"{cls.__qualname__}.{name} must be a dict by port name of a DataType, a tuple of several, or None "
                f"for any, not {shown(ports)}"
            )

    optional = cls.optional_outputs
    if not isinstance(optional, tuple) or not all(port in (cls.outputs or ()) for port in optional):
        raise TypeError(
            f"{cls.__qualname__}.optional_outputs must be a tuple of declared output ports, not {shown(optional)}"
        )
    declared = {*(cls.inputs or ()), *(cls.outputs or ())}
    if not _is_table(cls.port_aliases, lambda port: port in declared):
        raise TypeError(
            f"{cls.__qualname__}.port_aliases must be a dict of declared ports by their other names, "
            f"not {shown(cls.port_aliases)}"
        )


def _is_table(value: object, fits: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(key, str) and bool(key) and fits(entry) for key, entry in value.items()
    )


def _is_port(value: object) -> bool:
    from remotemedia.core.data import DataType

    types = value if isinstance(value, tuple) and value else (value,)
    return value is None or all(isinstance(entry, DataType) for entry in types)
