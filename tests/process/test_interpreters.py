"""Node processes in another virtual environment, and what is said of one that they cannot run in."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest

import remotemedia
from remotemedia.core.multiprocessing import MultiprocessConfig, Pipeline, ProcessSpawnError, Session

PACKAGE = Path(remotemedia.__file__).parent
REPOSITORY = str(PACKAGE.parent)
SEEDS = Path(__file__).parents[1] / "session" / "data"

NODE = """
import sys
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode, register_node

@register_node("needy")
class Needy(MultiprocessNode):
    async def initialize(self):
        import only_there
        self.word = only_there.WORD

    async def process(self, data):
        return RuntimeData.text(f"{self.word} {sys.prefix}")

    async def cleanup(self):
        pass
"""

# Runs one node in the environment it is given; says what came out, or the error.
PROGRAM = """
import asyncio, json, logging, sys
logging.disable()  # what the nodes write to stderr is logged
sys.path.insert(0, sys.argv[1])
import needy
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import MultiprocessConfig, MultiprocessError, Pipeline, Session

async def main():
    pipeline = Pipeline().add_node("needy", "n")
    try:
        async with Session("s", pipeline, MultiprocessConfig(**json.loads(sys.argv[2]))) as session:
            await session.send("n", RuntimeData.text("?"))
            print((await session.receive("n")).payload)
    except MultiprocessError as error:
        print(f"{type(error).__name__}: {error}")

asyncio.run(main())
"""


def packages(environment: Path) -> Path:
    return Path(sysconfig.get_path("purelib", "venv", {"base": str(environment)}))


def make_environment(folder: Path) -> Path:
    """An environment with numpy, and with a module that is only there."""
    venv.create(folder, symlinks=True)
    (packages(folder) / "only_there.py").write_text("WORD = 'found'\n")
    for source in Path(numpy.__file__).parents[1].glob("numpy*"):
        (packages(folder) / source.name).symlink_to(source)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., str]:
    """What the program prints under an interpreter."""
    (tmp_path / "needy.py").write_text(NODE)

    def run(python: str, *, checkout: bool = True, **config: Any) -> str:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        if checkout:
            environment["PYTHONPATH"] = REPOSITORY
        arguments = [python, "-P", "-c", PROGRAM, str(tmp_path), json.dumps(config)]
        done = subprocess.run(arguments, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.strip()

    return run


def test_a_node_whose_dependency_is_in_a_virtual_environment(tmp_path: Path, run: Callable[..., str]) -> None:
    there = make_environment(tmp_path / "there")
    assert run(sys.executable, venv_path=str(there)) == f"found {there}"
    # The folder decides, whatever else is said, and may be named from where the program runs.
    assert run(sys.executable, venv_path="there", python_executable="none") == f"found {there}"
    assert run(sys.executable, python_executable=str(there / "bin" / "python")) == f"found {there}"
    assert "ModuleNotFoundError: No module named 'only_there'" in run(sys.executable)


QUICK_START = """
import asyncio
from pathlib import Path
import numpy as np
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import Pipeline, Session
from remotemedia.settings import import_node_modules, resolve_settings

async def main():
    config = resolve_settings().config  # of the runtime.toml in this folder
    import_node_modules(extra_paths=config.extra_paths)
    async with Session("s", Pipeline().add_node("audio_processor", "louder"), config) as session:
        print(Path(f"/proc/{session.pids['louder']}/cmdline").read_text().partition("\\0")[0])
        await session.send("louder", RuntimeData.audio(np.full(4, 2, "f4"), 24000))
        print((await session.receive("louder")).payload.tolist())
    print(session.get_channel_stats("session_to_louder").capacity, config.cleanup_grace_period_secs)

