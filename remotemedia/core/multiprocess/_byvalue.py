"""Classes that live in no file (typed at a prompt, in a notebook, in ``python -c``), sent as they are.

``pack`` walks from the class to everything it uses of the main module and writes one flat list of records, each
naming others by number, so that cycles need no care. What can be imported travels as a name. The list is marshalled:
code objects have no other form, and a prompt keeps no source text. Marshal is read by the same Python version only,
and unlike pickle it carries no recipe for arbitrary objects: the few kinds of values that travel are those below.

``unpack`` makes the objects in three steps: empty containers and cells, and what is imported; then what has to be
whole when it is made (tuples, functions, classes without attributes), each after its parts; then the contents. Of the
user's code only imports run meanwhile, and ``__init_subclass__`` of bases that are imported.
"""

from __future__ import annotations

import abc
import base64
import binascii
import builtins
import dis
import enum
import logging
import marshal
import pathlib
import platform
import re
import sys
from collections import deque
from collections.abc import Callable, Iterator
from importlib.util import MAGIC_NUMBER
from types import CellType, CodeType, FunctionType, MemberDescriptorType, ModuleType
from typing import Any

from remotemedia.core.multiprocess._imports import MAIN_NAMES, import_by_name_or_file, module_file, resolve
from remotemedia.core.multiprocess.declaration import Param
from remotemedia.errors import PipelineError

__all__ = ["pack", "unpack"]

_Record = tuple[Any, ...]

_ATOMS = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis))
_WRAPPERS: dict[str, type] = {"staticmethod": staticmethod, "classmethod": classmethod}
_CONTAINERS: dict[str, type] = {"list": list, "set": set, "dict": dict}
_SEQUENCES: dict[str, type] = {"tuple": tuple, "frozenset": frozenset}
_METACLASSES: dict[str, type] = {"type": type, "ABCMeta": abc.ABCMeta}


def _param(kind: str, default: Any, help: str, bounds: dict[str, Any]) -> Param:
    return Param(getattr(builtins, kind), default, help=help, **bounds)


def _param_arguments(value: Param) -> tuple[object, ...]:
    bounds = {"low": value.low, "high": value.high, "choices": value.choices}
    return value.kind.__name__, value.default, value.help, bounds


# Values of these types are made again by one call with plain arguments.
_CALLS: dict[type, tuple[Callable[..., object], Callable[[Any], tuple[object, ...]]]] = {
    bytearray: (bytearray, lambda value: (bytes(value),)),
    range: (range, lambda value: (value.start, value.stop, value.step)),
    slice: (slice, lambda value: (value.start, value.stop, value.step)),
    re.Pattern: (re.compile, lambda value: (value.pattern, value.flags)),
    logging.Logger: (logging.getLogger, lambda value: (value.name,)),
    type(pathlib.Path()): (pathlib.Path, lambda value: (str(value),)),
    Param: (_param, _param_arguments),
}
_CALL_NAMES = {target.__name__: target for target, _ in _CALLS.values()}

# LOAD_NAME occurs in the bodies of classes that a function defines.
_GLOBAL_OPS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
# The child's main module has its own of these.
_OWN_GLOBALS = frozenset({"__builtins__", "__doc__", "__file__", "__loader__", "__name__", "__package__", "__spec__"})
# Made by class creation, or annotations, which may hold anything and mean nothing at run time.
_NOT_SENT = frozenset(
    {
        "__abstractmethods__",
        "__annotate__",
        "__annotate_func__",
        "__annotations__",
        "__annotations_cache__",
        "__dict__",
        "__module__",
        "__qualname__",
        "__slots__",
        "__weakref__",
        "_abc_impl",
    }
)


def pack(cls: type, namespace: dict[str, Any]) -> dict[str, Any]:
    """The class, and what it uses of ``namespace`` (the globals of the main module), as a dict of JSON values.

    Raises:
        PipelineError: it uses a value that cannot be sent; the message names the value, its user and its type.
    """
    packer = _Packer(cls, namespace)
    return {
        "python": platform.python_version(),
        "magic": MAGIC_NUMBER.hex(),
        "data": base64.b64encode(marshal.dumps(packer.pack())).decode("ascii"),
    }


