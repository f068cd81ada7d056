"""The pipelines of both quick starts, each way: in a Session, by ``remotemedia run``, through ``remotemedia serve``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import remotemedia_v1_pb2

pytest.importorskip("soundfile")

from remotemedia.audio import load_audio_file, save_audio_file
from remotemedia.client import PipelineClient
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import Session
from remotemedia.manifest import load_manifest
from remotemedia.settings import resolve_settings

pytestmark = pytest.mark.usefixtures("leak_check")

AUDIO = RuntimeData.audio(np.zeros(2500, np.float32), 16_000)


@pytest.fixture(scope="module")
def server(serving: Any, qs: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a ``remotemedia serve`` that knows the stand-ins."""
    process = serving.Serving(tmp_path_factory.mktemp("serve"), "--nodes", str(qs.STAND_INS), "--json")
    try:
        yield process.address()
    finally:
        process.close()


async def said(session: Any, qs: Any) -> str:
    """What the pipeline makes of the audio."""
    (first,), (last,) = inputs(session), outputs(session)
    await session.send(first, AUDIO)
    await session.end_input()
    return "".join([qs.read_again(data.as_numpy()) async for _, data in session.outputs(last)])


def inputs(session: Any) -> list[str]:
    return list(session.pipeline.input_nodes if isinstance(session, Session) else session.input_nodes)


def outputs(session: Any) -> list[str]:
    return list(session.pipeline.output_nodes if isinstance(session, Session) else session.output_nodes)


def test_in_a_session(px: Any, qs: Any) -> None:
    async def main() -> None:
        for name in qs.MANIFESTS:
            manifest = load_manifest(qs.manifest(name))
            config = resolve_settings(manifest_settings=manifest.settings).config
            async with Session(name, manifest.pipeline, config) as session:
                assert await said(session, qs) == qs.answers(name, [2500]), name

    px.run(main())


def test_through_a_service(px: Any, qs: Any, server: str) -> None:
    async def main() -> None:
        async with PipelineClient(server) as client:
            for name in [*qs.MANIFESTS, *qs.ONE_SETTING_MORE, "client"]:
                pipeline = qs.pipeline() if name == "client" else qs.manifest(name)
                async with client.session(pipeline) as session:
                    assert await said(session, qs) == qs.answers(name, [2500]), name
                if name in ("settings", "client"):
                    result = await client.execute(pipeline, {session.input_nodes[0]: AUDIO})
                    (messages,) = result.outputs.values()
                    heard = "".join(qs.read_again(data.as_numpy()) for data in messages)
                    assert heard == qs.answers(name, [2500]), name

    px.run(main())


def test_the_python_as_printed(qs: Any, server: str, tmp_path: Path) -> None:
    """Word for word, but for the nodes and connections that it leaves to its reader, and the port."""
    program = qs.BLOCKS["Python"].replace("localhost:50051", server)
    for elided in ("nodes", "connections"):
        assert program.count(f"{elided}=[...]") == 1
        program = program.replace(f"{elided}=[...]", f"{elided}=manifest_data['{elided}']")
    paths = [str(Path(__file__).parents[2]), str(Path(remotemedia_v1_pb2.__file__).parent)]
    (tmp_path / "client.py").write_text(program)
    (tmp_path / "manifest.json").write_text(qs.BLOCKS["plain"])
    done = subprocess.run(
        [sys.executable, "client.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "Execution status: 1\n"), done.stderr


def run(folder: Path, *arguments: str) -> None:
    """``remotemedia run``, as from a shell where no environment is active."""
    done = subprocess.run(
        [sys.executable, "-m", "remotemedia", "run", *arguments],
        cwd=folder,
        env=os.environ | {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.parametrize("name", ["plain", "settings", "throughput", "constrained", "placement", "client"])
def test_by_the_command(qs: Any, tmp_path: Path, name: str) -> None:
    manifest = qs.pipeline().to_manifest() if name == "client" else qs.manifest(name)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    save_audio_file(tmp_path / "in.wav", AUDIO)
    run(tmp_path, "manifest.json", "--nodes", str(qs.STAND_INS), "-i", "in.wav", "-O", "out.wav")
    heard = load_audio_file(tmp_path / "out.wav")
    # The command sends a tenth of a second at a time.
    assert qs.read_again(heard.as_numpy()) == qs.answers(name, [1600, 900])


def test_the_processor_by_the_command_with_the_settings_as_printed(qs: Any, tmp_path: Path) -> None:
    """The first quick start's own node, with the runtime.toml of each."""
    settings = (qs.SESSION_DATA / "runtime.toml").read_text()
    (tmp_path / "nodes").mkdir()
    (tmp_path / "nodes" / "my_audio_processor.py").write_text((qs.SESSION_DATA / "my_audio_processor.txt").read_text())
    (tmp_path / ".venv").symlink_to(sys.prefix)
    manifest = {
        "version": "v1",
        "nodes": [{"id": "a", "node_type": "audio_processor", "params": {"sample_rate": 16_000}}],
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    save_audio_file(tmp_path / "in.wav", RuntimeData.audio(np.full(2500, 0.5, np.float32), 16_000))
    for text in (settings, qs.BLOCKS["runtime.toml"]):
        (tmp_path / "runtime.toml").write_text(text)
        run(tmp_path, "manifest.json", "--nodes", "nodes/my_audio_processor.py", "-i", "in.wav", "-O", "out.wav")
        heard = load_audio_file(tmp_path / "out.wav").as_numpy()
        assert heard.shape == (2500,) and (heard == 0.75).all()
        (tmp_path / "out.wav").unlink()
