"""Errors about missing libraries say to install remotemedia from where it is: no package index carries it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import remotemedia
from remotemedia import _install

REPOSITORY = Path(__file__).parents[2]
FOLDERS = ("remotemedia", "docs", "examples", "bench", "tools", "proof")
# By an installer, with options and quotes before the name; another name that begins with it is not ours.
BARE = re.compile(r"\b(?:pip3?|uv|pipx|poetry|pdm)\b[\w ]*\b(?:install|add)\s(?:-\S+\s+)*['\"]?remotemedia(?![\w/-])")


def test_nobody_is_sent_to_an_index() -> None:
    files = [path for path in REPOSITORY.iterdir() if path.is_file() and path.suffix in {".md", ".toml", ".py", ""}]
    for folder in FOLDERS:
        files += [path for path in (REPOSITORY / folder).rglob("*") if path.suffix in {".md", ".py", ".pyi", ".yaml"}]
    assert len(files) > 100
    found = [
        f"{path.relative_to(REPOSITORY)}: {match[0]}"
        for path in files
        for match in BARE.finditer(path.read_text(errors="replace"))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "is_bare"),
    [
        ("pip install 'remotemedia[grpc]'", True),
        ("python -m pip install --upgrade remotemedia (it said", True),
        ("uv pip install remotemedia", True),
        ("pip install remotemedia-sdk", False),
        ("pip install '.[grpc]'", False),
        ("pip install '/path/to/remotemedia[grpc]'", False),
    ],
)
def test_the_pattern_bites(text: str, is_bare: bool) -> None:
    assert bool(BARE.search(text)) is is_bare


def test_from_a_checkout() -> None:
    root = Path(remotemedia.__file__).parents[1]
    assert _install.install_advice("grpc") == f"{sys.executable} -m pip install '{root}[grpc]'"
    assert _install.install_advice(python="/a b/python") == f"'/a b/python' -m pip install {root}"


def advice(folder: Path, direct_url: object = None, *, pyproject: str = "") -> str:
    """The advice of a package in ``folder``, without the interpreter."""
    (folder / "remotemedia").mkdir(parents=True)
    for name in ("__init__.py", "_install.py"):
        shutil.copy(REPOSITORY / "remotemedia" / name, folder / "remotemedia")
    info = folder / "remotemedia-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: remotemedia\nVersion: 0.1.0\n")
    if direct_url is not None:
        (info / "direct_url.json").write_text(direct_url if isinstance(direct_url, str) else json.dumps(direct_url))
    if pyproject:
        (folder / "pyproject.toml").write_text(pyproject)
    script = "from remotemedia._install import install_advice; print(install_advice('speech'))"
    # Without this checkout, which an environment may have in its path.
    arguments = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(folder)!r}); {script}"]
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip().replace(f"{sys.executable} -m pip install ", "")


def test_from_what_was_installed(tmp_path: Path) -> None:
    source = tmp_path / "the checkout"
    source.mkdir()
    there = advice(tmp_path / "1", {"url": source.as_uri(), "dir_info": {}})
    assert there == f"'{source}[speech]'"
    wheel = tmp_path / "remotemedia-0.1.0-cp311-linux.whl"
    wheel.touch()
    assert advice(tmp_path / "2", {"url": wheel.as_uri(), "archive_info": {}}) == f"'{wheel}[speech]'"
    noted = {"url": "ssh://git@host/media.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}, "subdirectory": "py"}
    expected = "'remotemedia[speech] @ git+ssh://git@host/media.git@abc#subdirectory=py'"
    assert advice(tmp_path / "3", noted) == expected


@pytest.mark.parametrize(
    "noted",
    [None, "{", "[]", {"url": "file:///gone/remotemedia"}, {"vcs_info": {}}, {"url": "file:///x", "vcs_info": {}}],
    ids=["nothing", "cut short", "a list", "gone", "no address", "no version"],
)
def test_from_where_nobody_knows(tmp_path: Path, noted: object) -> None:
    """Nor is a project that has the package inside it the package's checkout."""
    told = advice(tmp_path / "site", noted, pyproject="[project]\nname = 'theirs'\n")
    assert told == "install it from its checkout, '/path/to/remotemedia[speech]'"
