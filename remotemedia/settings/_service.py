"""The service's settings from four sources: command line, environment, ``[service]`` of runtime.toml, defaults."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from remotemedia._naming import unknown_key
from remotemedia._rules import TOKEN
from remotemedia._telling import json_shown
from remotemedia.errors import ConfigurationError, Problem
from remotemedia.service.config import ServiceConfig
from remotemedia.settings._keys import SERVICE_RULES
from remotemedia.settings._resolve import absolute_path, find_runtime_file

__all__ = ["ServiceSettings", "resolve_service_settings"]

_ENVIRONMENT = {
    "GRPC_AUTH_TOKENS": "tokens",
    "GRPC_REQUIRE_AUTH": "require_auth",
    "GRPC_MAX_MEMORY_MB": "max_node_memory_bytes",
    "GRPC_MAX_TIMEOUT_SEC": "max_execution_secs",
    "GRPC_JSON_LOGGING": "json_log",
}
_MOST_BYTES = 1024 * 1024


@dataclass(frozen=True)
class ServiceSettings:
    """The effective settings of the service.

    Attributes:
        config: the settings.
        origins: where each field of ``config`` comes from: "command line", the name of a variable, "runtime.toml line
            4" (or another file's name), or "default".
        file: the ``runtime.toml`` that was read; None when there was none.
    """

    config: ServiceConfig
    origins: dict[str, str]
    file: Path | None


@dataclass(frozen=True)
class _Found:
    value: Any
    origin: str


def resolve_service_settings(
    *,
    config_path: Path | None = None,
    overrides: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> ServiceSettings:
    """The settings in force; the first source that has one wins: overrides, environment, ``runtime.toml``, defaults.

    Reads ``config_path``, or ``runtime.toml`` in the current folder, and the file of tokens that is named. A relative
    path in a file is relative to that file's folder.

    Args:
        config_path: the file to read; it must be there.
        overrides: options of the command line, by the names of ServiceConfig; ``token_file`` instead of ``tokens``.
        environment: the variables; ``os.environ`` when left out.

    Raises:
        ConfigurationError: a file, a variable or a value is wrong; the message has every problem, and no token.
    """
    runtime = find_runtime_file(None, config_path)
    problems: list[Problem] = list(runtime.problems) if runtime is not None else []
    found: dict[str, _Found] = {}
    for name, value in (overrides or {}).items():
        rule = SERVICE_RULES.get(name)
        message = unknown_key(name, SERVICE_RULES) if rule is None else rule.wrong(value, "", json_shown)
        if message:
            problems.append(Problem(message, name))
        else:
            _note(found, name, _absolute(name, value, Path()), "command line", problems)
    for variable, name, value in _read_environment(os.environ if environment is None else environment, problems):
        _note(found, name, value, variable, problems)
    if runtime is not None:
        for name, value in runtime.service_values.items():
            origin = f"{runtime.path} line {runtime.lines[name]}"
            _note(found, name, _absolute(name, value, runtime.path.parent), origin, problems)
    if problems:
        raise ConfigurationError(problems)
    try:
        config = ServiceConfig(**{name: entry.value for name, entry in found.items()})
    except (TypeError, ValueError) as error:
        raise ConfigurationError([Problem(str(error))]) from None
    origins = {name: found[name].origin if name in found else "default" for name in ServiceConfig.RULES}
    return ServiceSettings(config, origins, runtime.path if runtime is not None else None)


def _note(found: dict[str, _Found], name: str, value: Any, origin: str, problems: list[Problem]) -> None:
    """Remembers a value unless a source before this one has given it; a file of tokens is read for that."""
    name_meant = "tokens" if name == "token_file" else name
    if name_meant in found:
        return
    if name == "token_file" and isinstance(value, str):
        value = _read_tokens(Path(value), problems)
    found[name_meant] = _Found(value, origin)


def _absolute(name: str, value: Any, folder: Path) -> Any:
    """A path as it is meant in its file; a command name stays what it is."""
    if name in ("token_file", "tls_certificate", "tls_key", "tls_client_ca") and isinstance(value, str):
        return absolute_path(value, folder)
    if name in ("allowed_venvs", "allowed_extra_paths") and isinstance(value, list | tuple):
        return tuple(absolute_path(str(path), folder) for path in value)
    if name == "allowed_pythons" and isinstance(value, list | tuple):
        return tuple(absolute_path(path, folder) if "/" in str(path) else path for path in value)
    return value


# --- environment -------------------------------------------------------------------------------------------------


def _read_environment(environment: Mapping[str, str], problems: list[Problem]) -> Iterator[tuple[str, str, Any]]:
    if (address := environment.get("GRPC_BIND_ADDRESS")) is not None:
        # As upstream's users write it; an IPv6 address has brackets around it.
        match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\[\]:\s]+)):(\d{1,5})", address)
        if match is None or int(match[3]) > 65535:
            problems.append(Problem(f"must be ADDRESS:PORT, not {address!r}", "GRPC_BIND_ADDRESS"))
        else:
            yield "GRPC_BIND_ADDRESS", "host", match[1] or match[2]
            yield "GRPC_BIND_ADDRESS", "port", int(match[3])
    for variable, name in _ENVIRONMENT.items():
        if (text := environment.get(variable)) is None:
            continue
        says, parse = _PARSERS[name]
        try:
            value = parse(text)
        except (ValueError, OverflowError):
            value = None
        if value is None or ServiceConfig.RULES[name].refusal(value):
            shown = "" if name == "tokens" else f", not {text!r}"
            problems.append(Problem(f"must be {says}{shown}", variable))
        else:
            yield variable, name, value


def _parse_flag(text: str) -> bool | None:
    return {"true": True, "1": True, "false": False, "0": False}.get(text.lower())


def _parse_tokens(text: str) -> tuple[str, ...] | None:
    # Tokens that come to nothing are a mistake: the service would be open, without the operator's knowing.
    return tuple(filter(None, map(str.strip, text.split(",")))) or None


_FLAG_SAYS = "true or false (or 1 or 0)"
_PARSERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "tokens": ("tokens of visible ASCII characters, with commas between them", _parse_tokens),
    "require_auth": (_FLAG_SAYS, _parse_flag),
    "max_node_memory_bytes": ("a whole number of MiB, at least 1", lambda text: int(text) << 20),
    "max_execution_secs": ("a positive number of seconds", float),
    "json_log": (_FLAG_SAYS, _parse_flag),
}


# --- the file of tokens ------------------------------------------------------------------------------------------


def _read_tokens(path: Path, problems: list[Problem]) -> tuple[str, ...]:
    """One token a line; # begins a comment. Says what is wrong without quoting the file."""
    try:
        if path.exists() and not path.is_file():
            problems.append(Problem("is not a file", file=str(path)))
            return ()
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        problems.append(Problem(f"the file of tokens cannot be read: {error.strerror}", file=str(path)))
        return ()
    if len(data) > _MOST_BYTES:
        problems.append(Problem(f"has more than {_MOST_BYTES} bytes: that is not a file of tokens", file=str(path)))
        return ()
    tokens = []
    for number, line in enumerate(data.decode("utf-8-sig", errors="replace").splitlines(), 1):
        token = line.strip()
        if not token or token.startswith("#"):
            continue
        if TOKEN.refusal(token):
            problems.append(Problem(f"a token is {TOKEN.says}", "", str(path), number))
        tokens.append(token)
    if not tokens:
        problems.append(Problem("has no token in it", file=str(path)))
    return tuple(tokens)
