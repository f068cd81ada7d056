"""VibeVoiceNode: on an untrained model, which hums; the library's own loading, processing and generation."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.marks import END_OF_TURN
from remotemedia.core.multiprocessing import Pipeline, Session, save_audio_file
from remotemedia.nodes import VibeVoiceNode
from remotemedia.testing import NodeHost
from tests.nodes._checkpoints import make_tiny_vibevoice

# What diffusers does with PyTorch's tensors.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

RATE, STEP = 24_000, 3200

text = RuntimeData.text


@pytest.fixture(scope="module", autouse=True)
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """They are in this process, without pools of threads and without their cache in the folder of all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKENIZERS_PARALLELISM", "false")
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("torch")))
        for module in ("torch", "transformers", "diffusers", "soxr", "soundfile"):
            pytest.importorskip(module, reason=f"needs {module}, of the extra [vibevoice]")
        import torch
        from transformers.utils import logging

        torch.set_num_threads(1)
        logging.disable_progress_bar()
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_vibevoice(tmp_path_factory.mktemp("weights") / "hum")


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two voices, and what is none."""
    folder = tmp_path_factory.mktemp("voices")
    times = np.arange(48_000) / 48_000
    save_audio_file(folder / "low.wav", RuntimeData.audio(np.sin(times * 700).astype(np.float32) * 0.5, 48_000))
    stereo = np.stack([np.sin(times[:RATE] * 9000)] * 2, axis=1).astype(np.float32) * 0.5
    save_audio_file(folder / "high.flac", RuntimeData.audio(stereo, RATE, 2))
    (folder / "broken.wav").write_bytes(b"RIFF, or so they said")
    (folder / "readme.txt").write_text("no voice")
    return folder


def node(model: Path, **config: Any) -> VibeVoiceNode:
    # One thread: the pool that OpenMP makes for more stays for ever, and would be a leak of the test run.
    return VibeVoiceNode("v", {"model": str(model), "cpu_threads": 1, "diffusion_steps": 2, "max_secs": 1, **config})


def speech(outputs: list[RuntimeData]) -> npt.NDArray[np.float32]:
    assert all(data.metadata.sample_rate == RATE and data.payload.dtype == np.float32 for data in outputs)
    return np.concatenate([data.payload for data in outputs])


def test_it_says_what_the_library_says_step_by_step(drive: Any, model: Path) -> None:
    import torch
    from transformers import VibeVoiceForConditionalGeneration, VibeVoiceProcessor

    network = VibeVoiceForConditionalGeneration.from_pretrained(model)
    processor = VibeVoiceProcessor.from_pretrained(model)
    said = drive(node(model), [text(" Good morning. ", timestamp=7.0), text(" \n")])
    assert [len(data.payload) for data in said] == [STEP] * 8
    assert {data.timestamp for data in said} == {7.0}
    asked = processor.apply_chat_template(
        [{"role": "0", "content": [{"type": "text", "text": "Good morning."}]}],
        tokenize=True,
        return_dict=True,
        processor_kwargs={"return_tensors": "pt"},
    )
    torch.manual_seed(1)
    (alone,) = network.generate(**asked, guidance_scale=1.3, num_diffusion_steps=2, max_new_tokens=8)
    assert np.array_equal(speech(said), alone[0].numpy())
    assert 0.01 < np.abs(speech(said)).max() <= 1


def test_the_speech_depends_on_text_voice_and_settings_alone(drive: Any, model: Path, voices: Path) -> None:
    own = speech(drive(node(model), [text("one")]))
    twice = speech(drive(node(model), [text("one"), text("one")]))
    assert np.array_equal(twice, np.concatenate([own, own]))
    sarah = drive(node(model, voice="sarah"), [text("one")])
    assert np.array_equal(speech(sarah), own)
    others = [
        drive(node(model), [text("two")]),
        drive(node(model, voice="low", voices_dir=str(voices)), [text("one")]),
        drive(node(model, voice="high", voices_dir=str(voices)), [text("one")]),
        drive(node(model, guidance_scale=3), [text("one")]),
        drive(node(model, diffusion_steps=3), [text("one")]),
    ]
    for one, other in itertools.combinations([own, *map(speech, others)], 2):
        assert not np.array_equal(one, other)
    assert len(speech(drive(node(model, max_secs=2), [text("one")]))) == 15 * STEP


def test_a_recording_named_sarah_is_sarah(drive: Any, model: Path, voices: Path, tmp_path: Path) -> None:
    shutil.copy(voices / "low.wav", tmp_path / "sarah.wav")
    sarah = drive(node(model, voice="sarah", voices_dir=str(tmp_path)), [text("one")])
    low = drive(node(model, voice="low", voices_dir=str(voices)), [text("one")])
    assert np.array_equal(speech(sarah), speech(low))


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"voice": "nobody"}, "param 'voice': there is no voice 'nobody'; there is '' alone, without voices_dir"),
        (
            {"voice": "nobody", "voices_dir": ...},
            r"no voice 'nobody' in .*; there is '', 'broken', 'high', 'low'\. A voice is a recording, such as nobody",
        ),
        ({"voice": "broken", "voices_dir": ...}, "param 'voice': .*broken.wav"),
        ({"voices_dir": "/nowhere"}, "param 'voices_dir': /nowhere is not a folder"),
        ({"device": "cuda"}, "param 'device': there is no CUDA device"),
    ],
)
def test_what_it_cannot_load(drive: Any, model: Path, voices: Path, config: dict[str, Any], why: str) -> None:
    import torch

    if "device" in config and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    given = {key: str(voices) if value is ... else value for key, value in config.items()}
    with pytest.raises(ValueError, match=why):
        drive(node(model, **given), [])


def test_no_other_rate(model: Path) -> None:
    for rate in (0.5, 1.2):
        with pytest.raises(ValueError, match="'rate'"):
            node(model, rate=rate)


def test_a_model_without_a_file(drive: Any, model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "part", ignore=shutil.ignore_patterns("*.jinja"))
    with pytest.raises(FileNotFoundError, match=r"no VibeVoice model: it lacks chat_template\.jinja"):
        drive(node(tmp_path / "part"), [])
    with pytest.raises(FileNotFoundError, match=r"models fetch 1\.5B --backend vibevoice"):
        drive(node(Path("1.5B"), models_dir=str(tmp_path)), [])


def test_audio_is_passed_on(drive: Any, model: Path) -> None:
    whole = RuntimeData.audio(np.arange(100, dtype=np.float32) / 100, RATE, timestamp=3.0)
    (same,) = drive(node(model), [whole])
    assert same.payload is whole.payload or np.array_equal(same.payload, whole.payload)
    assert same.timestamp == 3.0
    tone = np.sin(np.arange(16_000) / 16_000 * 2 * np.pi * 440)
    for samples in (tone.astype(np.float32), (tone * 32_767).astype(np.int16)):
        parts = [RuntimeData.audio(samples[at : at + 1000], 16_000) for at in range(0, 16_000, 1000)]
        resampled = speech(drive(node(model), parts))
        expected = np.sin(np.arange(RATE) / RATE * 2 * np.pi * 440)
        assert len(resampled) == RATE
        assert np.abs(resampled - expected)[500:-500].max() < 0.01


def test_what_the_resampler_holds_back_comes_before_the_mark(drive: Any, model: Path) -> None:
    given = [RuntimeData.audio(np.ones(160, np.float32), 16_000), RuntimeData.control(END_OF_TURN)]
    *sound, mark = drive(node(model), given)
    assert mark.mark == END_OF_TURN and sum(len(data.payload) for data in sound) == 240


def test_what_it_does_not_take(model: Path) -> None:
    async def main() -> None:
        async with NodeHost(node(model)) as host:
            with pytest.raises(TypeError, match="takes TEXT"):
                await host.feed(RuntimeData.tensor(np.zeros(3)))
            assert len(await host.feed(text("goes on"))) == 8

    asyncio.run(main())


def test_an_interruption_leaves_it_at_its_next_step(drive: Any, model: Path) -> None:
    """And what it says of the next text is that text's alone."""

    async def main() -> None:
        async with NodeHost(node(model, max_secs=1)) as host:
            alone = speech(await host.feed(text("again")))
        async with NodeHost(node(model, max_secs=5000)) as host:
            for _ in range(3):
                await host.send(text("a story that takes hours"))
                first = await host.receive(timeout=60)
                assert first is not None and len(first.payload) == STEP
                await host.interrupt()
                await host.send(text("again"))
                said = [await host.receive(timeout=60) for _ in range(8)]
                assert np.array_equal(speech(said), alone)
                await host.interrupt()

    asyncio.run(main())


def test_in_a_session(model: Path, px: Any) -> None:
    config = {"model": str(model), "cpu_threads": 1, "diffusion_steps": 2, "max_secs": 1}

    async def main() -> None:
        async with Session("speaks", Pipeline().add_node("vibe_voice", "tts", config)) as session:
            for port in ("", "text", "input", "text_in"):
                said = [data async for data in session.ask("tts", text("good morning"), port)]
                assert [len(data.payload) for data in said] == [STEP] * 8
            await session.send("tts", RuntimeData.audio(np.zeros(10, np.float32), RATE), "audio_in")
            data = await session.receive("tts")
            assert data is not None and len(data.payload) == 10

    px.run(main(), patience_secs=120)
