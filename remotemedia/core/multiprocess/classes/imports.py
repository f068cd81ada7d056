"""Finding in a node's process the modules its parent has: the search path, modules by name or file, names in them."""

from __future__ import annotations

import importlib.util
import site
import sys
import sysconfig
from importlib import import_module
from pathlib import Path
from types import ModuleType

__all__ = [
    "MAIN_NAMES",
    "adopt_search_path",
    "import_by_name_or_file",
    "module_file",
    "resolve",
    "search_path",
]

MAIN_NAMES = ("__main__", "__mp_main__")
"""The main module's names: in the user's process, and in a node's process (as in the standard multiprocessing)."""


def search_path() -> dict[str, list[str]]:
    """The folders the user added to ``sys.path``, as absolute paths: those before the standard library and after it.

    The folders of the interpreter itself stay out: a node's process may run on another one.
    """
    own = _interpreter_folders()
    # Tools add names to sys.path that are not folders but mean something to an import hook of this process.
    path = [str(Path(entry).absolute()) for entry in sys.path if isinstance(entry, str) and Path(entry).exists()]
    path = list(dict.fromkeys(path))
    start = next((index for index, entry in enumerate(path) if entry in own), len(path))
    return {"first": path[:start], "last": [entry for entry in path[start:] if entry not in own]}


def adopt_search_path(first: list[str], last: list[str]) -> None:
    """Put the parent's folders in the same order around this interpreter's own."""
    own = _interpreter_folders()
    start = next((index for index, entry in enumerate(sys.path) if entry in own), len(sys.path))
    sys.path[start:start] = [entry for entry in first if entry not in sys.path]
    sys.path.extend(entry for entry in last if entry not in sys.path)


def module_file(module: ModuleType | None) -> str | None:
    """The absolute path of the file a module was loaded from, or None."""
    file = getattr(module, "__file__", None)
    return str(Path(file).absolute()) if isinstance(file, str) else None


def import_by_name_or_file(name: str, file: str | None) -> ModuleType:
    """Import ``name``; where there is no module of that name, load ``file`` under it.

    Raises:
        ModuleNotFoundError: neither is there.
        Exception: whatever the module itself raises.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        # Only when this very module or its package is missing: the module may itself import what is not installed.
        missing = error.name is not None and f"{name}.".startswith(f"{error.name}.")
        if not missing or file is None or not Path(file).is_file():
            raise
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {name!r}, and {file} is not a Python module", name=name, path=file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def resolve(module: ModuleType, qualname: str) -> object | None:
    """What ``qualname`` names in the module, or None."""
    found: object | None = module
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found


def _interpreter_folders() -> set[str]:
    paths = sysconfig.get_paths()
    own = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    own.update((*site.getsitepackages(), site.getusersitepackages()))
    # In a virtual environment "platstdlib" is the environment's, where there is no such folder.
    own.update(f"{paths[name]}/lib-dynload" for name in ("stdlib", "platstdlib"))
    own.add(str(Path(paths["stdlib"]).with_name(f"python{sys.version_info.major}{sys.version_info.minor}.zip")))
    return own
