"""How a node's process gets the class its parent registered: a small JSON dict, made in one and loaded in the other.

A class of a module travels as its name. The class of a script travels as the name of the script: the child runs it,
like the standard multiprocessing, but only until it would start a session, so that no ``__main__`` guard is needed.
A class of a prompt or a notebook is in no file, and travels by value (``_byvalue``).
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from remotemedia._naming import offer
from remotemedia._telling import shown
from remotemedia.core.multiprocess.classes.checks import supply_hooks
from remotemedia.core.multiprocess.classes.imports import (
    MAIN_NAMES,
    adopt_search_path,
    import_by_name_or_file,
    module_file,
    resolve,
    search_path,
)
from remotemedia.core.multiprocess.classes.registry import loaded_node
from remotemedia.core.multiprocess.classes.rerun import GUARD, Rerun, StopLoading, is_stop, stop_if_loading
from remotemedia.core.multiprocess.classes.side_effects import SideEffects
from remotemedia.core.multiprocess.node.node import MultiprocessNode

__all__ = ["StopLoading", "describe_class", "load_class", "stop_if_loading"]

# The names that prompts give to typed code: python, python from 3.13 on, ipython, the code module.
_TYPED = ("<stdin>", "<python-input", "<ipython-input", "<console>")


def describe_class(cls: type[MultiprocessNode]) -> dict[str, Any]:
    """What another process needs to load ``cls``, as a dict of JSON values for ``load_class()``.

    Raises:
        PipelineError: the class is in no file and uses a value that cannot be sent; the message names that value.
    """
    ref: dict[str, Any] = {"qualname": cls.__qualname__, "path": search_path()}
    if cls.__module__ not in MAIN_NAMES:
        file = module_file(sys.modules.get(cls.__module__))
        return ref | {"kind": "module", "module": cls.__module__, "file": file}
    namespace = _main_namespace(cls)
    # Under `python -m` the spec has the module's name; for `python folder` and plain scripts it has none of use.
    name = getattr(namespace.get("__spec__"), "name", "__main__")
    ref["argv"] = [str(argument) for argument in sys.argv]
    if _is_typed(cls, namespace):
        return ref | _by_value(cls, namespace)
    if name not in MAIN_NAMES:
        return ref | {"kind": "module-main", "module": name}
    file = _script_file(cls, namespace)
    if file is not None:
        return ref | {"kind": "script", "file": file}
    return ref | _by_value(cls, namespace)


def _by_value(cls: type[MultiprocessNode], namespace: dict[str, Any]) -> dict[str, Any]:
    # Imported where it is needed: few classes travel by value, and a node's start-up time is a budget.
    from remotemedia.core.multiprocess.classes.by_value import pack

    return {"kind": "value"} | pack(cls, namespace)


def load_class(
    ref: object,
    node_type: str,
    tell: Callable[[str], None] | None = None,
    warn: Callable[[str], None] | None = None,
) -> type[MultiprocessNode]:
    """The class that ``describe_class()`` described in the parent; called in a node's process, once.

    ``tell`` is called on another thread if the user's code runs long, with the line it is at; ``warn`` at most once,
    with side effects of the script that may have harmed the parent.

    Raises:
        ValueError: ``ref`` is not such a description.
        ImportError: the module, or the class in it, is not there, or the class comes by value from another Python.
        TypeError: the class's name stands for something other than a MultiprocessNode subclass.
        Exception: whatever the user's module or script raises.
    """
    kind, qualname = _text(ref, "kind"), _text(ref, "qualname")
    adopt_search_path(*_search_path(ref))
    effects = SideEffects()
    try:
        with Rerun(node_type, tell) as rerun:
            found = _load(ref, kind, qualname, node_type, rerun, effects)
    except BaseException as error:
        if not is_stop(error):
            raise
        # A module starts a session while it is imported; like a script, it may have registered the class by then.
        found = loaded_node(node_type)
        if found is None:
            raise ImportError(f"a module that {qualname} needs starts a session while it is imported") from error
    finally:
        if warn is not None and (told := str(effects)):
            warn(told)
    if not (isinstance(found, type) and issubclass(found, MultiprocessNode)):
        raise TypeError(
            f"{qualname}, registered as node type {node_type!r}, is not a MultiprocessNode class: {shown(found)}"
        )
    supply_hooks(found)  # a class from package metadata was registered only in the parent
    return found


def _load(ref: object, kind: str, qualname: str, node_type: str, rerun: Rerun, effects: SideEffects) -> object:
    if kind == "module":
        file = _optional_text(ref, "file")
        rerun.enters(file, script=False)
        return _find(import_by_name_or_file(_text(ref, "module"), file), qualname, node_type, file)
    if kind == "script":
        file = _text(ref, "file")
        _adopt_arguments(ref)
        return _find_after(rerun, _run_script(file, rerun, effects), qualname, node_type, file)
    if kind == "module-main":
        name = _text(ref, "module")
        _adopt_arguments(ref)
        return _find_after(rerun, _run_module(name, rerun, effects), qualname, node_type, None)
    if kind == "value":
        python, magic, data = _text(ref, "python"), _text(ref, "magic"), _text(ref, "data")
        _adopt_arguments(ref)
        from remotemedia.core.multiprocess.classes.by_value import unpack

        return unpack(python, magic, data)
    raise ValueError(f"class reference of unknown kind {kind!r}; it may be module, script, module-main or value")


def _adopt_arguments(ref: object) -> None:
    # The script's top level may parse them.
    sys.argv[:] = _texts("argv", _field(ref, "argv"))


def _main_namespace(cls: type) -> dict[str, Any]:
    # A profiler or debugger may run the script in a namespace of its own; the functions of the class know which.
    for function in _functions(cls):
        if function.__globals__.get("__name__") in MAIN_NAMES:
            return function.__globals__
    return vars(sys.modules["__main__"])


def _script_file(cls: type, namespace: dict[str, Any]) -> str | None:
    file = namespace.get("__file__")
    if file is None and sys.argv:
        # `python -i script` takes the name away when the script has ended and the prompt comes.
        sources = {str(Path(function.__code__.co_filename).absolute()) for function in _functions(cls)}
        file = str(Path(sys.argv[0]).absolute())
        if file not in sources:
            return None
    return str(Path(file).absolute()) if isinstance(file, str) and Path(file).is_file() else None


def _is_typed(cls: type, namespace: dict[str, Any]) -> bool:
    """Whether the class was typed at a prompt, though the main module has a file (``python -i -m``, a debugger)."""
    return any(
        function.__globals__ is namespace and function.__code__.co_filename.startswith(_TYPED)
        for function in _functions(cls)
    )


def _functions(cls: type) -> list[FunctionType]:
    return [value for value in vars(cls).values() if isinstance(value, FunctionType)]


def _run_script(file: str, rerun: Rerun, effects: SideEffects) -> ModuleType:
    code = compile(Path(file).read_bytes(), file, "exec", dont_inherit=True)
    module = ModuleType("__mp_main__")
    module.__file__ = file
    _run_main(module, code, rerun, effects)
    return module


def _run_module(name: str, rerun: Rerun, effects: SideEffects) -> ModuleType:
    spec = importlib.util.find_spec(name)
    get_code = getattr(spec.loader, "get_code", None) if spec is not None else None
    if spec is None or get_code is None:
        raise ModuleNotFoundError(f"No module named {name!r} in the node's process; the program ran as -m {name}")
    module = importlib.util.module_from_spec(spec)
    module.__name__ = "__mp_main__"
    _run_main(module, get_code(name), rerun, effects)
    return module


def _run_main(module: ModuleType, code: CodeType, rerun: Rerun, effects: SideEffects) -> None:
    """Run the user's main module until it ends or would start a session. Its name keeps ``__main__`` blocks shut."""
    for name in MAIN_NAMES:
        sys.modules[name] = module
    rerun.enters(code.co_filename, script=True)
    try:
        with effects.of(code.co_filename):
            exec(code, vars(module))  # noqa: S102 - the user's own program
    except BaseException as error:
        if isinstance(error, SystemExit) or is_stop(error):
            return
        if isinstance(error, Exception) and rerun.is_left_to_a_thread():
            effects.failed(error)  # such as: the program itself has the port that its main thread serves
            return
        with contextlib.suppress(Exception):  # the user's exception may override add_note
            error.add_note(
                f"({code.co_filename} is run again in each node's process, up to where it starts a session, to find "
                f"its classes; code that must not run there belongs under {GUARD})"
            )
        raise


