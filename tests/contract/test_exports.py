"""The public door: its names, where they come from, and what importing it costs."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import remotemedia
import remotemedia.core.data
import remotemedia.core.multiprocessing as door
import remotemedia.errors

# The names that docs and users rely on.
FIXED = {
    "InitProgress",
    "MultiprocessConfig",
    "MultiprocessExecutor",
    "MultiprocessNode",
    "NodeStatus",
    "Pipeline",
    "Publisher",
    "Session",
    "Subscriber",
    "register_node",
}


def test_door_is_its_table() -> None:
    named = [name for names in door._HOMES.values() for name in names]
    assert sorted(named) == sorted(door.__all__) == sorted(set(door.__all__))
    assert dir(door) == sorted(door.__all__)


def test_fixed_names_are_there() -> None:
    assert set(door.__all__) >= FIXED | set(remotemedia.errors.__all__)


def test_errors_are_all_exported() -> None:
    defined = {
        name
        for name, value in vars(remotemedia.errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert defined == set(remotemedia.errors.__all__) - {"Problem", "RemoteFailure"}
    assert all(issubclass(vars(remotemedia.errors)[name], remotemedia.errors.MultiprocessError) for name in defined)


@pytest.mark.parametrize("name", door.__all__)
def test_name_loads_from_its_home(name: str) -> None:
    home = next(module for module, names in door._HOMES.items() if name in names)
    value = getattr(door, name)
    assert value is getattr(importlib.import_module(home), name)
    assert name in getattr(importlib.import_module(home), "__all__", [name])


@pytest.mark.parametrize("module", [door, remotemedia])
def test_unknown_name_is_an_attribute_error(module: ModuleType) -> None:
    with pytest.raises(AttributeError, match=f"module '{module.__name__}' has no attribute 'Nonsense'"):
        module.Nonsense  # noqa: B018


@pytest.mark.parametrize("module", [door, remotemedia])
def test_type_checkers_see_what_is_loaded(module: ModuleType) -> None:
    source = ast.parse(Path(str(module.__file__)).read_text())
    block = next(node for node in source.body if isinstance(node, ast.If))
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == module._HOME_OF


# --- the short names -------------------------------------------------------------------------------------------

# The names that the README and other first programs use.
SHORT = {
    "AudioMetadata",
    "DataType",
    "MultiprocessConfig",
    "MultiprocessError",
    "MultiprocessExecutor",
    "MultiprocessNode",
    "Param",
    "Pipeline",
    "PipelineClient",
    "ProcessCrashError",
    "Publisher",
    "RuntimeData",
    "Session",
    "Subscriber",
    "VideoMetadata",
    "register_node",
}


def test_short_names_are_their_table() -> None:
    named = [name for names in remotemedia._HOMES.values() for name in names]
    assert set(named) >= SHORT
    assert sorted(named) == sorted(set(named))
    # What needs grpcio is not in it: `import *` and help() work without.
    assert remotemedia.__all__ == sorted({*named, "__version__"} - {"PipelineClient"})
    assert set(dir(remotemedia)) >= set(remotemedia.__all__)


@pytest.mark.parametrize("name", sorted(remotemedia._HOME_OF))
def test_short_name_is_the_one_of_its_home(name: str) -> None:
    if name == "PipelineClient":
        pytest.importorskip("grpc")
    home = importlib.import_module(remotemedia._HOME_OF[name])
    assert name in home.__all__
    assert getattr(remotemedia, name) is getattr(home, name)


@pytest.mark.parametrize(
    ("statement", "loaded"),
    [
        ("import remotemedia", []),
        ("from remotemedia import RuntimeData", ["numpy"]),
        ("from remotemedia import MultiprocessConfig, Param", []),
        ("from remotemedia import Pipeline, register_node", []),
        ("from remotemedia import *", ["numpy", "asyncio"]),
    ],
)
def test_a_short_name_loads_no_more_than_its_home(statement: str, loaded: list[str]) -> None:
    script = f"import sys; {statement}; print([m for m in ('numpy', 'asyncio', 'grpc', 'click') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(loaded)


def test_the_package_alone_loads_nothing_of_itself() -> None:
    script = (
        "import sys, remotemedia; dir(remotemedia); print([m for m in sys.modules if m.startswith('remotemedia.')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_data_names() -> None:
    assert set(remotemedia.core.data.__all__) >= {"AudioMetadata", "DataType", "RuntimeData", "VideoMetadata"}


@pytest.mark.parametrize(
    "module",
    ["remotemedia", "remotemedia._ring", "remotemedia.errors", "remotemedia.core", "remotemedia.core.multiprocessing"],
)
def test_import_loads_nothing_heavy(module: str) -> None:
    script = f"import sys, {module}; print([m for m in ('numpy', 'asyncio', 'click', 'rich') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
