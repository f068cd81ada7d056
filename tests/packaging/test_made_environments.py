"""Environments that are really made, by pip and by uv: once, by one process at a time, or not at all; with an index."""

from __future__ import annotations

import asyncio
import json
import os
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from remotemedia import environments
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocess.classes import registry
from remotemedia.core.multiprocessing import InitProgress, MultiprocessConfig, Pipeline, Session, register_node
from remotemedia.environments import Wanted
from remotemedia.errors import ProcessSpawnError
from tests.process.python_nodes import WhichPython

pytestmark = pytest.mark.usefixtures("leak_check")

KIND = "t-required"


def made(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_dir()} if folder.exists() else set()


async def make(*requirements: str, version: str = "") -> list[str]:
    said: list[str] = []
    await environments.make(Wanted(requirements, version), said.append)
    return said


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


def test_one_that_was_killed_half_made_is_made_anew_once(
    cache: Path, wheel: Callable[..., str], first_step: str
) -> None:
    """By the first of two who want it; the second one waits for it."""
    wanted = Wanted((wheel("only_there", "1.0"),))

    async def main() -> list[list[str]]:
        steps: asyncio.Queue[str] = asyncio.Queue()
        making = asyncio.create_task(environments.make(wanted, steps.put_nowait))
        while not (await steps.get()).startswith(first_step):
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


def test_the_making_ends_with_its_program(cache: Path, wheel: Callable[..., str], first_step: str) -> None:
    """Whatever kills that: its installer is gone, and what it made is not taken for an environment."""
    code = (
        "import asyncio, sys; from remotemedia.environments import Wanted, make\n"
        "asyncio.run(make(Wanted((sys.argv[1],)), lambda text: print(text, flush=True)))"
    )
    program = [sys.executable, "-c", code, wheel("only_there", "1.0")]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith(first_step):
            pass
        found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True).stdout
        (maker,) = (os.pidfd_open(int(pid)) for pid in found.split())
        process.kill()
    watched = select.poll()
    watched.register(maker, select.POLLIN)
    assert watched.poll(20_000)
    os.close(maker)
    assert environments.all_made() == []


def test_without_network_it_is_one_error(cache: Path, monkeypatch: pytest.MonkeyPatch, installer: str) -> None:
    monkeypatch.setenv(*{"pip": ("PIP_INDEX_URL", "http://127.0.0.1:9/"), "uv": ("UV_OFFLINE", "1")}[installer])
    with pytest.raises(ProcessSpawnError) as raised:
        asyncio.run(make("only_there"))
    said = str(raised.value)
    assert said.startswith("the environment of only_there (Python 3.") and "\n" not in said
    assert "cannot be made: the package index cannot be reached; " in said
    assert environments.all_made() == []