asyncio.run(main())
"""


def test_the_runtime_file_of_the_quick_start(tmp_path: Path) -> None:
    """As it is, beside the environment and the folder of nodes that it names."""
    make_environment(tmp_path / ".venv")
    (tmp_path / "nodes").mkdir()
    shutil.copy(SEEDS / "my_audio_processor.txt", tmp_path / "nodes" / "my_audio_processor.py")
    shutil.copy(SEEDS / "runtime.toml", tmp_path)
    (tmp_path / "client.py").write_text(QUICK_START)
    done = subprocess.run(
        [sys.executable, "client.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": REPOSITORY},
        capture_output=True,
        text=True,
    )
    said = "[louder] Initializing louder\n[louder] Cleaning up louder\n"  # what the node prints
    assert (done.returncode, done.stderr) == (0, said)
    assert done.stdout == f"{tmp_path}/.venv/bin/python\n[3.0, 3.0, 3.0, 3.0]\n100 5\n"


def test_an_installed_remotemedia_is_not_in_another_environment(tmp_path: Path, run: Callable[..., str]) -> None:
    installed = make_environment(tmp_path / "installed")
    shutil.copytree(PACKAGE, packages(installed) / "remotemedia")
    there = make_environment(tmp_path / "there")
    python = str(installed / "bin" / "python")
    assert run(python, checkout=False) == f"found {installed}"
    said = run(python, checkout=False, venv_path=str(there))
    assert said.startswith(
        f"ProcessSpawnError: cannot start the process of node 'n': {there}/bin/python cannot import remotemedia: "
        f"install it from its checkout, {there}/bin/python -m pip install /path/to/remotemedia (it said: "
    )
    assert said.endswith("(ModuleNotFoundError: No module named 'remotemedia'))")
    assert "\n" not in said


def test_a_checkout_that_is_built_for_another_python(tmp_path: Path, run: Callable[..., str]) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(PACKAGE, checkout / "remotemedia", ignore=shutil.ignore_patterns("_ring.*.so"))
    there = make_environment(tmp_path / "there")
    (packages(there) / "first.pth").write_text(f"import sys; sys.path.insert(0, {str(checkout)!r})\n")
    said = run(sys.executable, venv_path=str(there))
    assert said.startswith(f"ProcessSpawnError: cannot start the process of node 'n': {there}/bin/python cannot import")
    assert f"ImportError: the extension of remotemedia in {checkout}/remotemedia is not built for Python 3." in said


def test_a_python_that_is_too_old(run: Callable[..., str]) -> None:
    found = filter(None, map(shutil.which, ("python3.10", "python3.9", "python3.8")))
    # What is in the path may only be a launcher of what is not installed.
    old = next((path for path in found if subprocess.run([path, "-V"], capture_output=True).returncode == 0), None)
    if old is None:
        pytest.skip("there is no older Python here")
    said = run(sys.executable, python_executable=old)
    assert said == (
        f"ProcessSpawnError: cannot start the process of node 'n': {old} is too old: "
        "remotemedia needs Python 3.11 or newer"
    )


@pytest.mark.usefixtures("leak_check")
def test_a_folder_that_is_no_virtual_environment(px: Any, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()

    async def main() -> None:
        session = Session("s", Pipeline().add_node("t-echo", "n"), MultiprocessConfig(venv_path=str(tmp_path)))
        with pytest.raises(ProcessSpawnError) as raised:
            await session.initialize()
        assert str(raised.value) == (
            f"venv_path {str(tmp_path)!r} is not a virtual environment: there is no interpreter {tmp_path}/bin/python "
            f"(python3 -m venv {tmp_path} makes one)"
        )
        assert session.pids == {}

    px.run(main())


SECRET = "correct-horse-battery-staple"


@pytest.mark.usefixtures("leak_check")
def test_what_ps_shows_has_no_config_and_no_settings(px: Any) -> None:
    async def main() -> None:
        pipeline = Pipeline().add_node("t-echo", "n", {"password": SECRET})
        settings = MultiprocessConfig(extra_paths=(f"/{SECRET}",), channel_capacity=97531)
        async with Session("s", pipeline, settings) as session:
            (pid,) = session.pids.values()
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"--node-id\0n\0" in command
        for shown in (command, environment):
            assert SECRET.encode() not in shown and b"97531" not in shown

    px.run(main())


FLAGS = """
import asyncio, os, sys
ROOT
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import MultiprocessConfig, MultiprocessNode, Pipeline, Session, register_node

@register_node("flags")
class Flags(MultiprocessNode):
    async def initialize(self): pass
    async def process(self, data):
        told = [sys.flags.optimize, sys.flags.isolated, sys.flags.ignore_environment, sys.flags.no_site]
        told += [sys.warnoptions, sorted(sys._xoptions.items()), "evil" in sys.modules, os.environ.get("PYTHONEVIL")]
        print("said at once")
        return RuntimeData.text(repr(told))
    async def cleanup(self): pass

async def main():
    config = MultiprocessConfig(**eval(sys.argv[1]))
    async with Session("s", Pipeline().add_node("flags", "n"), config) as session:
        await session.send("n", RuntimeData.text("?"))
        print((await session.receive("n")).payload)

