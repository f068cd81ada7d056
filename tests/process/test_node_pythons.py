"""Nodes of one session, each on a Python of its own and with variables of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocess.classes import registry
from remotemedia.core.multiprocess.session import interpreters
from remotemedia.core.multiprocessing import (
    MultiprocessConfig,
    MultiprocessExecutor,
    NodeInitializationError,
    Pipeline,
    PipelineError,
    ProcessCrashError,
    ProcessSpawnError,
    Session,
    register_node,
)
from tests.process.python_nodes import WhichPython
from tests.process.test_interpreters import make_environment, packages

pytestmark = pytest.mark.usefixtures("leak_check", "_node_type")

KIND = "t-which-python"


@pytest.fixture
def _node_type() -> Iterator[None]:
    register_node(KIND)(WhichPython)
    yield
    registry._nodes.pop(KIND)


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two with another version of one library each."""
    made = [make_environment(tmp_path_factory.mktemp("environment") / name) for name in ("one", "two")]
    for folder in made:
        (packages(folder) / "only_there.py").write_text(f"WORD = {folder.name!r}\n")
    return str(made[0]), str(made[1])


def another_python() -> str | None:
    """A Python 3.11 or newer of another version than this one, in PATH or where pyenv keeps them."""
    own = f"python3.{sys.version_info.minor}"
    folders = [None, *sorted(map(str, Path.home().glob(".pyenv/versions/*/bin")))]
    names = [f"python3.{minor}" for minor in range(11, 20) if f"python3.{minor}" != own]
    for found in (shutil.which(name, path=folder) for name in names for folder in folders):
        # What is in the path may only be a launcher of what is not installed.
        if found is not None and subprocess.run([found, "-V"], capture_output=True).returncode == 0:
            return found
    return None


async def answer(session: Session, node_id: str, *variables: str) -> Any:
    await session.send(node_id, RuntimeData.text(" ".join(variables)))
    return json.loads((await session.receive(node_id)).payload)


def apart(environments: tuple[str, str]) -> Pipeline:
    one, two = environments
    return (
        Pipeline()
        .add_node(KIND, "one", python={"venv_path": one}, env={"ONLY": "mine"})
        .add_node(KIND, "two", python={"executable": f"{two}/bin/python"})
        .add_node(KIND, "usual")
    )


def test_each_node_has_its_own_libraries_and_variables(px: Any, environments: tuple[str, str]) -> None:
    async def main() -> None:
        async with Session("s", apart(environments)) as session:
            version = [str(part) for part in sys.version_info[:2]]
            assert await answer(session, "one", "ONLY") == [environments[0], "one", version, ["mine"]]
            assert await answer(session, "two", "ONLY") == [environments[1], "two", version, [None]]
            assert await answer(session, "usual", "ONLY") == [sys.prefix, None, version, [None]]
            assert {node.state.value for node in session.get_status().nodes.values()} <= {"ready", "processing"}
        assert session.pids == {}

    px.run(main())


def test_data_interruption_and_a_crash_are_as_with_one(px: Any, environments: tuple[str, str]) -> None:
    one, two = environments
    pipeline = Pipeline().add_node("t-echo", "first", python={"venv_path": one})
    pipeline.add_node(KIND, "second", python={"venv_path": two}).connect("first", "output", "second", "input")

    async def main() -> None:
        session = Session("s", pipeline)
        await session.initialize()
        await session.start()
        await session.send("first", RuntimeData.text("wait"))
        await session.interrupt()
        await session.send("first", RuntimeData.text("PATH"))
        assert json.loads((await session.receive("second")).payload)[1] == "two"
        await session.send("first", RuntimeData.text("crash"))
        with pytest.raises(ProcessCrashError) as raised:
            await session.receive("second")
        assert (raised.value.node_id, raised.value.exit_code) == ("second", 7)
        await session.cleanup()

    px.run(main())


def test_the_settings_of_a_type_hold_where_the_node_says_nothing(px: Any, environments: tuple[str, str]) -> None:
    one, two = environments
    config = MultiprocessConfig(nodes={KIND: {"venv_path": one, "env": {"ONLY": "type's", "TOO": "type's"}}})
    pipeline = Pipeline().add_node(KIND, "typed", env={"ONLY": "mine"})
    pipeline.add_node(KIND, "own", python={"venv_path": two})

    async def main() -> None:
        async with Session("s", pipeline, config) as session:
            assert (await answer(session, "typed", "ONLY", "TOO"))[1::2] == ["one", ["mine", "type's"]]
            assert (await answer(session, "own"))[1] == "two"

    px.run(main())


