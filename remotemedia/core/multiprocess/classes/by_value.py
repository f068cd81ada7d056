"""Classes that live in no file (typed at a prompt, in a notebook, in ``python -c``), sent as they are.

``pack`` walks from the class to everything it uses of the main module and writes one flat list of records, each
naming others by number, so that cycles need no care. Anything importable travels as a name. The list is marshalled:
code objects have no other form, and a prompt keeps no source text. Marshal is read by the same Python version only,
and unlike pickle it carries no recipe for arbitrary objects: the few kinds of values that travel are those below.

``unpack`` makes the objects in three steps: empty containers and cells, and imports; then the values that have to be
whole when it is made (tuples, functions, classes without attributes), each after its parts; then the contents. Of the
user's code only imports run meanwhile, and ``__init_subclass__`` of bases that are imported.
"""

from __future__ import annotations

import abc
import base64
import binascii
import builtins
import dataclasses
import dis
import enum
import logging
import marshal
import platform
import re
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from importlib.util import MAGIC_NUMBER
from types import CellType, CodeType, FunctionType, MemberDescriptorType, ModuleType, SimpleNamespace
from typing import Any

from remotemedia.core.multiprocess.classes.by_call import (
    MOST_ARRAY_BYTES,
    Cannot,
    ClassParts,
    array_of,
    call_of,
    class_parts,
    is_frozen_instance,
    is_named_tuple,
    make_array,
    make_class,
    make_value,
)
from remotemedia.core.multiprocess.classes.imports import MAIN_NAMES, import_by_name_or_file, module_file, resolve
from remotemedia.core.multiprocess.node.declaration import Param
from remotemedia.errors import PipelineError

__all__ = ["pack", "unpack"]

_Record = tuple[Any, ...]

_ATOMS = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis))
_WRAPPERS: dict[str, type] = {"staticmethod": staticmethod, "classmethod": classmethod}
_MAPPINGS: dict[str, type] = {"dict": dict, "OrderedDict": OrderedDict, "Counter": Counter, "defaultdict": defaultdict}
_CONTAINERS: dict[str, type] = {"list": list, "set": set, "SimpleNamespace": SimpleNamespace, **_MAPPINGS}
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
    Param: (_param, _param_arguments),
}
_CALL_NAMES = {target.__name__: target for target, _ in _CALLS.values()}

