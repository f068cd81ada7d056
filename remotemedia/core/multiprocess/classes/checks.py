"""Checks that a class is written as a node must be, and supplies what it may lack."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR, CO_VARARGS
from types import FunctionType
from typing import Any

from remotemedia._naming import nearest
from remotemedia.core.multiprocess.node.node import MultiprocessNode, Nothing

__all__ = ["check_class", "supply_hooks", "why_unfit"]

# For each method that the framework calls: how to write it, and how many arguments it gets, ``self`` included.
_WRITTEN = {
    "__init__": ("def __init__(self, node_id, config):", 3),
    "initialize": ("async def initialize(self):", 1),
    "process": ("async def process(self, data):", 2),
    "on_mark": ("async def on_mark(self, mark):", 2),
    "finish": ("async def finish(self):", 1),
    "on_interrupt": ("async def on_interrupt(self):", 1),
    "cleanup": ("async def cleanup(self):", 1),
}
_MAY_BE_MISSING = ("initialize", "cleanup")
_GENERATOR = CO_GENERATOR | CO_ASYNC_GENERATOR
_MUST_NOT_BE = {
    "__init__": CO_COROUTINE | _GENERATOR,
    "initialize": _GENERATOR,
    "on_interrupt": _GENERATOR,
    "cleanup": _GENERATOR,
}
_LIKE = 0.85
"""How similar a name must be to that of a missing method to count as a typo: initialise is, initialize_model is not."""


def check_class(cls: type[MultiprocessNode]) -> None:
    """TypeError, one sentence that says what to write, if the class cannot be a node."""
    missing = {name for name in getattr(cls, "__abstractmethods__", ()) if name not in _MAY_BE_MISSING}
    if "process" in missing:
        raise TypeError(f"{cls.__qualname__} does not define process(){_instead(cls, 'process')}; {_write('process')}")
    if missing:
        raise TypeError(f"{cls.__qualname__} is abstract: it does not define {', '.join(sorted(missing))}")
    for name in _WRITTEN:
        _check_method(cls, name)


def supply_hooks(cls: type[MultiprocessNode]) -> None:
    """Gives a class without ``initialize()`` or ``cleanup()`` one that does nothing.

    TypeError if it has a method of a similar name, which nothing would call.
    """
    missing = [name for name in _MAY_BE_MISSING if name in getattr(cls, "__abstractmethods__", ())]
    for name in missing:
        if instead := _instead(cls, name):
            raise TypeError(f"{cls.__qualname__} does not define {name}(){instead}; {_write(name)}")
    for name in missing:
        setattr(cls, name, _do_nothing)
    if missing:
        abc.update_abstractmethods(cls)


def why_unfit(cls: type[MultiprocessNode], node: object) -> str | None:
    """One sentence that says why the instance is not a node; None if it is one."""
    if not isinstance(node, MultiprocessNode):
        return f"{cls.__qualname__}(node_id, config) returned {type(node).__name__}, which is not a MultiprocessNode"
    if "_node_loop" not in vars(node):
        return f"{cls.__qualname__}.__init__() must call super().__init__(node_id, config)"
    return None


def _do_nothing(self: MultiprocessNode) -> Nothing:
    return Nothing()


def _check_method(cls: type, name: str) -> None:
    given = _WRITTEN[name][1]
    if name == "__init__" and type(cls).__call__ is not type.__call__:
        return  # its metaclass makes instances in another way
    found = next(vars(base)[name] for base in cls.__mro__ if name in vars(base))
    if isinstance(found, staticmethod):
        found, given = found.__func__, given - 1
    elif isinstance(found, classmethod):
        found = found.__func__
    if not isinstance(found, FunctionType):
        if not callable(found) and not hasattr(type(found), "__get__"):
            raise TypeError(f"{cls.__qualname__}.{name} is not a method but {type(found).__name__}; {_write(name)}")
        return
    if not _takes(found, given) and not (name == "on_interrupt" and _takes(found, given + 1)):  # with a report
        from inspect import signature

        arguments = signature(found, follow_wrapped=False)
        raise TypeError(f"{cls.__qualname__}.{name}{arguments} takes the wrong arguments; {_write(name)}")
    if found.__code__.co_flags & _MUST_NOT_BE.get(name, 0):
        how = "be async" if found.__code__.co_flags & CO_COROUTINE else "yield, because its code would never run"
        raise TypeError(f"{cls.__qualname__}.{name}() must not {how}; {_write(name)}")


def _takes(function: FunctionType, given: int) -> bool:
    """Whether it accepts that many positional arguments. Read from the code, as decorators can fake a signature."""
    code = function.__code__
    required = code.co_argcount - len(function.__defaults__ or ())
    by_keyword = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    return (
        required <= given
        and (given <= code.co_argcount or bool(code.co_flags & CO_VARARGS))
        and all(name in (function.__kwdefaults__ or {}) for name in by_keyword)
    )


def _write(name: str) -> str:
    return f"write `{_WRITTEN[name][0]}`"


def _instead(cls: type, name: str) -> str:
    """A clause that names the class's own method of a similar name; empty if there is none."""
    near = [own for own in _own_methods(cls) if own[0].lower() == name[0] and abs(len(own) - len(name)) <= 2]
    if not near:
        return ""
    like = nearest(name, near, _LIKE)
    return f", but {like[0]}(), which nothing calls" if like else ""


def _own_methods(cls: type) -> Iterator[str]:
    for base in cls.__mro__[: cls.__mro__.index(MultiprocessNode)]:
        yield from (name for name, value in vars(base).items() if _is_own(name, value))


def _is_own(name: str, value: Any) -> bool:
    return isinstance(value, FunctionType) and name not in _WRITTEN and not name.startswith("_")
