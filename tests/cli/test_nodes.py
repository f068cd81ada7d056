"""``remotemedia nodes``: which types there are, and what each takes and gives."""

from __future__ import annotations

import json
import subprocess
import sys

import remotemedia.nodes
from remotemedia.core.multiprocessing import registered_nodes

NODES = '''
from remotemedia.core.data import DataType
from remotemedia.core.multiprocessing import MultiprocessNode, Param, register_node

class Base(MultiprocessNode):
    async def initialize(self): pass
    async def process(self, data): return data
    async def cleanup(self): pass

@register_node("mine")
class Mine(Base):
    """Does ``something``
    to sound.

    And more.
    """
    params = {"size": Param(int, 1, low=0, high=9, help="in meters"), "path": Param(str), "device": Param(str, None)}
    inputs = {"sound": DataType.AUDIO, "any": None}
    outputs = {"both": (DataType.TEXT, DataType.TENSOR)}

@register_node("free")
class Free(Base):
    pass

@register_node("closed")
class Closed(Base):
    params, inputs, outputs = {}, {}, {}
'''


def test_list(remotemedia, tmp_path):
    done = remotemedia("nodes", "list")
    assert (done.code, done.err) == (0, "")
    assert [line.split()[0] for line in done.out.splitlines()] == sorted(remotemedia_nodes())
    (tmp_path / "mine.py").write_text(NODES)
    done = remotemedia("nodes", "list", "--nodes", "./mine.py")
    assert (done.code, done.err) == (0, "")
    assert "mine                 Does something to sound.\n" in done.out
    assert "\nfree\n" in done.out


def remotemedia_nodes():
    return [*remotemedia.nodes.__all__, "whisper", "vibe_voice", "lfm2_audio", "LFM2Node"]


def test_list_as_json(remotemedia):
    done = remotemedia("nodes", "list", "--json")
    assert (done.code, done.err) == (0, "")
    assert [node["node_type"] for node in json.loads(done.out)["nodes"]] == sorted(remotemedia_nodes())


def test_show(remotemedia, tmp_path):
    (tmp_path / "mine.py").write_text(NODES)
    done = remotemedia("nodes", "show", "mine", "--nodes", "./mine.py")
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        "mine (mine.Mine)\n"
        "\n"
        "  Does something\n"
        "  to sound.\n"
        "\n"
        "  And more.\n"
        "\n"
        "Inputs:\n"
        "  sound  AUDIO\n"
        "  any    any type\n"
        "Outputs:\n"
        "  both  TEXT or TENSOR\n"
        "Params:\n"
        "  size    a whole number from 0 to 9, default 1: in meters\n"
        "  path    a non-empty string, required\n"
        "  device  a non-empty string or null, default null\n"
    )


def test_show_what_is_not_declared_and_what_there_is_none_of(remotemedia, tmp_path):
    (tmp_path / "mine.py").write_text(NODES)
    done = remotemedia("nodes", "show", "free", "--nodes", "./mine.py")
    kinds = ("Inputs", "Outputs", "Params")
    assert done.out == "free (mine.Free)\n\n" + "".join(f"{kind}: not declared, anything goes\n" for kind in kinds)
    done = remotemedia("nodes", "show", "closed", "--nodes", "./mine.py")
    assert done.out == "closed (mine.Closed)\n\n" + "".join(f"{kind}: none\n" for kind in kinds)


def test_show_as_json(remotemedia, tmp_path):
    (tmp_path / "mine.py").write_text(NODES)
    done = remotemedia("nodes", "show", "mine", "--nodes", "./mine.py", "--json")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out) == {
        "node_type": "mine",
        "class": "mine.Mine",
        "summary": "Does something to sound.",
        "requirements": [],
        "inputs": {"sound": ["audio"], "any": None},
        "outputs": {"both": ["text", "tensor"]},
        "optional_outputs": [],
        "port_aliases": {},
        "params": {
            "size": {"type": "int", "required": False, "default": 1, "low": 0, "high": 9, "help": "in meters"},
            "path": {"type": "str", "required": True, "default": None},
            "device": {"type": "str", "required": False, "default": None},
        },
    }
    free = json.loads(remotemedia("nodes", "show", "free", "--nodes", "./mine.py", "--json").out)
    assert (free["inputs"], free["outputs"], free["params"]) == (None, None, None)


def test_every_built_in_type_is_shown(remotemedia):
    for name, cls in registered_nodes().items():
        if name in remotemedia_nodes():
            assert cls.params is not None, name
            # A remote pipeline's ports are known where that is.
            assert (cls.inputs and cls.outputs) or name == "RemotePipelineNode", name
            assert all(param.help for param in cls.params.values()), name
    done = remotemedia("nodes", "show", "EspeakTTSNode")
    assert "  rate         a whole number from 80 to 450, default 175: words per minute\n" in done.out


def test_an_unknown_type(remotemedia):
    done = remotemedia("nodes", "show", "replynode")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "remotemedia: there is no node type 'replynode'; did you mean 'ReplyNode'? "
        "(--nodes makes those of a module known)\n"
    )


def test_a_package_that_does_not_load_is_no_traceback(tmp_path, environment):
    package = tmp_path / "site" / "broken-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[remotemedia.nodes]\nbroken = nothing_of_that_name:Broken\n")
    environment = environment | {"PYTHONPATH": f"{tmp_path / 'site'}:{environment.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-m", "remotemedia", "nodes", "list"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0
    assert "ReplyNode" in done.stdout
    assert done.stderr.startswith("remotemedia: the entry point broken = nothing_of_that_name:Broken of broken failed")
    assert done.stderr.count("\n") == 1


def test_without_a_command_it_helps(remotemedia):
    done = remotemedia("nodes")
    assert (done.code, done.err) == (0, "")
    assert "  show  " in done.out


def test_show_says_whose_a_short_name_is(remotemedia, tmp_path):
    done = remotemedia("nodes", "show", "whisper")
    assert done.out.startswith("whisper (remotemedia.nodes.whisper.WhisperNode)\n")
    assert "  text     TEXT, also called output, text_out\n" in done.out
    (tmp_path / "mine.py").write_text(NODES.replace('@register_node("mine")', '@register_node("whisper")'))
    done = remotemedia("nodes", "show", "whisper", "--nodes", "./mine.py")
    assert done.out.startswith("whisper (mine.Mine)\n")