def unpack(python: str, magic: str, data: str) -> type:
    """Make the class again, in a new main module of this process.

    Raises:
        ImportError: the class was packed by a Python version whose code this one cannot read.
        ValueError: ``data`` is damaged.
        Exception: whatever the modules raise that the class needs.
    """
    if magic != MAGIC_NUMBER.hex():
        raise ImportError(
            f"the class comes from Python {python} and this node's interpreter is Python {platform.python_version()} "
            f"({sys.executable}): byte code fits one version only; use the same version as python_executable, or put "
            "the class in a module file"
        )
    try:
        parts = marshal.loads(base64.b64decode(data, validate=True))  # noqa: S302 - from our own parent, see pack()
        records, names, submodules = parts
    except (binascii.Error, EOFError, TypeError, ValueError) as error:
        raise ValueError(f"the class sent by value is damaged: {error}") from error
    return _Unpacker(records).unpack(names, submodules)


class _Packer:
    """Record 0 is the class; whatever a record names is queued, so that depth costs no recursion."""

    def __init__(self, cls: type, namespace: dict[str, Any]) -> None:
        self._cls = cls
        self._namespace = namespace
        self._records: list[_Record] = []
        self._numbers: dict[int, int] = {}
        self._queue: deque[tuple[int, Any, str]] = deque()
        self._kept: list[object] = []
        self._names: dict[str, int] = {}
        self._submodules: set[str] = set()

    def pack(self) -> tuple[list[_Record], dict[str, int], list[str]]:
        number = self._add(self._cls, f"class {self._cls.__qualname__}")
        if self._namespace.get(self._cls.__qualname__) is self._cls:
            self._names[self._cls.__qualname__] = number
        while self._queue:
            number, value, where = self._queue.popleft()
            self._records[number] = self._record(value, where)
        return self._records, self._names, sorted(self._submodules)

    def _add(self, value: object, where: str) -> int:
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self._records)
            self._records.append(())
            self._kept.append(value)  # its id() must not pass to another object meanwhile
            self._queue.append((number, value, where))
        return number

    def _add_optional(self, value: object, where: str) -> int | None:
        return None if value is None else self._add(value, where)

    def _record(self, value: Any, where: str) -> _Record:
        kind = type(value)
        item = where if where.startswith("an item of ") else f"an item of {where}"
        if kind in _ATOMS:
            return ("atom", value)
        if kind is dict:
            return ("dict", [(self._add(key, item), self._add(entry, item)) for key, entry in value.items()])
        if kind in (list, set, tuple, frozenset):
            return (kind.__name__, [self._add(entry, item) for entry in value])
        if kind in _CALLS:
            target, arguments = _CALLS[kind]
            return ("call", target.__name__, arguments(value))
        if kind in (staticmethod, classmethod):
            return (kind.__name__, self._add(value.__func__, where))
        if kind is property:
            parts = (value.fget, value.fset, value.fdel, value.__doc__)
            return ("property", [self._add(part, where) for part in parts])
        if kind is CellType:
            return self._cell(value, where)
        if isinstance(value, ModuleType):
            return self._module(value, where)
        if isinstance(value, enum.Enum):
            return self._enum_member(value, where)
        if (reference := _reference(value)) is not None:
            return reference
        if kind is FunctionType:
            return self._function(value, where)
        if isinstance(value, type):
            return self._class(value, where)
        raise self._refused(where, f"of type {_type_name(kind)}")

    def _enum_member(self, member: enum.Enum, where: str) -> _Record:
        if member.name in type(member).__members__:
            return ("member", self._add(type(member), where), member.name)
        return ("flags", self._add(type(member), where), member.value)

    def _cell(self, cell: CellType, where: str) -> _Record:
        try:
            return ("cell", self._add(cell.cell_contents, where))
        except ValueError:
            return ("cell", None)

    def _module(self, module: ModuleType, where: str) -> _Record:
        if sys.modules.get(module.__name__) is not module and module_file(module) is None:
            raise self._refused(where, f"the module {module.__name__}, which cannot be imported by that name")
        return ("module", module.__name__, module_file(module))

    def _function(self, function: FunctionType, where: str) -> _Record:
        name = function.__qualname__
        if function.__globals__ is self._namespace:
            home = None
            self._add_globals(function)
        else:
            module = sys.modules.get(function.__globals__.get("__name__", ""))
            if module is None or vars(module) is not function.__globals__:
                raise self._refused(where, f"the function {name}, whose module cannot be imported")
            home = (module.__name__, module_file(module))
        return (
            "function",
            function.__code__,
            home,
            function.__name__,
            name,
            _sent_module(function),
            function.__doc__ if isinstance(function.__doc__, str) else None,
            self._add_optional(function.__defaults__, f"a default of {name}"),
            self._add_optional(function.__kwdefaults__, f"a default of {name}"),
            self._add_optional(vars(function) or None, f"an attribute of {name}"),
            [
                self._add(cell, f"variable {variable!r} (used by {name})")
                for variable, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
            ],
        )

    def _add_globals(self, function: FunctionType) -> None:
        codes = list(_nested(function.__code__))
        # Names of attributes are no globals: with `self.model` in a method, a global `model` is not needed.
        used = {
            instruction.argval
            for code in codes
            for instruction in dis.get_instructions(code)
            if instruction.opname in _GLOBAL_OPS
        }
        attributes = {name for code in codes for name in code.co_names}
        for name in sorted(used & self._namespace.keys() - _OWN_GLOBALS):
            value = self._namespace[name]
            self._names[name] = self._add(value, f"global {name!r} (used by {function.__qualname__})")
            if isinstance(value, ModuleType):
                # `import a.b` binds `a`; the child has to import `a.b` too if the code goes on to `.b`.
                prefix = f"{value.__name__}."
                for module in list(sys.modules):
                    if module.startswith(prefix) and attributes.issuperset(module[len(prefix) :].split(".")):
                        self._submodules.add(module)

    def _class(self, cls: type, where: str) -> _Record:
        metaclass = type(cls).__name__
        if _METACLASSES.get(metaclass) is not type(cls) or "__dataclass_fields__" in vars(cls):
            what = "a dataclass" if "__dataclass_fields__" in vars(cls) else f"of metaclass {_type_name(type(cls))}"
            raise self._refused(where, f"a class: {cls.__qualname__} is {what}", "put that class in a module file")
        slots = vars(cls).get("__slots__")
        return (
            "class",
            metaclass,
            cls.__name__,
            cls.__qualname__,
            _sent_module(cls),
            [self._add(base, f"base {base.__qualname__} of class {cls.__qualname__}") for base in cls.__bases__],
            None if slots is None else [slots] if isinstance(slots, str) else list(slots),
            [
                (name, self._add(value, f"attribute {name!r} of class {cls.__qualname__}"))
                for name, value in vars(cls).items()
                if name not in _NOT_SENT and not isinstance(value, MemberDescriptorType)
            ],
        )

    def _refused(
        self, where: str, what: str, advice: str = "create it in initialize(), or pass it in the node's config"
    ) -> PipelineError:
        return PipelineError(
            f"class {self._cls.__qualname__} is not in a file and cannot be sent to the node's process: "
            f"{where} is {what}; {advice}"
        )


