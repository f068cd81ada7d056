"""A spoken question and its spoken answer: ``python -m bench.conversation``.

The time from the end of speech to the first sample of the answer, by stage: in a session, each node in a process of its
own, and the same nodes in one process, one after the other. Needs the extras [conversation] and [models].
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.conversation_report import conversation_section
from bench.machine import describe
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import END_OF_ANSWER, END_OF_UTTERANCE, Pipeline, Session, lookup_node
from remotemedia.testing import NodeHost

BLOCK_SECS, SILENCE_SECS = 0.032, 4.0
WARM_UP = 2


class Case(NamedTuple):
    """A question, and a prompt after which it is answered in so many sentences."""

    sentences: int
    question: str
    prompt: str


# The third is the second in sentences of the same length: the first sound waits for the first of them.
CASES = (
    Case(
        1,
        "What is the capital of Germany?",
        "This is a phone call. A caller asks and a friendly assistant answers in one short sentence.\n\n"
        "User: Hello, how are you?\nAssistant: I am fine, thank you. How can I help you?\n"
        "User: What color is the sky?\nAssistant: The sky is blue.",
    ),
    Case(
        3,
        "What is electricity?",
        "This is a phone call. A caller asks and a friendly assistant answers in three sentences, the first of them "
        "short.\n\n"
        "User: What is snow?\nAssistant: Snow is frozen water. It falls from the clouds when the air is cold enough, "
        "covers the fields and the roads all winter, and melts in spring. Children like to play in it, and some people "
        "like to go skiing in the mountains.\n"
        "User: What is a river?\nAssistant: A river is flowing water. It comes down from the mountains, flows through "
        "the land for hundreds of miles, and ends in the sea. Many towns were built beside one, because people need "
        "water every day, and boats carry people and goods on it.",
    ),
    Case(
        3,
        "What is a library?",
        "This is a phone call. A caller asks and a friendly assistant answers in three sentences.\n\n"
        "User: What is snow?\nAssistant: Snow is frozen water that falls from the clouds when the air is cold enough. "
        "It covers the fields and the roads in winter, and it melts in spring. Children like to play in it, and some "
        "people go skiing.\n"
        "User: What is a river?\nAssistant: A river is a large stream of water that flows through the land to the "
        "sea. Many towns were built beside one, because people need water every day. Boats carry people and goods on "
        "it, and fish live in it.",
    ),
)


class Question(NamedTuple):
    """Spoken: samples, shape (n,), at a rate; the last is the last of the speech."""

    samples: Any
    sample_rate: int


class Took(NamedTuple):
    """Seconds from the end of speech to each stage that there is, and the answer."""

    secs: dict[str, float]
    answer: str


def main() -> None:
    parser = argparse.ArgumentParser("python -m bench.conversation", description=__doc__.partition("\n")[0])
    parser.add_argument("--repeat", type=int, default=10, metavar="N", help="times that each question is asked")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results there, for bench report")
    options = parser.parse_args()
    cases = asyncio.run(_measured(options.repeat, options.threads))
    results = {"machine": describe(), "threads": options.threads, "cases": cases}
    print(conversation_section(results))
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


async def _measured(repeat: int, threads: int) -> list[dict[str, Any]]:
    cases = []
    for case in CASES:
        nodes = _nodes(case, threads)
        question = await _spoken(case.question, threads)
        ours: list[Took] = []
        theirs: list[Took] = []
        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(Session("conversation", _pipeline(nodes)))
            hosts = {
                name: await stack.enter_async_context(NodeHost(lookup_node(kind)(name, params)))
                for name, (kind, params) in nodes.items()
                if name != "sentences"
            }
            for _ in range(WARM_UP + repeat):
                ours.append(await _in_processes(session, question))
                theirs.append(await _in_one(hosts, question))
        cases.append(
            {
                "question": case.question,
                "sentences": case.sentences,
                "answers": sorted({took.answer for took in ours[WARM_UP:] + theirs[WARM_UP:]}),
                "processes": [took.secs for took in ours[WARM_UP:]],
                "one_by_one": [took.secs for took in theirs[WARM_UP:]],
            }
        )
        print(f"{case.question}: done", file=sys.stderr)
    return cases


def _nodes(case: Case, threads: int) -> dict[str, tuple[str, dict[str, Any]]]:
    """Type and params, in order."""
    return {
        "ears": ("TurnNode", {"cpu_threads": threads}),
        "asr": ("WhisperNode", {"model": "tiny.en", "segment": "marks", "beam_size": 1, "cpu_threads": threads}),
        # One thread: so small a model is slower with two.
        "chat": (
            "LlamaNode",
            {"model": "gemma-3-270m", "system_prompt": case.prompt, "max_history": 0, "cpu_threads": 1},
        ),
        "sentences": ("SentenceNode", {}),
        "tts": ("PiperTTSNode", {"cpu_threads": threads}),
    }


def _pipeline(nodes: dict[str, tuple[str, dict[str, Any]]]) -> Pipeline:
    pipeline = Pipeline()
    for name, (kind, params) in nodes.items():
        pipeline.add_node(kind, name, params)
    pipeline.connect("ears", "audio", "asr", "audio").connect("asr", "text", "chat", "text")
    pipeline.connect("chat", "text", "sentences", "text").connect("sentences", "text", "tts", "text")
    for name in ("ears", "asr", "chat", "sentences"):
        pipeline.add_output(name)
    return pipeline


async def _spoken(text: str, threads: int) -> Question:
    async with NodeHost(lookup_node("PiperTTSNode")("tts", {"cpu_threads": threads})) as host:
        outputs = await host.feed(RuntimeData.text(text))
    samples = np.concatenate([data.payload for data in outputs])
    last = int(np.flatnonzero(np.abs(samples) > 0.01)[-1])
    return Question(samples[: last + 1].copy(), outputs[0].metadata.sample_rate)


async def _heard(question: Question) -> AsyncIterator[tuple[RuntimeData, float]]:
    """As a microphone gives it, with when its speech ended, or will end."""
    size = round(BLOCK_SECS * question.sample_rate)
    silence = np.zeros(round(SILENCE_SECS * question.sample_rate), np.float32)
    samples = np.concatenate([question.samples, silence])
    began = time.monotonic()
    ended = began + len(question.samples) / question.sample_rate
    for at in range(0, len(samples), size):
        spoken = began + (at + size) / question.sample_rate
        await asyncio.sleep(max(0.0, spoken - time.monotonic()))
        yield RuntimeData.audio(samples[at : at + size], question.sample_rate), ended


async def _in_processes(session: Session, question: Question) -> Took:
    secs: dict[str, float] = {}
    answer: list[str] = []
    ended = 0.0

    async def speak() -> None:
        nonlocal ended
        async for block, speech_ends in _heard(question):
            ended = speech_ends
            await session.send("ears", block)

    async def listen() -> None:
        async for node_id, data in session.outputs():
            if data.mark == END_OF_ANSWER and node_id == "tts":
                return
            stage = {"asr": "words", "chat": "answer", "sentences": "sentence", "tts": "sound"}.get(node_id, "")
            if node_id == "ears" and data.mark == END_OF_UTTERANCE:
                stage = "turn"
            if not stage or (data.mark and stage != "turn") or (stage == "words" and data.port != "text"):
                continue
            secs.setdefault(stage, time.monotonic() - ended)
            if stage == "answer":
                answer.append(str(data.payload))

    async with asyncio.timeout(60):
        await asyncio.gather(speak(), listen())
    return Took(secs, "".join(answer).strip())


async def _in_one(hosts: dict[str, NodeHost], question: Question) -> Took:
    """Each node is done before the next one begins; "sound" is when the voice is done, "streams" when it gives
    its first sample."""
    secs: dict[str, float] = {}
    turn: list[RuntimeData] = []
    ended = 0.0
    async for block, ended in _heard(question):
        turn += [data for data in await hosts["ears"].feed(block) if data.port == "audio" or data.mark]
        if turn and turn[-1].mark == END_OF_UTTERANCE:
            secs["turn"] = time.monotonic() - ended
            break
    texts: list[str] = []
    for data in turn:
        texts += [str(out.payload) for out in await hosts["asr"].feed(data) if out.port == "text"]
    secs["words"] = time.monotonic() - ended
    pieces = [
        str(data.payload) for data in await hosts["chat"].feed(RuntimeData.text(" ".join(texts))) if not data.mark
    ]
    secs["answer"] = secs["sentence"] = time.monotonic() - ended
    answer = "".join(pieces).strip()
    await hosts["tts"].send(RuntimeData.text(answer))
    await hosts["tts"].receive(timeout=60)
    secs["streams"] = time.monotonic() - ended
    await hosts["tts"].feed(RuntimeData.text(""))
    secs["sound"] = time.monotonic() - ended
    return Took(secs, answer)


if __name__ == "__main__":
    main()