_TO_A_MODULE = "put that class in a module file"

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
        self._array_bytes = 0

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
        if kind in _MAPPINGS.values():
            factory = self._add(value.default_factory, item) if isinstance(value, defaultdict) else None
            items = [(self._add(key, item), self._add(entry, item)) for key, entry in value.items()]
            return (kind.__name__, items, factory)
        if kind is deque:
            return ("deque", [self._add(entry, item) for entry in value], value.maxlen)
        if kind is SimpleNamespace:
            return ("SimpleNamespace", [(name, self._add(entry, item)) for name, entry in vars(value).items()])
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
        try:
            if (record := self._made_by_call(value, where, item)) is not None:
                return record
            if isinstance(value, type):
                return self._class(value, where)
        except Cannot as what:
            raise self._refused(where, str(what)) from None
        raise self._refused(where, f"of type {_type_name(kind)}")

    def _made_by_call(self, value: Any, where: str, item: str) -> _Record | None:
        kind = type(value)
        if (call := call_of(value)) is not None:
            name, arguments, more = call
            named = [(key, self._add(entry, item)) for key, entry in more.items()]
            return ("value", name, [self._add(entry, item) for entry in arguments], named)
        if (array := array_of(value)) is not None:
            self._array_bytes += len(array[-1]) if isinstance(array[-1], bytes) else 0
            if self._array_bytes > MOST_ARRAY_BYTES:
                raise Cannot(f"numpy arrays of more than {MOST_ARRAY_BYTES >> 20} MiB in total")
            return array
        if any(map(is_named_tuple, kind.__mro__)) and not getattr(value, "__dict__", None):
            return ("named", self._add(kind, where), [self._add(entry, item) for entry in value])
        if "__dataclass_fields__" in vars(kind):
            return self._instance(value, where, item)
        return None

    def _instance(self, value: Any, where: str, item: str) -> _Record:
        names = [field.name for field in dataclasses.fields(value)]
        state = {name: getattr(value, name) for name in names if hasattr(value, name)} | getattr(value, "__dict__", {})
        parts = [(name, self._add(entry, item)) for name, entry in state.items()]
        return ("frozen" if is_frozen_instance(value) else "instance", self._add(type(value), where), parts)

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
        # Names of attributes are not globals: with `self.model` in a method, a global `model` is not needed.
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
        try:
            special = class_parts(cls)
        except Cannot as why:
            raise self._refused(where, f"a class: {cls.__qualname__} is {why}", _TO_A_MODULE) from None
        if special is not None and (special.kind != "dataclass" or _METACLASSES.get(metaclass) is type(cls)):
            return self._special_class(cls, metaclass, special)
        if _METACLASSES.get(metaclass) is not type(cls):
            what = f"of metaclass {_type_name(type(cls))}"
            raise self._refused(where, f"a class: {cls.__qualname__} is {what}", _TO_A_MODULE)
        slots = vars(cls).get("__slots__")
        return (
            "class",
            metaclass,
            cls.__name__,
            cls.__qualname__,
            _sent_module(cls),
            [self._add(base, f"base {base.__qualname__} of class {cls.__qualname__}") for base in cls.__bases__],
            None if slots is None else [slots] if isinstance(slots, str) else list(slots),
            self._attributes(cls, vars(cls)),
        )

    def _special_class(self, cls: type, metaclass: str, special: ClassParts) -> _Record:
        of = f"of class {cls.__qualname__}"
        return (
            "special",
            metaclass,
            cls.__name__,
            cls.__qualname__,
            _sent_module(cls),
            # A typed dict is just a dict, and already contains what it inherits.
            [self._add(base, f"base {base.__qualname__} {of}") for base in cls.__bases__],
            special.kind,
            self._attributes(cls, special.own),
            special.plain,
            [self._add(value, f"{name} {of}") for name, value in special.parts],
            [(name, self._add(value, f"member {name!r} {of}")) for name, value in special.extras],
        )

    def _attributes(self, cls: type, names: Iterable[str]) -> list[tuple[str, int]]:
        return [
            (name, self._add(value, f"attribute {name!r} of class {cls.__qualname__}"))
            for name, value in vars(cls).items()
            if name in names and name not in _NOT_SENT and not isinstance(value, MemberDescriptorType)
        ]

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
        # Sets and dicts last: they hash their parts, by methods of the parts' classes.
        for number, record in enumerate(self._records):
            self._fill_hashed(self._made[number], record)
        self._finish_classes()
        vars(self._main).update((name, self._made[number]) for name, number in names.items())
        cls = self._made[0]
        if not isinstance(cls, type):
            raise ValueError("the class sent by value is damaged: it is not a class")
        return cls

    def _make_open(self, number: int, record: _Record) -> None:
        """The values that need no other record, or can be filled in later."""
        match record:
            case ("atom", value):
                self._made[number] = value
            case (kind, *_) if kind in _CONTAINERS:
                self._made[number] = _CONTAINERS[kind]()
            case ("deque", _, maxlen):
                self._made[number] = deque(maxlen=maxlen)
            case ("array" | "scalar" | "dtype", *_):
                self._made[number] = make_array(*record)
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
        """The values complete once made, and the shells of functions and classes: each after its parts."""
        pending, begun = [number], set()
        while pending:
            current = pending[-1]
            if current in self._made:
                pending.pop()
                continue
            record = self._records[current]
            missing = [part for part in _parts(record) if part not in self._made]
            if missing:
                begun.add(current)
                if not begun.isdisjoint(missing):
                    raise ValueError("the class sent by value needs a value that is a part of itself")
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
            case ("special", metaclass, name, qualname, module_name, bases, kind, attributes, plain, parts, _):
                body = {attribute: _to_come for attribute, _ in attributes}
                body |= {"__module__": module_name, "__qualname__": qualname}
                inherited, values = tuple(made[base] for base in bases), [made[part] for part in parts]
                return make_class(kind, metaclass, name, body, inherited, plain, values)
            case ("value", name, arguments, more):
                return make_value(name, [made[part] for part in arguments], {key: made[part] for key, part in more})
            case ("named", cls, parts):
                return tuple.__new__(made[cls], [made[part] for part in parts])
            case ("frozen" | "instance" as kind, cls, state):
                instance = object.__new__(made[cls])
                if kind == "frozen":
                    self._set_state(instance, state)
                return instance
        raise ValueError(f"the class sent by value is damaged: unknown record {record[:1]!r}")

    def _fill(self, target: Any, record: _Record) -> None:
        made = self._made
        match record:
            case ("list", parts):
                target.extend(made[part] for part in parts)
            case ("deque", parts, _):
                target.extend(made[part] for part in parts)
            case ("SimpleNamespace", items):
                vars(target).update((name, made[part]) for name, part in items)
            case ("instance", _, state):
                self._set_state(target, state)
            case ("cell", int(part)):
                target.cell_contents = made[part]
            case ("function", _, _, _, qualname, module, doc, defaults, keyword_defaults, attributes, _):
                target.__qualname__ = qualname
                target.__module__ = module
                target.__doc__ = doc
                target.__defaults__ = None if defaults is None else made[defaults]
                target.__kwdefaults__ = None if keyword_defaults is None else made[keyword_defaults]
                target.__dict__ = {} if attributes is None else made[attributes]

    def _fill_hashed(self, target: Any, record: _Record) -> None:
        made = self._made
        match record:
            case ("set", parts):
                target.update(made[part] for part in parts)
            case ("dict" | "OrderedDict" | "Counter" | "defaultdict", items, factory):
                for key, value in items:
                    target[made[key]] = made[value]
                if factory is not None:
                    target.default_factory = made[factory]

    def _set_state(self, instance: object, state: list[tuple[str, int]]) -> None:
        for name, part in state:
            object.__setattr__(instance, name, self._made[part])

    def _finish_classes(self) -> None:
        numbered = [(self._made[number], record) for number, record in enumerate(self._records)]
        classes = [entry for entry in numbered if entry[1][0] in ("class", "special")]
        for cls, record in sorted(classes, key=lambda entry: len(entry[0].__mro__)):
            abc.update_abstractmethods(cls)
            if record[0] == "special":
                for name, part in record[10]:
                    vars(cls[name]).update(self._made[part])

    def _fill_classes(self) -> None:
        # After creation, not in the class body: a base's __init_subclass__ and the like did their work in the parent.
        classes = [
            (self._made[number], record[7])
            for number, record in enumerate(self._records)
            if record[0] in ("class", "special")
        ]
        for cls, attributes in classes:
            for name, number in attributes:
                setattr(cls, name, self._made[number])


def _parts(record: _Record) -> list[int]:
    match record:
        case ("tuple" | "frozenset" | "property", parts):
            return list(parts)
        case ("staticmethod" | "classmethod", part) | ("member" | "flags", part, _):
            return [part]
        case ("class", _, _, _, _, bases, _, _):
            return list(bases)
        case ("special", _, _, _, _, bases, _, _, _, parts, _):
            return [*bases, *parts]
        case ("value", _, arguments, more):
            return [*arguments, *(part for _, part in more)]
        case ("named", cls, parts):
            return [cls, *parts]
        case ("frozen", cls, state):
            return [cls, *(part for _, part in state)]
        case ("instance", cls, _):
            return [cls]
    return []


def _to_come(*_: object) -> Any:
    """A placeholder for a method or attribute until everything that it uses is made."""
    raise AssertionError


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
