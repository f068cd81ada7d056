"""A pipeline from a manifest runs, and its nodes find the defaults they declare in their config."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import asyncio
import json

from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode, Param, Pipeline, Session, register_node


@register_node("tell")
class Tell(MultiprocessNode):
    params = {"size": Param(int, 4), "gain": Param(float, 1, help="more"), "words": Param(list, ["a"])}
    inputs = {"text": DataType.TEXT}
    outputs = {"text": DataType.TEXT}

    async def initialize(self):
        pass

    async def process(self, data):
        assert data.port == "text"
        return {"text": RuntimeData.text(data.payload + json.dumps(self.config))}

    async def cleanup(self):
        pass


async def main():
    pipeline = Pipeline.from_manifest('''
version: v1
nodes:
- {id: one, node_type: tell, params: {size: 5}}
- {id: two, node_type: tell}
connections:
- {from: one, to: two}
''')
    async with Session("s", pipeline) as session:
        await session.send("one", RuntimeData.text("x"))
        print((await session.receive("two")).payload)


asyncio.run(main())
"""
SAID = 'x{"size": 5, "gain": 1.0, "words": ["a"]}{"size": 4, "gain": 1.0, "words": ["a"]}\n'


def test_in_a_script(tmp_path):
    (tmp_path / "tell.py").write_text(PROGRAM)
    done = subprocess.run([sys.executable, "tell.py"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, SAID, "")


def test_from_a_prompt_where_the_class_is_in_no_file(tmp_path):
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, SAID, "")
