"""For ``_byvalue``: values and classes that one call with plain arguments makes again.

The values are immutable ones of the standard library and the like, and numpy arrays. The classes are enumerations,
dataclasses, named tuples and typed dicts: their machinery cannot travel, so the decorator, metaclass or function that
made it makes it again. The user's methods are added afterwards; none of them runs.
"""

from __future__ import annotations

import abc
import dataclasses
import enum
import sys
import typing
from collections import namedtuple
from collections.abc import Callable
from importlib import import_module
from types import FunctionType
from typing import Any, NamedTuple

__all__ = [
    "MOST_ARRAY_BYTES",
    "Cannot",
    "ClassParts",
    "array_of",
    "call_of",
    "class_parts",
    "is_frozen_instance",
    "is_named_tuple",
    "make_array",
    "make_class",
    "make_value",
]

MOST_ARRAY_BYTES = 16 * 1024 * 1024
"""For all arrays of a class together: anything larger is data, to be loaded where it is needed."""


class Cannot(Exception):
    """Why something cannot be made again, in words that follow "is"."""


# --- values ---

Call = tuple[str, tuple[Any, ...], dict[str, Any]]


def _datetime(value: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    parts = (value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond)
    return (*parts, value.tzinfo), {"fold": value.fold}


def _time(value: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (value.hour, value.minute, value.second, value.microsecond, value.tzinfo), {"fold": value.fold}


def _zone(value: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if value.key is None:
        raise Cannot("a time zone that has no name")
    return (value.key,), {}


def _as_text(value: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (str(value),), {}


def _reduced(value: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return value.__reduce__()[1], {}


_ADDRESSES = ("Address", "Interface", "Network")
_CALLS: dict[str, Callable[[Any], tuple[tuple[Any, ...], dict[str, Any]]]] = {
    "datetime.date": lambda value: ((value.year, value.month, value.day), {}),
    "datetime.datetime": _datetime,
    "datetime.time": _time,
    "datetime.timedelta": lambda value: ((value.days, value.seconds, value.microseconds), {}),
    "datetime.timezone": lambda value: (value.__getinitargs__(), {}),
    "zoneinfo.ZoneInfo": _zone,
    "decimal.Decimal": _as_text,
    "fractions.Fraction": lambda value: ((value.numerator, value.denominator), {}),
    "uuid.UUID": lambda value: ((), {"int": value.int}),
    "pathlib.PosixPath": _as_text,
    "pathlib.PurePosixPath": _as_text,
    "pathlib.PureWindowsPath": _as_text,
    **{f"ipaddress.IPv{version}{kind}": _as_text for version in (4, 6) for kind in _ADDRESSES},
    "array.array": lambda value: ((value.typecode, value.tobytes()), {}),
    "functools.partial": lambda value: ((value.func, *value.args), dict(value.keywords)),
    "operator.attrgetter": _reduced,
    "operator.itemgetter": _reduced,
    "string.Template": lambda value: ((value.template,), {}),
    "struct.Struct": lambda value: ((value.format,), {}),
    "types.MappingProxyType": lambda value: ((value | {},), {}),
}


def call_of(value: Any) -> Call | None:
    """The call that makes ``value`` again, with arguments that are values themselves; None if there is none."""
    for name, arguments in _CALLS.items():
        module, _, attribute = name.rpartition(".")
        # If its module is not loaded, no such value exists.
        if module in sys.modules and getattr(sys.modules[module], attribute, None) is type(value):
            return name, *arguments(value)
    return None


def make_value(name: str, arguments: list[Any], more: dict[str, Any]) -> object:
    """Makes the value that ``call_of`` described. ValueError for anything that it cannot have described."""
    if name not in _CALLS:
        raise ValueError(f"the class sent by value is damaged: there are no values of type {name}")
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(module), attribute)(*arguments, **more)


def array_of(value: Any) -> tuple[Any, ...] | None:
    """A numpy array, scalar or dtype as values that marshal knows; None for anything else."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not (type(value) is numpy.ndarray or isinstance(value, numpy.generic | numpy.dtype)):
        return None
    dtype = value if isinstance(value, numpy.dtype) else value.dtype
    if dtype.hasobject or dtype.kind not in "?biufcmMSUV":
        raise Cannot(f"a numpy array of {dtype}")
    described = numpy.lib.format.dtype_to_descr(dtype)
    if dtype is value:
        return ("dtype", described)
    if not isinstance(value, numpy.ndarray):
        return ("scalar", described, value.tobytes())
    order = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
    return ("array", described, value.shape, order, value.flags.writeable, value.tobytes(order))


def make_array(kind: str, described: Any, *more: Any) -> object:
    """Makes the array, scalar or dtype that ``array_of`` described."""
    import numpy

    dtype = numpy.lib.format.descr_to_dtype(described)
    if kind == "dtype":
        return dtype
    if kind == "scalar":
        return numpy.ndarray((), dtype, more[0])[()]
    shape, order, writeable, data = more
    array = numpy.ndarray(shape, dtype, data, order=order).copy("K")
    array.setflags(write=writeable)
    return array


# --- classes ---


class ClassParts(NamedTuple):
    """The parts from which a class is made again.

    Attributes:
        kind: one of those of ``make_class``.
        plain: values that marshal knows.
        parts: values that belong to ``plain``, each with its name for errors.
        own: the attributes that the user wrote.
        extras: for enumerations, the attributes of members beside their value.
    """

    kind: str
    plain: tuple[Any, ...]
    parts: list[tuple[str, Any]]
    own: list[str]
    extras: list[tuple[str, dict[str, Any]]]


def class_parts(cls: type) -> ClassParts | None:
    """None for a class that a plain ``class`` statement makes. Cannot for a special one that is not supported."""
    if isinstance(cls, enum.EnumType):
        return _enum_parts(cls)
    if typing.is_typeddict(cls):
        typed: Any = cls
        return ClassParts("typeddict", (sorted(typed.__required_keys__), sorted(typed.__optional_keys__)), [], [], [])
    if is_named_tuple(cls):
        return _named_tuple_parts(cls)
    if "__dataclass_fields__" in vars(cls):
        return _dataclass_parts(cls)
    return None


def make_class(
    kind: str, metaclass: str, name: str, body: dict[str, Any], bases: tuple[Any, ...], plain: Any, parts: list[Any]
) -> Any:
    """Makes the class; ``body`` has its module, its qualified name, and placeholders for its attributes."""
    if kind == "enum":
        return _make_enum(name, body, bases, plain, parts)
    if kind == "dataclass":
        return _make_dataclass(metaclass, name, body, bases, plain, parts)
    if kind == "typeddict":
        required, optional = plain
        hints: dict[str, Any] = dict.fromkeys(required, typing.Any)
        hints |= dict.fromkeys(optional, typing.NotRequired[typing.Any])
        typed_dict: Any = typing.TypedDict
        made = typed_dict(name, hints)
    elif kind == "namedtuple":
        fields, defaulted = plain
        make: Any = namedtuple
        made = make(name, fields, rename=True, defaults=parts[: len(defaulted)])
    else:
        raise ValueError(f"the class sent by value is damaged: there are no classes of kind {kind!r}")
    made.__module__, made.__qualname__ = body["__module__"], body["__qualname__"]
    return made


def is_named_tuple(cls: type) -> bool:
    """Whether NamedTuple or namedtuple() made it; False for a subclass of such a class."""
    return cls.__bases__ == (tuple,) and {"_fields", "_make", "_field_defaults"} <= vars(cls).keys()


def is_frozen_instance(value: Any) -> bool:
    """Whether it is of a frozen dataclass: a set may hold it, so it must be complete before the set is filled."""
    return bool(type(value).__dataclass_params__.frozen)


def _is_of(value: Any, *modules: str) -> bool:
    """Whether one of these modules, not the user, made this function or the function that a descriptor wraps."""
    function = getattr(value, "__func__", value)
    if not isinstance(function, FunctionType):
        return False
    home = str(function.__globals__.get("__name__"))
    return (
        home in modules or function.__code__.co_qualname.startswith("__create_fn__.") or home.startswith("namedtuple_")
    )


def _named_tuple_parts(cls: Any) -> ClassParts:
    machinery = {"_fields", "_field_defaults", "__match_args__", "__orig_bases__", "__new__", *cls._fields}
    own = [
        name
        for name, value in vars(cls).items()
        if name not in machinery and not _is_of(value, "collections", "typing")
    ]
    defaults = [(f"default of field {name!r}", value) for name, value in cls._field_defaults.items()]
    return ClassParts("namedtuple", (list(cls._fields), list(cls._field_defaults)), defaults, own, [])


# --- enumerations ---

_MEMBER_TYPES = (object, int, str, float, bytes)


def _enum_parts(cls: Any) -> ClassParts:
    if any("__new_member__" in vars(base) and base.__module__ != "enum" for base in cls.__mro__):
        raise Cannot("an enumeration with a __new__ of its own")
    if cls._member_type_ not in _MEMBER_TYPES:
        raise Cannot(f"an enumeration whose members are {cls._member_type_.__qualname__} objects")
    own = []
    for name, value in vars(cls).items():
        # The metaclass adds names like _this_ and __this__; the user's own ones are functions.
        special = name.startswith("_") and name.endswith("_")
        function = getattr(value, "__func__", value)
        written = isinstance(function, FunctionType) and not _is_of(function, "enum")
        if name not in cls.__members__ and (written or not special or name == "__doc__"):
            own.append(name)
    parts = []
    for name, member in cls.__members__.items():
        try:
            hash(member._value_)
        except TypeError:
            raise Cannot(f"an enumeration whose member {name} has a value that cannot be hashed") from None
        parts.append((f"member {name!r}", member._value_))
    extras = []
    for name, member in cls.__members__.items():
        more = {key: value for key, value in vars(member).items() if not (key.startswith("_") and key.endswith("_"))}
        if more and member.name == name:
            extras.append((name, more))
    boundary = cls._boundary_.name if issubclass(cls, enum.Flag) else None
    return ClassParts("enum", (list(cls.__members__), boundary), parts, own, extras)


def _make_enum(name: str, body: dict[str, Any], bases: tuple[Any, ...], plain: Any, parts: list[Any]) -> Any:
    members, boundary = plain
    namespace = enum.EnumType.__prepare__(name, bases)
    for key in ("__module__", "__qualname__"):
        namespace[key] = body[key]
    for member, value in zip(members, parts, strict=True):
        namespace[member] = enum.member(value)
    if boundary is None:
        return enum.EnumType(name, bases, namespace)
    return enum.EnumType(name, bases, namespace, boundary=enum.FlagBoundary[boundary])


# --- dataclasses ---

_OPTIONS = ("init", "repr", "eq", "order", "unsafe_hash", "frozen")
_FIELD_OPTIONS = ("init", "repr", "hash", "compare", "kw_only")
_KINDS = {"_FIELD": "field", "_FIELD_INITVAR": "initvar", "_FIELD_CLASSVAR": "classvar"}


def _dataclass_parts(cls: Any) -> ClassParts:
    inherited = [field for base in cls.__mro__[1:] for field in vars(base).get("__dataclass_fields__", {}).values()]
    fields, parts = [], []
    for field in vars(cls)["__dataclass_fields__"].values():
        if any(field is other for other in inherited):
            continue
        has = []
        for source in ("default", "default_factory", "metadata"):
            value = getattr(field, source)
            if value is not dataclasses.MISSING and (source != "metadata" or value):
                has.append(source)
                parts.append((f"{source} of field {field.name!r}", dict(value) if source == "metadata" else value))
        hint = field.type.__name__ if isinstance(field.type, type) else str(field.type)
        kind = _KINDS[field._field_type.name]
        settings = [] if kind == "classvar" else [getattr(field, option) for option in _FIELD_OPTIONS]
        fields.append((field.name, kind, hint, has, settings))
    slots = vars(cls).get("__slots__")
    options = {option: getattr(cls.__dataclass_params__, option) for option in _OPTIONS}
    options |= {"match_args": "__match_args__" in vars(cls), "slots": slots is not None}
    if slots is not None:
        options["weakref_slot"] = "__weakref__" in slots
    machinery = {"__dataclass_fields__", "__dataclass_params__", "__match_args__", *(name for name, *_ in fields)}
    own = [
        name
        for name, value in vars(cls).items()
        if name not in machinery
        and not _is_of(value, "dataclasses", "reprlib")
        and not (name == "__hash__" and not value)
    ]
    return ClassParts("dataclass", (options, fields), parts, own, [])


def _make_dataclass(
    metaclass: str, name: str, body: dict[str, Any], bases: tuple[Any, ...], plain: Any, parts: list[Any]
) -> Any:
    options, fields = plain
    left = iter(parts)
    hints: dict[str, Any] = {}
    for field, kind, hint, has, settings in fields:
        given = {source: next(left) for source in has}
        if kind == "classvar":
            hints[field] = typing.ClassVar
            if "default" in given:
                body[field] = given["default"]
        else:
            hints[field] = dataclasses.InitVar[object] if kind == "initvar" else hint
            body[field] = dataclasses.field(**given, **dict(zip(_FIELD_OPTIONS, settings, strict=True)))
    body["__annotations__"] = hints
    kind_of_class: type = {"type": type, "ABCMeta": abc.ABCMeta}[metaclass]
    return dataclasses.dataclass(**options)(kind_of_class(name, bases, body))
