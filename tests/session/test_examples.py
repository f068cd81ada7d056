"""The examples of the contract (docs/contract.md) run as they are written there."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("leak_check")

DATA = Path(__file__).parent / "data"
CLIENT = (DATA / "client.txt").read_text()

NODES = """
import numpy as np
from remotemedia.core.multiprocessing import MultiprocessNode, register_node
from remotemedia.core.data import RuntimeData

class Base(MultiprocessNode):
    async def initialize(self):
        print(f"Initializing {self.node_id} with {self.config}")

    async def process(self, data):
        return data

    async def cleanup(self):
        print(f"Cleaning up {self.node_id}")

@register_node("whisper")
class Whisper(Base):
    async def process(self, data):
        assert data.port == "input"
        return {"text": RuntimeData.text(f"{data.size} bytes of audio")}

@register_node("lfm2_audio")
class Lfm2(Base):
    async def process(self, data):
        return {"output": RuntimeData.text(f"{data.payload}, you said?")}

@register_node("vibe_voice")
class Voice(Base):
    async def process(self, data):
        return RuntimeData.audio(np.frombuffer(data.payload.encode(), "u1").astype("f4"), 24000)
"""
FILES = """
import numpy as np
from remotemedia.core.data import RuntimeData

def load_audio_file(path):
    return RuntimeData.audio(np.zeros(16000, "f4"), 16000)

def save_audio_file(path, audio):
    print(path, audio.metadata, bytes(audio.payload.astype("u1")).decode(), audio.session_id)
