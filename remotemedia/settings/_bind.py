"""Writing into ``runtime.toml`` which Python the nodes of a type run; all else in the file stays as it is."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from remotemedia._drafts import Draft
from remotemedia.errors import ConfigurationError, Problem
from remotemedia.settings._toml import parse_runtime_file

__all__ = ["bind_node_type"]


def bind_node_type(path: Path, node_type: str, python: Mapping[str, Any]) -> None:
    """Gives the table ``[multiprocess.nodes.NODE_TYPE]`` of a file this Python, and creates a missing file.

    ``env`` in that table stays. ConfigurationError, and the file is as it was, where it is wrong already, or has the
    table in another form than under a heading of its own. OSError if it cannot be read or written.
    """
    text = path.read_text("utf-8") if path.exists() else ""
    _refuse_problems(path, text)
    expected = copy.deepcopy(tomllib.loads(text))
    nodes = expected.setdefault("multiprocess", {}).setdefault("nodes", {})
    env = nodes.get(node_type, {}).get("env")
    nodes[node_type] = dict(python) | ({} if env is None else {"env": env})
    kept = _without(text, node_type).rstrip()
    changed = f"{kept}\n\n{_table(node_type, nodes[node_type])}".lstrip()
    with contextlib.suppress(tomllib.TOMLDecodeError):
        if tomllib.loads(changed) == expected:
            _refuse_problems(path, changed)
            _replace(path, changed)
            return
    message = f"its settings of {node_type!r} are not under a heading of their own; write there: {_inline(python)}"
    raise ConfigurationError([Problem(message, file=str(path))])


def _refuse_problems(path: Path, text: str) -> None:
    if problems := parse_runtime_file(path, text).problems:
        raise ConfigurationError(list(problems))


def _table(node_type: str, settings: Mapping[str, Any]) -> str:
    name = node_type if re.fullmatch(r"[\w-]+", node_type, re.ASCII) else json.dumps(node_type)
    return f"[multiprocess.nodes.{name}]\n" + "".join(f"{key} = {_value(value)}\n" for key, value in settings.items())


def _inline(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {_value(value)}" for key, value in settings.items())


def _value(value: Any) -> str:
    """As TOML, whose strings and lists of them are those of JSON."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(key)} = {json.dumps(text)}" for key, text in value.items()) + " }"
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def _without(text: str, node_type: str) -> str:
    """The text without the table of this type. Comments above the next heading belong to that."""
    name = rf"(?:{re.escape(node_type)}|{re.escape(json.dumps(node_type))})"
    own = re.compile(rf"\[\s*multiprocess\s*\.\s*nodes\s*\.\s*{name}\s*\]")
    kept: list[str] = []
    dropped: list[str] | None = None
    for line in text.splitlines(keepends=True):
        if line.startswith("["):
            kept += _comments_at_end(dropped or [], after_blank=not kept or not kept[-1].strip())
            dropped = [] if own.match(line) else None
        (kept if dropped is None else dropped).append(line)
    return "".join(kept)


def _comments_at_end(lines: list[str], *, after_blank: bool) -> list[str]:
    count = 0
    while count < len(lines) - 1 and re.match(r"\s*(#|$)", lines[-1 - count]):
        count += 1
    found = lines[len(lines) - count :]
    while found and after_blank and not found[0].strip():
        del found[0]
    return found


def _replace(path: Path, text: str) -> None:
    draft = Draft(path)
    try:
        with open(os.dup(draft.fd), "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(text)
        draft.keep()
    finally:
        draft.close()