asyncio.run(main())
"""


@pytest.fixture
def told(tmp_path: Path) -> Callable[..., str]:
    """What a node reports about its interpreter, in a program whose interpreter has these flags.

    What the environment names would be loaded by each interpreter that heeds it, before anything else."""
    evil = tmp_path / "evil"
    evil.mkdir()
    (evil / "sitecustomize.py").write_text("import sys\nsys.modules['evil'] = sys\n")
    (evil / "numpy.py").write_text("raise RuntimeError('this is not numpy')\n")

    def run(
        *flags: str, root: str = REPOSITORY, evil: str = str(evil), python: str = sys.executable, **config: Any
    ) -> str:
        (tmp_path / "flags.py").write_text(FLAGS.replace("ROOT", f"sys.path[:0] = {root.split(':')!r}" if root else ""))
        done = subprocess.run(
            [python, *flags, "flags.py", repr(config)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": evil, "PYTHONEVIL": "1"},
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "[n] said at once\n")
        return done.stdout.strip()

    return run


@pytest.mark.parametrize(
    ("flags", "answer"),
    [
        (["-I", "-O"], [1, 1, 1, 0, [], [], False, None]),
        (["-E", "-OO", "-W", "ignore::UserWarning"], [2, 0, 1, 0, ["ignore::UserWarning"], [], False, None]),
        (["-I", "-X", "utf8", "-s"], [0, 1, 1, 0, [], [("utf8", True)], False, None]),
    ],
)
def test_the_flags_of_the_interpreter_are_those_of_its_nodes(
    told: Callable[..., str], flags: list[str], answer: list[Any]
) -> None:
    assert told(*flags) == repr(answer)


def test_without_site_packages_the_nodes_find_what_the_program_found(told: Callable[..., str]) -> None:
    root = f"{REPOSITORY}:{Path(numpy.__file__).parents[1]}"
    assert told("-S", root=root, evil="") == repr([0, 0, 0, 1, [], [], False, "1"])


def test_another_interpreter_has_none_of_the_flags_and_nothing_of_an_ignored_environment(
    tmp_path: Path, told: Callable[..., str]
) -> None:
    there = make_environment(tmp_path / "there")
    (there / "bin" / "python").unlink()
    shutil.copy(Path(sys.executable).resolve(), there / "bin" / "python")
    assert told("-I", "-O", venv_path=str(there)) == repr([0, 0, 0, 0, [], [], False, None])


# Counts how often it is started. It is a program that embeds Python, whatever its arguments are.
APP = """#!/bin/sh
echo started >> STARTS
exec PYTHON PROGRAM
"""
INSIDE = """
import asyncio, os, sys
sys.path.insert(0, REPOSITORY)
sys.executable = os.environ["APP"]
SETTING
from remotemedia.core.multiprocessing import *

async def main(**config):
    async with MultiprocessExecutor(MultiprocessConfig(**config)) as executor:
        await executor.create_session("s", Pipeline().add_node("AudioChunkerNode", "n"))
        print("ready")

if os.environ.get("REMOTEMEDIA_NODE"):
    asyncio.run(main())
for config in ({}, {"python_executable": PYTHON}):
    try:
        asyncio.run(main(**config))
    except ProcessSpawnError as error:
        print(error)
"""
SET = (
    ": set python_executable to a Python interpreter that has remotemedia, such as "
    'MultiprocessConfig(python_executable="/usr/bin/python3"), or venv_path'
)


@pytest.mark.parametrize(
    ("name", "setting", "starts", "said"),
    [
        (
            "python-app",
            "sys.frozen = True",
            1,
            "this program is frozen, and sys.executable is the program itself" + SET,
        ),
        ("uwsgi", "", 1, "sys.executable is APP, a program that embeds Python and not a Python interpreter" + SET),
        (
            "python-app",
            "sys.executable = ''",
            1,
            "sys.executable is (unknown), a program that embeds Python and not a Python interpreter" + SET,
        ),
        # A program that only looks like an interpreter is recognised at its first session.
        (
            "python-app",
            "",
            2,
            "cannot start the process of node 'n': APP is not a Python interpreter but a program that starts its "
            "session again" + SET,
        ),
    ],
    ids=["frozen", "embedded", "embedded, unknown", "embedded, by a name like an interpreter's"],
)
def test_a_program_that_is_its_own_executable_does_not_start_itself_for_ever(
    tmp_path: Path, name: str, setting: str, starts: int, said: str
) -> None:
    app, program = tmp_path / name, tmp_path / "program.py"
    python = repr(sys.executable)
    program.write_text(
        INSIDE.replace("SETTING", setting).replace("REPOSITORY", repr(REPOSITORY)).replace("PYTHON", python)
    )
    app.write_text(
        APP.replace("STARTS", str(tmp_path / "starts"))
        .replace("PYTHON", sys.executable)
        .replace("PROGRAM", str(program))
    )
    app.chmod(0o755)
    done = subprocess.run([app], env=os.environ | {"APP": str(app)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{said.replace('APP', str(app))}\nready\n"
    assert (tmp_path / "starts").read_text() == "started\n" * starts
