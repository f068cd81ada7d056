"""``remotemedia validate``: what is right is shown, what is wrong is named with file and line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

NODES = """
from remotemedia.core.multiprocessing import MultiprocessNode, Param, register_node

@register_node("mine")
class Mine(MultiprocessNode):
    params = {"size": Param(int, 1)}
    async def initialize(self): pass
    async def process(self, data): return data
    async def cleanup(self): pass
"""
GRAPH = """version: v1
metadata: {name: fork}
nodes:
- {id: b, node_type: mine}
- {id: joined, node_type: mine}
- {id: a, node_type: mine}
connections:
- {from: a.x, to: b}
- {from: a.y, to: joined.left}
- {from: b, to: joined.right}
outputs: [a]
"""


def test_the_speech_example(remotemedia):
    done = remotemedia("validate", str(ROOT / "examples" / "speech.yaml"))
    assert (done.code, done.err) == (0, "")
    title, *picture = done.out.splitlines()
    assert title.endswith("speech.yaml is right: 'speech', 6 nodes, 5 connections")
    assert " ".join(line.split()[-1] for line in picture) == "chunk.audio vad.audio asr.audio reply.text tts.text out"


def test_node_types_of_a_file_and_a_picture_of_the_graph(remotemedia, tmp_path):
    (tmp_path / "nodes.py").write_text(NODES)
    (tmp_path / "fork.yaml").write_text(GRAPH)
    done = remotemedia("validate", "fork.yaml", "--nodes", "./nodes.py")
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        "fork.yaml is right: 'fork', 3 nodes, 3 connections\n"
        "  in ─► a       mine  x ─► b.input\n"
        "                      y ─► joined.left\n"
        "                      ─► out\n"
        "        b       mine  output ─► joined.right\n"
        "        joined  mine  ─► out\n"
    )


def test_node_types_of_the_extra_paths(remotemedia, tmp_path):
    (tmp_path / "nodes").mkdir()
    (tmp_path / "nodes" / "mine.py").write_text(NODES)
    (tmp_path / "fork.yaml").write_text(GRAPH)
    assert remotemedia("validate", "fork.yaml").code == 2
    (tmp_path / "service.toml").write_text('[multiprocess.python]\nextra_paths = ["./nodes"]\n')
    assert remotemedia("validate", "fork.yaml", "--config", "service.toml").code == 0
    (tmp_path / "service.toml").rename(tmp_path / "runtime.toml")
    assert remotemedia("validate", "fork.yaml").code == 0
    (tmp_path / "runtime.toml").unlink()
    (tmp_path / "fork.yaml").write_text(GRAPH.replace("fork", "fork, multiprocess: {extra_paths: [nodes]}"))
    assert remotemedia("validate", "fork.yaml").code == 0


def test_every_problem_of_every_file(remotemedia, tmp_path):
    (tmp_path / "nodes.py").write_text(NODES)
    wrong = GRAPH.replace("id: b, node_type: mine", "id: b, node_type: mine, params: {sise: 2}").replace("[a]", "[c]")
    wrong = wrong.replace("fork", "fork, multiprocess: {spin_us: -1}")
    (tmp_path / "wrong.yaml").write_text(wrong)
    (tmp_path / "right.yaml").write_text(GRAPH)
    (tmp_path / "bad.json").write_text('{"version": "v1",\n')
    done = remotemedia("validate", "right.yaml", "wrong.yaml", "bad.json", "none.json", "--nodes", "./nodes.py")
    assert (done.code, done.err) == (2, "")
    lines = [line for line in done.out.splitlines() if "─►" not in line]
    expected = [
        r"right\.yaml is right: ",
        r"wrong\.yaml:2: metadata\.multiprocess\.spin_us: must be a whole number",
        r"wrong\.yaml:4: nodes\[0\]\.params\.sise: node 'b': there is no param 'sise'; did you mean 'size'\?",
        r"wrong\.yaml:11: outputs\[0\]: output node 'c': there is no such node; the nodes are: b, joined, a",
        r"bad\.json:2: it is not JSON: ",
        r"none\.json: it cannot be read: No such file or directory",
    ]
    assert len(lines) == len(expected)
    for line, pattern in zip(lines, expected, strict=True):
        assert re.match(pattern, line), line


def test_what_is_wrong_elsewhere_is_told_too(remotemedia, tmp_path):
    (tmp_path / "fork.yaml").write_text(GRAPH)
    (tmp_path / "nodes.py").write_text("import nothing_of_that_name\n")
    (tmp_path / "service.toml").write_text("[multiprocess]\nchannel_capacity = 0\n")
    done = remotemedia("validate", "fork.yaml", "--nodes", "./nodes.py", "--config", "service.toml")
    assert done.code == 2
    assert "service.toml:2: " in done.out
    assert re.search(r"nodes\.py:1: .*nothing_of_that_name", done.out)
    assert "fork.yaml:4: nodes[0].node_type: node 'b': Unknown node type 'mine'" in done.out
    assert "Traceback" not in done.out + done.err


def test_json(remotemedia, tmp_path):
    (tmp_path / "a.json").write_text('{"version": "v1",\n"nodes": [{"id": "a", "node_type": "ReplyNode"}]}')
    (tmp_path / "b.json").write_text('{"version": "v1",\n"nodes": []}')
    done = remotemedia("validate", "a.json", "b.json", "--json")
    assert (done.code, done.err) == (2, "")
    right, wrong = json.loads(done.out)["manifests"]
    assert right == {"file": "a.json", "valid": True, "name": None, "nodes": 1, "connections": 0, "problems": []}
    assert (wrong["valid"], wrong["nodes"]) == (False, None)
    assert wrong["problems"] == [{"message": "must not be empty", "place": "nodes", "file": "b.json", "line": 2}]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["validate"], "Missing argument 'MANIFEST...'"),
        (["validate", "a.json", "--node", "x"], "No such option"),
        (["nodes", "show"], "Missing argument 'TYPE'"),
        (["nodes", "shaw"], "No such command 'shaw'"),
        (["nodes", "list", "--nodes", "none.py"], ""),
        (["nodes", "list", "--config", "none.toml"], ""),
    ],
)
def test_a_mistake_in_the_command(remotemedia, arguments, said):
    done = remotemedia(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"remotemedia: {said}")
    assert done.err.count("\n") == 1


def test_what_the_docs_show(remotemedia, tmp_path):
    docs = (ROOT / "docs" / "manifests.md").read_text()
    (manifest,) = re.findall(r"```yaml\n(.*?)```", docs, re.DOTALL)
    (tmp_path / "speech.yaml").write_text(manifest)
    assert remotemedia("validate", "speech.yaml").code == 0
    (tmp_path / "speech.yaml").write_text(manifest.replace("threshold", "treshold").replace("asr.text", "asr.txt"))
    done = remotemedia("validate", "speech.yaml")
    assert f"$ remotemedia validate speech.yaml\n{done.out}```" in docs
