"""A cache of the test's own, and environments that are made in a moment: they need no download but a tiny one."""

from __future__ import annotations

import os
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@pytest.fixture(params=["pip", "uv"])
def installer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What environments are made with in this test."""
    with_tools = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    if request.param == "uv" and shutil.which("uv", path=with_tools) is None:
        pytest.skip("there is no uv")
    monkeypatch.setenv("PATH", with_tools)
    monkeypatch.setenv("REMOTEMEDIA_INSTALLER", request.param)
    return str(request.param)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installer: str) -> Path:
    """Where environments go in this test."""
    monkeypatch.setenv("REMOTEMEDIA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache-of-uv"))
    return tmp_path / "cache" / "environments"


@pytest.fixture
def first_step(installer: str) -> str:
    """How the first thing begins that the installer says when it installs."""
    return {"pip": "Collecting", "uv": "Resolved"}[installer]


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