def test_node_by_node(px: Any, environments: tuple[str, str]) -> None:
    async def main() -> None:
        async with MultiprocessExecutor() as executor:
            python = {"venv_path": environments[0]}
            handle = await executor.execute_node(KIND, "one", python=python, env={"ONLY": "mine"})
            session = handle.session
            await executor.start_session()
            assert (await answer(session, "one", "ONLY"))[1::2] == ["one", ["mine"]]

    px.run(main())


def test_another_version_of_python(px: Any, tmp_path: Path) -> None:
    """It is refused in words where remotemedia is not built for it, and this program's own works beside it."""
    other = another_python()
    if other is None:
        pytest.skip("there is no other Python 3.11 or newer here")

    async def main() -> None:
        session = Session("s", Pipeline().add_node(KIND, "n", python={"executable": other}))
        # In a checkout where remotemedia is built for that one as well, numpy is what it lacks.
        lacking = f"{other} cannot import remotemedia: |No module named 'numpy'"
        with pytest.raises((ProcessSpawnError, NodeInitializationError), match=lacking):
            await session.initialize()

    px.run(main())


POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def test_pools_of_threads_share_the_processors(px: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in POOLS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "7")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(9)))
    pipeline = Pipeline().add_node(KIND, "a").add_node(KIND, "b", env={"OMP_NUM_THREADS": "1"})

    async def main() -> None:
        async with Session("s", pipeline) as session:
            assert (await answer(session, "a", *POOLS))[3] == ["4", "4", "7", "4"]
            assert (await answer(session, "b", *POOLS))[3] == ["1", "4", "7", "4"]

    px.run(main())


@pytest.mark.parametrize(
    ("python", "message"),
    [
        ("python3", "python of node 'n': must be a mapping with one of executable, venv_path, requirements, not 'py"),
        ({}, "python of node 'n': must have one of executable, venv_path, requirements"),
        ({"venv": "x"}, "python.venv of node 'n': there is no key 'venv' here; did you mean 'venv_path'?"),
        ({"executable": 5}, "python.executable of node 'n': must be a path or a command name, not 5"),
        ({"venv_path": "x", "executable": "y"}, "python.venv_path of node 'n': must not stand beside executable: one"),
        ({"venv_path": "x", "version": "3.12"}, "python.version of node 'n': must stand beside requirements: the Py"),
        ({"requirements": ["x"], "version": "4"}, "python.version of node 'n': must be a version of Python such as"),
        ({"requirements": ["--pre"]}, "python.requirements of node 'n': must be a list of requirements as pip has"),
        ({"requirements": []}, "python.requirements of node 'n': must be a list of requirements as pip has"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(python: Any, message: str) -> None:
    with pytest.raises(PipelineError, match=re.escape(message)):
        Pipeline().add_node(KIND, "n", python=python)


@pytest.mark.parametrize("env", ["A=b", {"A": 1}, {"A=": "b"}, {"": "b"}, {"A": "\0"}])
def test_wrong_variables_are_refused_and_not_shown(env: Any) -> None:
    with pytest.raises(PipelineError) as raised:
        Pipeline().add_node(KIND, "n", env=env)
    assert str(raised.value) == "env of node 'n' must be environment variables as strings by name"


def test_a_python_that_is_not_there(px: Any, tmp_path: Path) -> None:
    async def main() -> None:
        for python, message in [
            ({"executable": "no-such-python"}, "node 'n': Python executable not found: 'no-such-python'"),
            ({"venv_path": str(tmp_path)}, f"node 'n': venv_path {str(tmp_path)!r} is not a virtual environment"),
        ]:
            session = Session("s", Pipeline().add_node(KIND, "m").add_node(KIND, "n", python=python))
            with pytest.raises(ProcessSpawnError, match=re.escape(message)):
                await session.initialize()
            assert session.pids == {}
            await session.cleanup()

    px.run(main())


def test_another_remotemedia_is_refused(
    px: Any, environments: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interpreters, "__version__", "9.9.9")

    async def main() -> None:
        session = Session("s", apart(environments))
        with pytest.raises(ProcessSpawnError) as raised:
            await session.initialize()
        assert re.fullmatch(
            r"cannot start the process of node '\w+': \S+/python has remotemedia \S+ \(ring \d+\), "
            r"and this program 9.9.9 \(ring \d+\): \S+/python -m pip install \S+",
            str(raised.value),
        )

    px.run(main())


def test_an_older_one_does_not_say_its_version() -> None:
    said = interpreters.other_remotemedia("/old/python", "", 0)
    assert said is not None and said.startswith("/old/python has an older remotemedia, and this program ")
