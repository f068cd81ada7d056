"""Which event loop a node runs on, and that the data do not care."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import MultiprocessConfig, Pipeline, Session

pytestmark = pytest.mark.usefixtures("leak_check")


@pytest.mark.parametrize(("use_uvloop", "module"), [(True, "uvloop"), (False, "asyncio.unix_events")])
def test_nodes_run_on_uvloop_unless_told_not_to(px: Any, use_uvloop: bool, module: str) -> None:
    pipeline = Pipeline().add_node("t-loop", "a").add_node("t-echo", "b").connect("a", "output", "b", "input")

    async def main() -> None:
        async with Session("s", pipeline, MultiprocessConfig(use_uvloop=use_uvloop, channel_capacity=2)) as session:
            array = np.arange(10)
            for _ in range(20):
                await session.send("a", RuntimeData.tensor(array))
                got = await session.receive("b")
                assert got is not None
                assert got.metadata == {"loop": module}
                assert (got.payload == array).all()
            await session.interrupt()
            await session.end_input()
            assert await session.receive("b") is None

    px.run(main())


@pytest.mark.parametrize("value", [None, 1, "yes"])
def test_the_switch_is_a_bool(value: Any) -> None:
    with pytest.raises(TypeError, match="use_uvloop must be true or false"):
        MultiprocessConfig(use_uvloop=value)


FORKS = """
import asyncio, logging, os, sys
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import *

@register_node("forks")
class Forks(MultiprocessNode):
    async def initialize(self): pass
    async def run(self):
        if self.config["where"] == "a callback":
            asyncio.get_running_loop().call_soon(self.fork)
        await super().run()
    async def process(self, data):
        if self.config["where"] == "process":
            self.fork()
        return data
    def fork(self):
        pid = os.fork()
        if not pid:
            sys.exit(7)
        print("child", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    async def cleanup(self):
        print("cleaned up")

async def main():
    config = MultiprocessConfig(use_uvloop=sys.argv[1] == "uvloop", cleanup_grace_period_secs=3600)
    async with Session("s", Pipeline().add_node("forks", "n", {"where": sys.argv[2]}), config) as session:
        await session.send("n", RuntimeData.text("?"))
        assert (await session.receive("n")).payload == "?"

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    asyncio.run(main())
"""


@pytest.mark.parametrize("where", ["process", "a callback"])
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_child_that_a_node_forks_takes_nothing_of_its_event_loop_along(
    px: Any, tmp_path: Path, loop: str, where: str
) -> None:
    """The node hears of the session's end; and in Python's development mode it has nothing to complain of."""
    program = tmp_path / "forks.py"
    program.write_text(FORKS)
    environment = os.environ | {"PYTHONPATH": px.REPOSITORY, "PYTHONDEVMODE": "1"}
    done = subprocess.run([sys.executable, program, loop, where], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "child 7\ncleaned up\n", "")
