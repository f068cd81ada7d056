"""What tests of ``remotemedia run`` share; reached through the fixture ``rx``."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from itertools import pairwise
from pathlib import Path

NODES = Path(__file__).with_name("run_nodes.py")
STAND_INS = Path(__file__).with_name("stand_in_nodes.py")
IN_ONE_PROCESS = Path(__file__).with_name("in_one_process.py")
EXAMPLES = Path(__file__).parents[2] / "examples"
COMMAND = [sys.executable, "-m", "remotemedia", "run"]
warm = None
"""The command with its modules imported; the fixture ``rx`` sets it."""

if "run_nodes" not in sys.modules:
    # The Python API, which the command is held against, must know the node types too.
    _spec = importlib.util.spec_from_file_location("run_nodes", NODES)
    sys.modules["run_nodes"] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["run_nodes"])


def manifest(folder, *nodes, name="m.json", connections=None, settings=None, **keys):
    """Writes a manifest of nodes (a type, or (type, params)) called a, b, ..., in a row unless said otherwise."""
    nodes = [(node, {}) if isinstance(node, str) else node for node in nodes]
    ids = "abcdefgh"[: len(nodes)]
    if connections is None:
        connections = list(pairwise(ids))
    content = {
        "version": "v1",
        "metadata": {"name": "test", "multiprocess": settings or {}},
        "nodes": [{"id": i, "node_type": kind, "params": params} for i, (kind, params) in zip(ids, nodes, strict=True)],
        "connections": [{"from": one, "to": other} for one, other in connections],
        **keys,
    }
    path = folder / name
    path.write_text(json.dumps(content))
    return path


def arguments(path, *options):
    """The whole command line."""
    return [*COMMAND, str(path), "--nodes", str(NODES), *map(str, options)]


def run(path, *options, data=b"", env=None):
    """Runs the command in the manifest's folder to its end, with ``data`` as stdin."""
    return warm.call(*arguments(path, *options)[3:], cwd=Path(path).parent, env=env, data=data)


def api(pipeline, messages, node_id):
    """What the same pipeline gives through the Python API: (data, port) as bytes, from one output node."""
    from remotemedia.core.multiprocessing import Session

    async def talk():
        async with Session("api", pipeline) as session:
            found = []

            async def read():
                async for source, data in session.outputs():
                    if source == node_id:
                        payload = data.payload
                        raw = payload.encode() if isinstance(payload, str) else payload.tobytes()
                        found.append((raw, data.port))

            reading = asyncio.create_task(read())
            for message in messages:
                await session.send(pipeline.input_nodes[0], message)
            await session.end_input()
            await reading
            return found

    return asyncio.run(talk())


def blocks(path, chunk_ms=100):
    """The messages an audio file is fed as."""
    import soundfile

    from remotemedia.core.data import RuntimeData

    with soundfile.SoundFile(path) as file:
        frames = file.samplerate * chunk_ms // 1000
        while len(block := file.read(frames, dtype="float32")):
            yield RuntimeData.audio(block, file.samplerate, file.channels)


def samples_of(wav):
    """The bytes of a WAV's samples, found without any library."""
    at = wav.index(b"data")
    return wav[at + 8 :]
