"""What to type if remotemedia, or a library of one of its extras, is missing.

No package index carries it, and anyone could take its name there: a source is always a path or an address.
"""

from __future__ import annotations

import importlib.metadata
import json
import shlex
import sys
import tomllib
import urllib.parse
import urllib.request
from pathlib import Path

__all__ = ["install_advice", "source"]

_NAME = "remotemedia"


def install_advice(extra: str = "", python: str = "") -> str:
    """The command that installs remotemedia with ``extra`` for ``python``, else for the running interpreter.

    It names the checkout that this package runs from, or else the source that it was installed from. If neither exists
    any more, the user has to fill in the path of the checkout.
    """
    found = source()
    extras = f"[{extra}]" if extra else ""
    if found is None:
        requirement = f"/path/to/{_NAME}{extras}"
    else:
        requirement = found + extras if found.startswith("/") else f"{_NAME}{extras} @ {found}"
    command = f"{shlex.quote(python or sys.executable or 'python')} -m pip install {shlex.quote(requirement)}"
    return command if found is not None else f"install it from its checkout, {command}"


def source() -> str | None:
    """Where this package comes from: the path of its checkout, or the path or address it was installed from."""
    root = Path(__file__).resolve().parents[1]
    return str(root) if _is_checkout(root) else _installed_from(root)


def _is_checkout(root: Path) -> bool:
    try:
        with (root / "pyproject.toml").open("rb") as file:
            return bool(tomllib.load(file)["project"]["name"] == _NAME)
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _installed_from(root: Path) -> str | None:
    """The path or address that an installer recorded beside the package in ``root`` (PEP 610)."""
    for found in importlib.metadata.distributions(name=_NAME, path=[str(root)]):
        try:
            noted = json.loads(found.read_text("direct_url.json") or "")
            return _as_source(noted)
        except (ValueError, LookupError, TypeError):
            continue
    return None


def _as_source(noted: dict[str, dict[str, str]]) -> str | None:
    url, versioned = str(noted["url"]), noted.get("vcs_info")
    if url.startswith("file:") and versioned is None:
        path = urllib.request.url2pathname(urllib.parse.urlsplit(url).path)
        return path if Path(path).exists() else None
    if versioned is not None:
        url = f"{versioned['vcs']}+{url}@{versioned['commit_id']}"
    return f"{url}#subdirectory={noted['subdirectory']}" if "subdirectory" in noted else url
