"""The public door: its names, where they come from, and what importing it costs."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

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


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        door.Nonsense  # noqa: B018


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