class _Unpacker:
    def __init__(self, records: list[_Record]) -> None:
        self._records = records
        self._made: dict[int, Any] = {}
        self._main = ModuleType("__mp_main__")
        vars(self._main)["__builtins__"] = builtins

    def unpack(self, names: dict[str, int], submodules: list[str]) -> type:
        for name in MAIN_NAMES:
            sys.modules[name] = self._main
        for name in submodules:
            import_by_name_or_file(name, None)
        for number, record in enumerate(self._records):
            self._make_open(number, record)
        for number in range(len(self._records)):
            self._make_closed(number)
        for number, record in enumerate(self._records):
            self._fill(self._made[number], record)
        self._fill_classes()
        vars(self._main).update((name, self._made[number]) for name, number in names.items())
        cls = self._made[0]
        if not isinstance(cls, type):
            raise ValueError("the class sent by value is damaged: it is no class")
        return cls

    def _make_open(self, number: int, record: _Record) -> None:
        """What needs no other record, or can be filled in later."""
        match record:
            case ("atom", value):
                self._made[number] = value
            case ("list" | "set" | "dict" as kind, _):
                self._made[number] = _CONTAINERS[kind]()
            case ("call", target, arguments):
                self._made[number] = _CALL_NAMES[target](*arguments)
            case ("cell", _):
                self._made[number] = CellType()
            case ("module", name, file):
                self._made[number] = import_by_name_or_file(name, file)
            case ("name", module, file, qualname):
                found = resolve(import_by_name_or_file(module, file), qualname)
                if found is None:
                    raise ImportError(f"cannot import name {qualname!r} from {module!r} in the node's process")
                self._made[number] = found

    def _make_closed(self, number: int) -> None:
        """What is complete once made, and the shells of functions and classes: each after its parts."""
        pending = [number]
        while pending:
            current = pending[-1]
            if current in self._made:
                pending.pop()
                continue
            record = self._records[current]
            missing = [part for part in _parts(record) if part not in self._made]
            if missing:
                pending += missing
            else:
                self._made[current] = self._shell(record)

    def _shell(self, record: _Record) -> object:
        made = self._made
        match record:
            case ("tuple" | "frozenset" as kind, parts):
                return _SEQUENCES[kind](made[part] for part in parts)
            case ("staticmethod" | "classmethod" as kind, part):
                return _WRAPPERS[kind](made[part])
            case ("property", parts):
                return property(*(made[part] for part in parts))
            case ("member", cls, name):
                return made[cls][name]
            case ("flags", cls, value):
                return made[cls](value)
            case ("function", code, home, name, _, _, _, _, _, _, cells):
                module = self._main if home is None else import_by_name_or_file(*home)
                return FunctionType(code, vars(module), name, None, tuple(made[cell] for cell in cells))
            case ("class", metaclass, name, qualname, module_name, bases, slots, _):
                body = {"__module__": module_name, "__qualname__": qualname}
                if slots is not None:
                    body["__slots__"] = tuple(slots)
                return _METACLASSES[metaclass](name, tuple(made[base] for base in bases), body)
        raise ValueError(f"the class sent by value is damaged: unknown record {record[:1]!r}")

    def _fill(self, target: Any, record: _Record) -> None:
        made = self._made
        match record:
            case ("list", parts):
                target.extend(made[part] for part in parts)
            case ("set", parts):
                target.update(made[part] for part in parts)
            case ("dict", items):
                target.update((made[key], made[value]) for key, value in items)
            case ("cell", int(part)):
                target.cell_contents = made[part]
            case ("function", _, _, _, qualname, module, doc, defaults, keyword_defaults, attributes, _):
                target.__qualname__ = qualname
                target.__module__ = module
                target.__doc__ = doc
                target.__defaults__ = None if defaults is None else made[defaults]
                target.__kwdefaults__ = None if keyword_defaults is None else made[keyword_defaults]
                target.__dict__ = {} if attributes is None else made[attributes]

    def _fill_classes(self) -> None:
        # After creation, not in the class body: a base's __init_subclass__ and the like did their work in the parent.
        classes = [
            (self._made[number], record[7]) for number, record in enumerate(self._records) if record[0] == "class"
        ]
        for cls, attributes in classes:
            for name, number in attributes:
                setattr(cls, name, self._made[number])
        for cls, _ in sorted(classes, key=lambda entry: len(entry[0].__mro__)):
            abc.update_abstractmethods(cls)


def _parts(record: _Record) -> list[int]:
    match record:
        case ("tuple" | "frozenset" | "property", parts):
            return list(parts)
        case ("staticmethod" | "classmethod", part) | ("member" | "flags", part, _):
            return [part]
        case ("class", _, _, _, _, bases, _, _):
            return list(bases)
    return []


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def _reference(value: Any) -> _Record | None:
    """The record that imports the value, or None if no module but the main one has it."""
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    if not isinstance(name, str):
        return None
    home = sys.modules.get(getattr(value, "__module__", None) or "")
    if home is not None and value.__module__ not in MAIN_NAMES and resolve(home, name) is value:
        return ("name", value.__module__, module_file(home), name)
    if isinstance(value, type | FunctionType):
        return None
    # Functions written in C and bound methods, such as random.choice or numpy.sin, often do not know their module.
    short = getattr(value, "__name__", name)
    for module_name, module in sorted(sys.modules.items()):
        if module_name not in MAIN_NAMES and getattr(module, "__dict__", {}).get(short) is value:
            return ("name", module_name, module_file(module), short)
    return None


def _sent_module(value: Any) -> str:
    module = value.__module__
    return "__mp_main__" if module in MAIN_NAMES or not isinstance(module, str) else module


def _type_name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
