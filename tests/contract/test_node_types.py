"""A strict type checker takes every way to write a node that runs, and no other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import remotemedia

# What mypy must refuse is marked so, with its code; the rest must pass.
NODES = """
from collections.abc import AsyncIterator, Iterator
from typing import Any, Optional
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode, register_node

@register_node("contract")
class Contract(MultiprocessNode):
    async def initialize(self) -> None: ...
    async def process(self, data: RuntimeData) -> Optional[RuntimeData]:
        return None
    async def cleanup(self) -> None: ...

@register_node("bare")
class Bare(MultiprocessNode):
    def process(self, data: RuntimeData) -> RuntimeData:
        return data

@register_node("plain")
class Plain(Bare):
    def __init__(self, node_id: str, config: dict[str, Any]) -> None:
        super().__init__(node_id, config)
    def initialize(self) -> None: ...
    def on_interrupt(self) -> None: ...
    def finish(self) -> Optional[RuntimeData]:
        return None
    def cleanup(self) -> None: ...

@register_node("stream")
class Stream(MultiprocessNode):
    def process(self, data: RuntimeData) -> Iterator[RuntimeData | dict[str, RuntimeData] | None]:
        yield data
    def finish(self) -> Iterator[RuntimeData]:
        yield RuntimeData.text("end")

@register_node("async-stream")
class AsyncStream(MultiprocessNode):
    async def initialize(self) -> None:
        await super().initialize()
    async def process(self, data: RuntimeData) -> AsyncIterator[RuntimeData]:
        yield data
    async def on_interrupt(self) -> None:
        await super().on_interrupt()

class Passing(MultiprocessNode):
    async def process(self, data: RuntimeData) -> Iterator[RuntimeData]:
        return iter([data])
register_node("passing")(Passing)
louder: type[Plain] = register_node("louder")(Plain)

class Wrong(MultiprocessNode):
    def process(self, data: RuntimeData) -> str:  # refused: override
        return "text"
register_node("no-node")(int)  # refused: type-var
"""


@pytest.mark.watchdog(300)
def test_mypy_takes_the_ways_to_write_a_node(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    file = tmp_path / "nodes.py"
    file.write_text(NODES)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(file)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(Path(remotemedia.__file__).parents[1]), "MYPY_CACHE_DIR": str(tmp_path)},
    )
    said = re.findall(r"nodes\.py:(\d+): error: .* \[([\w-]+)\]", done.stdout)
    refused = re.findall(r"# refused: ([\w-]+)", NODES)
    lines = [number for number, line in enumerate(NODES.splitlines(), 1) if "# refused" in line]
    assert said == [(str(line), code) for line, code in zip(lines, refused, strict=True)], done.stdout + done.stderr
