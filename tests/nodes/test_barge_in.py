"""A caller talks over the answer: it stops, and the words that were spoken over it are those spoken into silence."""

from __future__ import annotations

import os
import random
from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import Pipeline, Session

pytestmark = pytest.mark.usefixtures("leak_check")

RATE = 16_000
MOMENTS = 20 if os.environ.get("REMOTEMEDIA_PROMISES") == "long" else 2


def pipeline(model: str) -> Pipeline:
    """Whisper's tiny.en, greedy, hears; what answers never stops by itself."""
    params = {"model": model, "language": "en", "segment": "marks", "beam_size": 1}
    return (
        Pipeline()
        .add_node("WhisperNode", "asr", params)
        .add_node("t-talk", "mouth")
        .connect("asr", "text", "mouth", "input")
        .add_output("asr")
    )


async def heard(session: Session) -> str:
    """The next utterance, once its words' times have come too."""
    text = ""
    while (data := await session.receive("asr")) is not None and data.port != "words":
        text = str(data.payload) if data.port == "text" else text
    return text


async def speak(session: Session, samples: Any, interrupt_at: int = -1) -> None:
    """In chunks of 20 ms, as fast as they go; before one of them the answer is silenced."""
    for number, at in enumerate(range(0, len(samples), RATE // 50)):
        if number == interrupt_at:
            await session.interrupt(from_node="mouth")
        await session.send("asr", RuntimeData.audio(samples[at : at + RATE // 50], RATE))
    await session.send("asr", RuntimeData.audio(samples[:0], RATE))


@pytest.mark.watchdog(1200)
def test_words_spoken_over_the_answer_are_those_spoken_into_silence(
    px: Any, tiny_en: str, said: dict[str, Any]
) -> None:
    chance = random.Random(1)
    (question,) = (samples for name, (samples, _) in said.items() if name.endswith("0930"))

    async def main() -> None:
        async with Session("s", pipeline(tiny_en)) as session:
            for samples, _ in said.values():
                await speak(session, samples)
                in_silence = await heard(session)
                assert in_silence
                await session.interrupt()
                for _ in range(MOMENTS):
                    await speak(session, question)
                    assert "amiable himself" in await heard(session)
                    answer = await session.receive("mouth")
                    assert answer is not None and "amiable himself" in str(answer.payload)
                    # Anywhere in what is said, also before its first chunk and in its last.
                    await speak(session, samples, chance.randrange(-(-len(samples) // (RATE // 50))))
                    assert await heard(session) == in_silence
                    answer = await session.receive("mouth")
                    assert answer is not None and answer.payload == f"{in_silence} 0", "a word of the old answer"
                    await session.interrupt()

    px.run(main(), patience_secs=1100)


def test_silence_is_asked_for_by_the_node_that_hears(px: Any, tiny_en: str, said: dict[str, Any]) -> None:
    """Ears beside the recogniser: the first loud sound stops the answer."""
    (samples,) = (samples for name, (samples, _) in said.items() if name.endswith("0930"))
    ears = pipeline(tiny_en).add_node("t-loud", "ears", {"silences": "mouth"})

    async def main() -> None:
        async with Session("s", ears) as session:
            await speak(session, samples)
            assert "amiable himself" in await heard(session)
            assert await session.receive("mouth") is not None
            await session.send("ears", RuntimeData.audio(np.zeros(RATE // 50, np.float32), RATE))
            await session.send("ears", RuntimeData.audio(samples[RATE : RATE + RATE // 50], RATE))
            silenced = await session.receive("ears")
            assert silenced is not None and silenced.payload == "silenced at 1"
            await speak(session, samples)
            text = await heard(session)
            answer = await session.receive("mouth")
            assert answer is not None and answer.payload == f"{text} 0"

    px.run(main())
