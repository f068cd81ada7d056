"""Node types by name: the classes of this process, the built-in ones and those of installed packages.

The registry is a table of the process it lives in. A node's own process loads its class by reference
(``_classref``), so nothing here has to be the same in two processes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

from remotemedia._naming import offer
from remotemedia._telling import said, shown
from remotemedia.core.multiprocess.classes.checks import check_class, supply_hooks
from remotemedia.core.multiprocess.node.declaration import check_declarations
from remotemedia.core.multiprocess.node.node import MultiprocessNode
from remotemedia.errors import PipelineError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint, EntryPoints

__all__ = ["lookup_node", "register_node", "registered_nodes"]

_BUILTINS = "remotemedia.nodes"
_ENTRY_POINT_GROUP = "remotemedia.nodes"

# Not type[...]: a type checker would refuse a class without initialize() or cleanup() as abstract.
NodeClassT = TypeVar("NodeClassT", bound=Callable[..., MultiprocessNode])

# No lock: a module being imported in another thread registers its nodes while it holds its import lock, so a lock
# held around the imports below could deadlock with it. Single dict operations are atomic.
_nodes: dict[str, type[MultiprocessNode]] = {}
_not_packages: set[str] = set()
"""Second names of built-in nodes that no installed package wants: a search through all packages takes milliseconds."""


def register_node(node_type: str) -> Callable[[NodeClassT], NodeClassT]:
    """Class decorator: makes a MultiprocessNode subclass known as ``node_type`` to ``Pipeline.add_node``.

    A class without ``initialize()`` or ``cleanup()`` gets one that does nothing. Registering the same class again
    (a cell run twice, a module reloaded) replaces it.

    Raises:
        TypeError: the name is not a non-empty string, or the decorated object is not a MultiprocessNode subclass with a
            ``process()``; or one of its methods cannot be called the way the framework does, or what it declares as
            params, inputs or outputs is not a declaration. The message says what to write.
        ValueError: another class has this name; the message names both places. The names of built-in nodes are free:
            a program's own class takes their place.
    """
    if not isinstance(node_type, str) or not node_type:
        raise TypeError(f'register_node() takes a name, as in @register_node("my_node"), not {shown(node_type)}')

    def register(cls: NodeClassT) -> NodeClassT:
        _register(node_type, cls)
        return cls

    return register


def lookup_node(node_type: str) -> type[MultiprocessNode]:
    """The class registered as ``node_type``: in this process, among the built-in nodes, or by an installed package.

    Raises:
        PipelineError: there is none (the message has the nearest names), or the package that provides it does not
            load.
    """
    if node_type not in _nodes:
        import_module(_BUILTINS)
    if _may_be_a_packages(node_type):
        for point in _entry_points().select(name=node_type):
            try:
                _load_entry_point(point)
            except Exception as error:
                raise PipelineError(f"Node type {node_type!r}: {_failure(point, error)}") from error
        if node_type in _nodes:
            _not_packages.add(node_type)
    try:
        return _nodes[node_type]
    except KeyError:
        raise PipelineError(_unknown(node_type)) from None


def registered_nodes() -> dict[str, type[MultiprocessNode]]:
    """All node types by name, in alphabetical order: of this process, built-in, and of installed packages.

    A package whose nodes do not load is left out, with a RuntimeWarning.
    """
    import_module(_BUILTINS)
    for point in _entry_points():
        if _may_be_a_packages(point.name):
            try:
                _load_entry_point(point)
            except Exception as error:
                import warnings

                warnings.warn(_failure(point, error), RuntimeWarning, stacklevel=2)
    return dict(sorted(_nodes.items()))


def loaded_node(node_type: str) -> type[MultiprocessNode] | None:
    """What this process has registered as ``node_type`` so far, or None; loads nothing."""
    return _nodes.get(node_type)


def _register(node_type: str, cls: Callable[..., MultiprocessNode]) -> None:
    if not (isinstance(cls, type) and issubclass(cls, MultiprocessNode)):
        raise TypeError(f"@register_node({node_type!r}) takes a subclass of MultiprocessNode, not {shown(cls)}")
    try:
        check_class(cls)
        supply_hooks(cls)
    except TypeError as error:
        raise TypeError(f"@register_node({node_type!r}): {error}") from None
    check_declarations(cls)
    known = _nodes.get(node_type)
    if known is not None and not _same_definition(known, cls):
        if _is_builtin(cls):
            return  # the program chose the name first: the built-in one gives way, as it also does to a later choice
        if not _is_builtin(known):
            raise ValueError(f"Node type {node_type!r} is taken: {_place(known)} has it, {_place(cls)} wants it")
    _nodes[node_type] = cls


def _may_be_a_packages(node_type: str) -> bool:
    """Whether installed packages are asked for it: nobody has the name, or a built-in node as its second one."""
    known = _nodes.get(node_type)
    if known is None:
        return True
    return _is_builtin(known) and known.__name__ != node_type and node_type not in _not_packages


def _same_definition(one: type, other: type) -> bool:
    if one.__qualname__ != other.__qualname__:
        return False
    if one.__module__ == other.__module__:
        return True
    # A script that one of its own modules imports is in memory twice: as __main__ and under its name.
    file = _file(one)
    return file is not None and file == _file(other)


def _is_builtin(cls: Callable[..., object]) -> bool:
    return cls.__module__.startswith(f"{_BUILTINS}.")


def _file(cls: type) -> str | None:
    return getattr(sys.modules.get(cls.__module__), "__file__", None)


def _place(cls: type) -> str:
    file = _file(cls)
    return f"{cls.__module__}.{cls.__qualname__}" + (f" ({file})" if file else "")


def _entry_points() -> EntryPoints:
    # Here: it takes as long to import as half of numpy, and a node's process does without.
    from importlib.metadata import entry_points

    return entry_points(group=_ENTRY_POINT_GROUP)


def _load_entry_point(point: EntryPoint) -> None:
    loaded = point.load()
    if _may_be_a_packages(point.name):
        # A class need not be decorated when the package's metadata names its type already.
        _register(point.name, loaded)


def _failure(point: EntryPoint, error: Exception) -> str:
    owner = f" of {point.dist.name}" if point.dist is not None else ""
    return f"the entry point {point.name} = {point.value}{owner} failed: {said(error)}"


def _unknown(node_type: str) -> str:
    known = sorted({*_nodes, *_entry_points().names})
    return (
        f"Unknown node type {node_type!r}; {offer(node_type, known, 'known types')} "
        f'(register a class with @register_node("{node_type}") and import its module before the pipeline is built; '
        "the commands import what --nodes names)"
    )