"""
REAL_FILES = """
from remotemedia.core.multiprocessing import load_audio_file, save_audio_file
"""
# A program that has set up no log finds what its nodes print on its stderr.
NODE_SAYS = re.compile(r"\[\w+\] (Initializing|Cleaning up) ")
SAVED = (
    "output.wav AudioMetadata(sample_rate=24000, channels=1, format='f32') 64000 bytes of audio, you said? session_123"
)


@pytest.fixture
def python(px: Any, tmp_path: Path) -> Any:
    """Runs a program in a folder of its own and gives what it printed."""

    def run(*arguments: str | Path, stdin: str = "") -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            input=stdin,
            env=environment(px),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        said = [line for line in done.stderr.splitlines() if not NODE_SAYS.match(line)]
        assert said == []
        return done.stdout

    return run


def environment(px: Any) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": px.REPOSITORY, "PYTHONDONTWRITEBYTECODE": "1", "TERM": "dumb"}


def check_client(printed: str) -> None:
    # On a busy machine a node that still loads is heard of again.
    lines = list(dict.fromkeys(printed.splitlines()))
    assert lines[-1] == SAVED
    for node_id in ("asr", "s2s", "tts"):
        steps = [line.removeprefix(f"{node_id}: ") for line in lines if line.startswith(f"{node_id}: ")]
        assert steps == ["starting (0%)", "loading (0%)", "connecting (95%)", "ready (100%)"]
    assert len(lines) == 13, "the nodes' own words go to stderr"


def test_the_client_as_one_script(python: Any, tmp_path: Path) -> None:
    (tmp_path / "client.py").write_text(NODES + FILES + CLIENT)
    check_client(python("client.py"))


def test_the_client_with_real_files(python: Any, tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(tmp_path / "input.wav", np.zeros(16000, np.float32), 16000)
    (tmp_path / "client.py").write_text(NODES + REAL_FILES + CLIENT)
    assert python("client.py").splitlines()[-1].endswith(": ready (100%)")
    samples, sample_rate = soundfile.read(tmp_path / "output.wav", dtype="float32")
    assert (bytes(samples.astype("u1")), sample_rate) == (b"64000 bytes of audio, you said?", 24000)


def test_the_client_with_a_main_guard(python: Any, tmp_path: Path) -> None:
    guarded = CLIENT.replace("asyncio.run(main())", 'if __name__ == "__main__":\n    asyncio.run(main())')
    (tmp_path / "client.py").write_text(NODES + FILES + guarded)
    check_client(python("client.py"))


def test_the_client_with_nodes_in_a_module(python: Any, tmp_path: Path) -> None:
    (tmp_path / "my_nodes.py").write_text(NODES)
    (tmp_path / "client.py").write_text("import my_nodes\n" + FILES + CLIENT)
    check_client(python("client.py"))


def test_the_client_with_nodes_in_an_installed_package(px: Any, tmp_path: Path) -> None:
    site = tmp_path / "site" / "speech" / "nodes"
    site.mkdir(parents=True)
    (site.parent / "__init__.py").write_text("")
    (site / "__init__.py").write_text("from .base import *\n")
    (site / "base.py").write_text(NODES)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "client.py").write_text("import speech.nodes\n" + FILES + CLIENT)
    done = subprocess.run(
        [sys.executable, elsewhere / "client.py"],
        cwd="/",
        env=environment(px) | {"PYTHONPATH": f"{px.REPOSITORY}:{tmp_path / 'site'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    check_client(done.stdout)


def test_the_client_as_a_module(python: Any, tmp_path: Path) -> None:
    package = tmp_path / "program"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "client.py").write_text(NODES + FILES + CLIENT)
    check_client(python("-m", "program.client"))


def test_the_client_as_a_command(python: Any) -> None:
    check_client(python("-c", NODES + FILES + CLIENT))


def test_the_client_on_stdin(python: Any) -> None:
    check_client(python("-", stdin=NODES + FILES + CLIENT))


def test_the_client_at_a_prompt(px: Any, tmp_path: Path) -> None:
    """Typed into a real interactive interpreter at a terminal."""
    # A prompt ends a block at an empty line, and wants one after each; quit() closes it.
    text = re.sub(r"\n\s*\n", "\n", NODES + FILES + CLIENT)
    typed = re.sub(r"\n(?=\S)(?!\s)", "\n\n", text).replace(")\n\nclass", ")\nclass")
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-i", "-q"],
        cwd=tmp_path,
        env=environment(px) | {"PYTHON_BASIC_REPL": "1"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    shown = b""
    left = (typed + "\n\nquit()\n").encode()
    try:
        while True:
            # Only as much as it has asked for: a terminal's own buffer is small.
            readable, writable, _ = select.select([master], [master] if left else [], [])
            if readable:
                try:
                    piece = os.read(master, 65536)
                except OSError:
                    break
                shown += piece
            if writable:
                line, _, left = left.partition(b"\n")
                os.write(master, line + b"\n")
        assert process.wait() == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(master)
    output = shown.decode().replace("\r", "")
    assert SAVED in output, output
    assert output.count(": ready (100%)") == 3
    assert "Traceback" not in output


def test_the_audio_processor_of_the_quick_start(python: Any, tmp_path: Path) -> None:
    nodes = tmp_path / "nodes"
    nodes.mkdir()
    (nodes / "my_audio_processor.py").write_text((DATA / "my_audio_processor.txt").read_text())
    (tmp_path / "client.py").write_text(
        "import asyncio, sys\nsys.path.append('nodes')\nimport my_audio_processor, numpy as np\n"
        "from remotemedia.core.data import RuntimeData\n"
        "from remotemedia.core.multiprocessing import Pipeline, Session\n"
        "async def main():\n"
        "    pipeline = Pipeline().add_node('audio_processor', 'louder', {'sample_rate': 8000})\n"
        "    async with Session('s', pipeline) as session:\n"
        "        await session.send('louder', RuntimeData.text('no audio'))\n"
        "        await session.send('louder', RuntimeData.audio(np.full(4, 2, 'f4'), 8000))\n"
        "        result = await session.receive('louder')\n"
        "        print(result.payload.tolist(), result.metadata)\n"
        "asyncio.run(main())\n"
    )
    assert python("client.py") == ("[3.0, 3.0, 3.0, 3.0] AudioMetadata(sample_rate=8000, channels=1, format='f32')\n")


def test_the_registration_example(python: Any, tmp_path: Path) -> None:
    """Seed text as it is: it leaves the imports of the data types and ``load_model`` to its reader."""
    registration = (DATA / "registration.txt").read_text()
    (tmp_path / "client.py").write_text(
        "from typing import Optional\n"
        "from remotemedia.core.data import DataType, RuntimeData\n"
        "from remotemedia.core.multiprocessing import MultiprocessNode, NodeStatus\n"
        "class Model:\n"
        "    def process(self, payload):\n"
        "        return payload * 3\n"
        "    def unload(self):\n"
        "        open(f'unloaded', 'w').close()\n"
        "async def load_model(path):\n"
        "    assert path == 'weights.bin'\n"
        "    return Model()\n" + registration + "\n"
        "import asyncio, numpy as np\n"
        "from remotemedia.core.multiprocessing import Pipeline, Session\n"
        "async def main():\n"
        "    pipeline = Pipeline().add_node('my_custom_node', 'n', {'model_path': 'weights.bin'})\n"
        "    async with Session('s', pipeline) as session:\n"
        "        await session.send('n', RuntimeData.audio(np.full(2, 2, 'f4'), 8000))\n"
        "        result = await session.receive('n')\n"
        "        print(result.payload.tolist(), result.metadata, result.session_id)\n"
        "asyncio.run(main())\n"
    )
    assert python("client.py") == ("[6.0, 6.0] AudioMetadata(sample_rate=8000, channels=1, format='f32') s\n")
    assert (tmp_path / "unloaded").exists()


def test_the_progress_example(python: Any, tmp_path: Path) -> None:
    nodes = NODES.replace('"text":', '"text_out":').replace('"output":', '"audio_out":').replace('"input"', '"input"')
    (tmp_path / "client.py").write_text(
        nodes
        + "import asyncio\nfrom remotemedia.core.multiprocessing import *\n"
        + (DATA / "progress.txt").read_text()
        + "\nasyncio.run(create_pipeline_with_progress())\n"
    )
    printed = python("client.py").splitlines()
    for node_id in ("asr", "s2s", "tts"):
        assert [line for line in printed if line.startswith(node_id)][-1] == f"{node_id}: ready (100%)"


def test_the_recovery_example(python: Any, tmp_path: Path) -> None:
    (tmp_path / "client.py").write_text(
        NODES
        + "import asyncio, os, logging\nfrom remotemedia.core.multiprocessing import *\n"
        + "logger = logging.getLogger('client')\nlogging.disable(logging.CRITICAL)\n"
        + "async def notify_user(words):\n    print(words)\n"
        + (DATA / "recovery.txt").read_text()
        + "\nasync def main():\n"
        + "    session = Session('s', Pipeline().add_node('whisper', 'asr').add_node('vibe_voice', 'tts'))\n"
        + "    await session.initialize()\n    await session.start()\n"
        + "    os.kill(session.pids['tts'], 9)\n"
        + "    try:\n        await session.receive('asr')\n"
        + "    except ProcessCrashError as error:\n"
        + "        await handle_process_crash(session, error.node_id)\n"
        + "    print(session.status.value, session.pids)\n"
        + "asyncio.run(main())\n"
    )
    assert python("client.py") == "Pipeline terminated due to tts failure\nstopped {}\n"


def test_the_snippets_are_what_the_tests_say() -> None:
    assert CLIENT.startswith("# client.py\nimport asyncio\n") and CLIENT.endswith("\nasyncio.run(main())\n")
    assert '.connect("asr", "text", "s2s", "input")' in CLIENT