def _find_after(rerun: Rerun, module: ModuleType, qualname: str, node_type: str, file: str | None) -> object:
    try:
        return _find(module, qualname, node_type, file)
    except ImportError as error:
        if rerun.stopped:
            error.add_note(
                "(it is run again up to where it starts its first session; code after that, such as a second "
                "session and its nodes, belongs in a module)"
            )
        raise


def _find(module: ModuleType, qualname: str, node_type: str, file: str | None) -> object:
    registered = loaded_node(node_type)
    # The registry first: two classes of one name may be registered, and the module's name has the later one.
    if registered is not None and (registered.__module__, registered.__qualname__) == (module.__name__, qualname):
        return registered
    found = resolve(module, qualname)
    if found is None:
        # Made with a name of its own each time, say; this type's class is all that was asked for.
        found = registered
    if found is None:
        raise ImportError(_not_found(module, qualname, node_type, file), name=module.__name__)
    return found


def _not_found(module: ModuleType, qualname: str, node_type: str, file: str | None) -> str:
    place = module_file(module) or module.__name__
    if "<locals>" in qualname:
        return (
            f"class {qualname} (node type {node_type!r}) is inside a function and importing {place} does not register "
            "it: define it at the top level of a module"
        )
    text = f"{place} has no class {qualname} (node type {node_type!r})"
    classes = [name for name, value in vars(module).items() if isinstance(value, type)]
    if classes:
        text += f"; {offer(qualname, classes, 'its classes are')}"
    if file is not None and file != place:
        text += f"; in the parent process it came from {file}"
    return text


def _field(ref: object, key: str) -> object:
    if not isinstance(ref, dict):
        raise ValueError(f"class reference must be a dict, not {type(ref).__name__}")
    if key not in ref:
        raise ValueError(f"class reference of kind {ref.get('kind')!r} has no {key!r}")
    value: object = ref[key]
    return value


def _text(ref: object, key: str) -> str:
    value = _field(ref, key)
    if not isinstance(value, str) or not value:
        raise ValueError(f"class reference: {key!r} must be a non-empty string, not {value!r}")
    return value


def _optional_text(ref: object, key: str) -> str | None:
    return None if _field(ref, key) is None else _text(ref, key)


def _texts(key: str, value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"class reference: {key!r} must be a list of strings, not {value!r}")
    return value


def _search_path(ref: object) -> tuple[list[str], list[str]]:
    path = _field(ref, "path")
    if not isinstance(path, dict) or path.keys() != {"first", "last"}:
        raise ValueError(f"class reference: 'path' must have 'first' and 'last', not {path!r}")
    return _texts("path", path["first"]), _texts("path", path["last"])
