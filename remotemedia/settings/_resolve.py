"""One configuration from four sources: command line, manifest, ``runtime.toml``, defaults."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from remotemedia._rules import PYTHONS_IN_FORCE
from remotemedia.core.multiprocessing import MultiprocessConfig
from remotemedia.errors import ConfigurationError, Problem
from remotemedia.settings._keys import FIELDS, find_setting_problems
from remotemedia.settings._toml import RuntimeFile, read_runtime_file

__all__ = ["RUNTIME_FILE", "Settings", "absolute_path", "find_runtime_file", "resolve_settings"]

RUNTIME_FILE = "runtime.toml"


@dataclass(frozen=True)
class Settings:
    """The effective settings.

    Attributes:
        config: the settings.
        origins: where each field of ``config`` comes from: "command line", "manifest", "runtime.toml line 4" (or
            another file's name), or "default".
        file: the ``runtime.toml`` that was read; None when there was none.
    """

    config: MultiprocessConfig
    origins: dict[str, str]
    file: Path | None


@dataclass(frozen=True)
class _Source:
    values: Mapping[str, Any]
    folder: Path
    origin: Callable[[str], str]


def resolve_settings(
    *,
    manifest_settings: Mapping[str, object] | None = None,
    manifest_path: Path | None = None,
    config_path: Path | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Settings:
    """The settings in force; the first source that has one wins: overrides, manifest, ``runtime.toml``, defaults.

    Reads ``config_path``, or the first ``runtime.toml`` there is beside the manifest or in the current folder. A
    relative path in a file is relative to that file's folder.

    Args:
        manifest_settings: the manifest's ``metadata.multiprocess``.
        manifest_path: the manifest's file, if it is in one.
        config_path: the file to read; it must be there.
        overrides: options of the command line, by the names of MultiprocessConfig.

    Raises:
        ConfigurationError: a file or a value is wrong; the message has every problem.
    """
    runtime = find_runtime_file(manifest_path, config_path)
    manifest_folder = manifest_path.parent if manifest_path is not None else Path()
    manifest_file = str(manifest_path or "")
    manifest = {} if manifest_settings is None else manifest_settings
    options = {} if overrides is None else overrides
    problems = [
        *find_setting_problems(options, ""),
        *(dataclasses.replace(found, file=manifest_file) for found in find_setting_problems(manifest)),
        *(runtime.problems if runtime is not None else ()),
    ]
    if problems:
        raise ConfigurationError(problems)
    sources = [_Source(options, Path(), lambda name: "command line")]
    sources.append(_Source(manifest, manifest_folder, lambda name: "manifest"))
    if runtime is not None:
        lines, path = runtime.lines, runtime.path
        sources.append(_Source(runtime.values, path.parent, lambda name: f"{path} line {lines[name]}"))
    values, origins = _merge(sources)
    return Settings(MultiprocessConfig(**values), origins, runtime.path if runtime is not None else None)


def find_runtime_file(manifest_path: Path | None, config_path: Path | None) -> RuntimeFile | None:
    """The file that is named, which must be there, or the first that is beside the manifest or in this folder."""
    if config_path is not None:
        try:
            return read_runtime_file(config_path)
        except FileNotFoundError:
            raise ConfigurationError([Problem("there is no such file", file=str(config_path))]) from None
    for folder in ([manifest_path.parent] if manifest_path is not None else []) + [Path()]:
        try:
            return read_runtime_file(folder / RUNTIME_FILE)
        except FileNotFoundError:
            continue
    return None


def _merge(sources: Iterable[_Source]) -> tuple[dict[str, Any], dict[str, str]]:
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for source in sources:
        interpreter_is_chosen = "python_executable" in values
        for name, value in source.values.items():
            if name == "python_executable" and value in PYTHONS_IN_FORCE:
                # This value leaves the choice to the later sources, and to the default.
                origins.setdefault(name, source.origin(name))
            # In one source venv_path wins over python_executable; a source that comes later has no say at all.
            elif name not in values and not (name == "venv_path" and interpreter_is_chosen):
                values[name] = _absolute(name, value, source)
                origins[name] = source.origin(name)
    return values, {name: origins.get(name, "default") for name in FIELDS}


def _absolute(name: str, value: Any, source: _Source) -> Any:
    """A path as it is meant in its file; a command name stays what it is."""
    if name == "nodes":
        return {node_type: _with_paths(own, source) for node_type, own in value.items()}
    if name == "extra_paths":
        return tuple(absolute_path(path, source.folder) for path in value)
    if (name == "venv_path" and value is not None) or (name == "python_executable" and "/" in value):
        return absolute_path(value, source.folder)
    return value


def _with_paths(own: Mapping[str, Any], source: _Source) -> dict[str, Any]:
    """What is set for a node type, with its paths as they are meant in their file."""
    names = {"executable": "python_executable", "venv_path": "venv_path"}
    return {key: _absolute(names.get(key, key), value, source) for key, value in own.items()}


def absolute_path(path: str, folder: Path) -> str:
    """A path that is relative to ``folder``, or begins with ~, without either."""
    return os.path.abspath(folder / os.path.expanduser(path))  # noqa: PTH100, PTH111  ~nobody stays as it is
