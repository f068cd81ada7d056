"""A cache of the test's own, and environments that are made in a moment: they need no download but a tiny one."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where environments go in this test."""
    monkeypatch.setenv("REMOTEMEDIA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("REMOTEMEDIA_INSTALLER", "pip")
    return tmp_path / "cache" / "environments"


@pytest.fixture
def wheel(tmp_path: Path) -> Callable[[str, str], str]:
    """``wheel(name, version)`` is a package whose module of that name has its WORD; the path of its file."""

    def make(name: str, version: str) -> str:
        path = tmp_path / f"{name}-{version}-py3-none-any.whl"
        info = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(f"{name}.py", f"WORD = {version!r}\n")
            file.writestr(f"{info}/METADATA", METADATA.format(name=name, version=version))
            file.writestr(f"{info}/WHEEL", WHEEL)
            file.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
        return str(path)

    return make
