"""Environments made of requirements: made once, by one process at a time, and whole or not at all."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

from remotemedia import environments
from remotemedia.core.multiprocess.classes import registry
from remotemedia.core.multiprocessing import (
    MultiprocessConfig,
    MultiprocessNode,
    Pipeline,
    PipelineError,
    ProcessSpawnError,
    Session,
    register_node,
)
from remotemedia.environments import Wanted
from remotemedia.environments._store import note
from remotemedia.errors import ConfigurationError
from tests.process.python_nodes import Requiring

pytestmark = pytest.mark.usefixtures("leak_check")

KIND = "t-required"


@pytest.fixture
def node_type() -> Any:
    register_node(KIND)(Requiring)
    yield lambda *requirements: setattr(Requiring, "requirements", requirements)
    registry._nodes.pop(KIND)


def made(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_dir()} if folder.exists() else set()


async def make(*requirements: str, version: str = "") -> list[str]:
    said: list[str] = []
    await environments.make(Wanted(requirements, version), said.append)
    return said


@pytest.mark.parametrize(
    ("requirement", "variables", "said"),
    [
        ("/no/such/file.whl", {}, "/no/such/file.whl"),
        (
            "only_there",
            {"PIP_INDEX_URL": "http://127.0.0.1:9/"},
            "the package index cannot be reached; Could not find a",
        ),
        ("only_there==9", {"REMOTEMEDIA_INSTALLER": "conda"}, "REMOTEMEDIA_INSTALLER must be uv or pip, not 'conda'"),
        ("only_there==9", {"REMOTEMEDIA_INSTALLER": "uv", "PATH": "/none"}, "and there is no uv in PATH"),
    ],
)
def test_what_cannot_be_made_is_one_error(
    cache: Path, monkeypatch: pytest.MonkeyPatch, requirement: str, variables: dict[str, str], said: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ProcessSpawnError) as raised:
        asyncio.run(make(requirement))
    assert str(raised.value).startswith(f"the environment of {requirement} (Python 3.")
    assert said in str(raised.value) and "\n" not in str(raised.value)
    assert environments.all_made() == []


def test_a_python_that_is_not_there(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/none")
    with pytest.raises(ProcessSpawnError, match=r"there is no python3\.99 in PATH: install Python 3\.99, or uv"):
        asyncio.run(make("numpy", version="3.99"))


def test_what_a_class_declares_counts_where_nobody_said_anything(px: Any, cache: Path, node_type: Any) -> None:
    """What this Python has is no reason for another one; what it lacks is."""

    async def error_of(config: MultiprocessConfig | None = None, **node: Any) -> str:
        session = Session("s", Pipeline().add_node(KIND, "n", **node), config)
        try:
            await session.initialize()
        except (ProcessSpawnError, PipelineError) as error:
            return str(error)
        finally:
            await session.cleanup()
        return ""

    async def main() -> None:
        node_type("numpy>=1.26", "pytest; python_version < '3'")
        assert await error_of() == ""
        node_type("/no/such/file.whl")
        assert (await error_of()).startswith("node 'n': the environment of /no/such/file.whl (Python 3.")
        assert await error_of(python={"executable": sys.executable}) == ""
        assert await error_of(MultiprocessConfig(venv_path=sys.prefix)) == ""
        node_type("--pre")
        assert (await error_of()).startswith("node 'n': requirements of node type 't-required' must be a list of req")

    px.run(main())
    assert made(cache) == {Wanted(("/no/such/file.whl",)).key}


def test_a_program_that_embeds_python_is_not_started_to_make_one(
    px: Any, cache: Path, node_type: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)

    async def main() -> None:
        session = Session("s", Pipeline().add_node(KIND, "n", python={"requirements": ["numpy"]}))
        with pytest.raises(ProcessSpawnError, match=r"node .n.: this program is frozen, and sys.exec"):
            await session.initialize()
        await session.cleanup()

    px.run(main())
    assert made(cache) == set()


def test_requirements_that_are_met_here() -> None:
    met = ["numpy", "numpy>=1.26,<99", "NumPy", "nothing; sys_platform == 'win32'"]
    unmet = ["numpy<1", "no-such-package", "numpy @ file:///numpy.whl", "/a/file.whl", "not a requirement"]
    assert environments.unmet([*met, *unmet]) == unmet


def test_removing(cache: Path) -> None:
    wanted = Wanted(("nothing",))
    venv.create(wanted.folder, symlinks=True)
    one = note(wanted.folder, wanted, "2026-01-02")
    assert environments.all_made() == [one]
    code = "import signal; print(flush=True); signal.pause()"
    with subprocess.Popen([one.python, "-c", code], stdout=subprocess.PIPE) as running:
        try:
            assert running.stdout is not None and running.stdout.readline() == b"\n"
            with pytest.raises(ConfigurationError, match=f"processes run on it: {running.pid}; --force removes it"):
                environments.remove([wanted.key[:6]])
            with pytest.raises(ConfigurationError, match="there is no environment of that name"):
                environments.remove([wanted.key, "zz"], force=True)
            assert environments.find(wanted) == one
        finally:
            running.kill()
    assert environments.remove([wanted.key[:6]]) == [one]
    assert environments.all_made() == [] and made(cache) == set()


def test_a_note_that_makes_no_sense_is_no_environment(cache: Path) -> None:
    for number, text in enumerate(
        ["", "{}", "[]", '{"requirements": 5, "version": 1, "size_bytes": "x", "made_at": 0}']
    ):
        folder = cache / str(number)
        folder.mkdir(parents=True)
        (folder / "environment.json").write_text(text)
    assert environments.all_made() == []
    assert MultiprocessNode.requirements == ()
