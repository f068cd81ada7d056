"""What the quick starts show, read from copies of them; reached through the fixture ``qs``.

As written, but for what they leave out themselves: ``[...]``, the rest of a manifest around a few settings, and the
comments in JSON. The models are stand-ins.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

from remotemedia.core.multiprocessing import Pipeline

HERE = Path(__file__).parent
STAND_INS = HERE / "stand_in_nodes.py"
SESSION_DATA = HERE.parent / "session" / "data"
CLIENT = (SESSION_DATA / "client.txt").read_text()
BLOCKS: dict[str, str] = dict(
    re.findall(
        r"^## (.*?)\n\n```\w+\n(.*?)^```", (HERE / "data" / "quick_start.txt").read_text(), re.DOTALL | re.MULTILINE
    )
)

if "stand_in_nodes" not in sys.modules:
    # The Python API knows the nodes by their module, the commands by their file.
    _spec = importlib.util.spec_from_file_location("stand_in_nodes", STAND_INS)
    assert _spec is not None and _spec.loader is not None
    sys.modules["stand_in_nodes"] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["stand_in_nodes"])
read_again = sys.modules["stand_in_nodes"].read_again


def manifest(name: str) -> dict[str, Any]:
    """The manifest of a block of JSON, whole."""
    text = re.sub(r"//.*", "", BLOCKS[name]).replace("[...]", "null")
    block: dict[str, Any] = json.loads(text)
    if "multiprocess" in block:
        block = {"metadata": block}
    whole: dict[str, Any] = json.loads(BLOCKS["plain"])
    found = {**whole, **{key: value for key, value in block.items() if value is not None}}
    found["metadata"] = {"name": name, **found["metadata"]}
    if "nodes" in block and "connections" not in block:
        ids = [node["id"] for node in found["nodes"]]
        found["connections"] = [{"from": one, "to": other} for one, other in pairwise(ids)]
    if name == "constrained":
        # "Limit concurrent processes" to 3: the three models. Here a chunker is a process like any other.
        found["nodes"], found["connections"] = found["nodes"][1:], found["connections"][1:]
    return found


MANIFESTS = [
    "plain",
    "settings",
    "overrides",
    "latency",
    "throughput",
    "constrained",
    "placement",
]
ONE_SETTING_MORE = ["slow to load", "slow consumer", "limit"]


def pipeline() -> Pipeline:
    """Of the client in Python, as it is written there."""
    (text,) = re.findall(r"pipeline = (\(Pipeline\(\).*?\"input\"\)\))\n", CLIENT, re.DOTALL)
    found: Pipeline = eval(text, {"Pipeline": Pipeline})
    return found


def answers(name: str, sizes: list[int]) -> str:
    """The output of a pipeline for audio of 16 kHz, in messages of that many samples."""
    nodes = (pipeline().to_manifest() if name == "client" else manifest(name))["nodes"]
    if nodes[0]["node_type"] == "AudioChunkerNode":
        whole, size = sum(sizes), nodes[0].get("params", {}).get("chunk_size", 512)
        sizes = [min(size, whole - at) for at in range(0, whole, size)]

    def of(model: str, param: str) -> str:
        (node,) = (node for node in nodes if node["node_type"].lower().startswith(model))
        return str(node.get("params", {}).get(param, "-"))

    words = f"{of('lfm2', 'model')} answered, {of('vibe', 'voice')} said. "
    return "".join(f"{of('whisper', 'model')} heard {size} at 16000 Hz, {words}" for size in sizes)
