"""Environments made of requirements: made once, by one process at a time, and whole or not at all."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from remotemedia import environments
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocess.classes import registry
from remotemedia.core.multiprocessing import (
    InitProgress,
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
from tests.process.python_nodes import Requiring, WhichPython

pytestmark = pytest.mark.usefixtures("leak_check")

KIND = "t-required"


@pytest.fixture
def node_type() -> Any:
    register_node(KIND)(Requiring)
    yield lambda *requirements: setattr(Requiring, "requirements", requirements)
    registry._nodes.pop(KIND)


def made(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_dir()} if folder.exists() else set()


def test_two_nodes_with_conflicting_versions_and_nothing_is_made_twice(
    px: Any, cache: Path, wheel: Callable[..., str]
) -> None:
    old, new = wheel("only_there", "1.0"), wheel("only_there", "2.0")
    register_node(KIND)(WhichPython)
    pipeline = Pipeline().add_node(KIND, "old", python={"requirements": [old]})
    pipeline.add_node(KIND, "new", python={"requirements": [new]})
    steps: list[InitProgress] = []

    async def main() -> None:
        for first in (True, False):
            session = Session("s", pipeline, MultiprocessConfig(init_timeout_secs=20))
            await session.initialize(steps.append)
            await session.start()
            for node_id, version in (("old", "1.0"), ("new", "2.0")):
                await session.send(node_id, RuntimeData.text(""))
                prefix, word, *_ = json.loads((await session.receive(node_id)).payload)
                assert (word, Path(prefix).parent) == (version, cache)
            await session.cleanup()
            told = [step for step in steps if "environment" in (step.message or "")]
            steps.clear()
            if first:
                assert {step.node_id for step in told} == {"old", "new"}
                assert {step.status for step in told} == {"starting"}
            else:
                assert told == []

    try:
        px.run(main(), patience_secs=100)
    finally:
        registry._nodes.pop(KIND)
    assert len(made(cache)) == 2
    for one in environments.all_made():
        assert one.size_bytes > 10_000_000 and one.users() == []


async def make(*requirements: str, version: str = "") -> list[str]:
    said: list[str] = []
    await environments.make(Wanted(requirements, version), said.append)
    return said


def test_one_that_was_killed_half_made_is_made_anew_once(cache: Path, wheel: Callable[..., str]) -> None:
    """By the first of two who want it; the second one waits for it."""
    wanted = Wanted((wheel("only_there", "1.0"),))

    async def main() -> list[list[str]]:
        steps: asyncio.Queue[str] = asyncio.Queue()
        making = asyncio.create_task(environments.make(wanted, steps.put_nowait))
        while not (await steps.get()).startswith("Collecting"):
            pass
        making.cancel()
        with pytest.raises(asyncio.CancelledError):
            await making
        assert environments.find(wanted) is None and made(cache) == {wanted.key}
        return await asyncio.gather(make(*wanted.requirements), make(*wanted.requirements))

    said = sorted(asyncio.run(main()), key=len)
    assert said[0] == []
    assert (said[1][0], said[1][-1][:6]) == ("removing what was half made", "made, ")
    assert environments.find(wanted) is not None


def test_the_making_ends_with_its_program(cache: Path, wheel: Callable[..., str], tmp_path: Path) -> None:
    """Whatever kills that: its installer is gone, and what it made is not taken for an environment."""
    code = (
        "import asyncio, sys; from remotemedia.environments import Wanted, make\n"
        "asyncio.run(make(Wanted((sys.argv[1],)), lambda text: print(text, flush=True)))"
    )
    program = [sys.executable, "-c", code, wheel("only_there", "1.0")]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("Collecting"):
            pass
        found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True).stdout
        (maker,) = (os.pidfd_open(int(pid)) for pid in found.split())
        process.kill()
    import select

    watched = select.poll()
    watched.register(maker, select.POLLIN)
    assert watched.poll(20_000)
    os.close(maker)
    assert environments.all_made() == []


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
