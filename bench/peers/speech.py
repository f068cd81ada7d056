"""A spoken question, heard, answered and spoken: by a session, and by the same nodes in one process. For workers."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import bench.speech_nodes  # noqa: F401  (registers the nodes)
from bench.peers.remotemedia_session import CONFIG, LATE_SECS
from bench.speech_nodes import each
from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.multiprocessing import MultiprocessExecutor, Pipeline, Session, lookup_node

Row = dict[str, Any]
Samples = npt.NDArray[np.float32]

# As the demo does; but the answer to its own question depends on the time of day.
WORDS = "hello what can you do"
_VOICE = {"voice": "en-us+klatt6", "rate": 170}
RATE = 22_050
BLOCK_MS = 100
_MANIFEST = Path(__file__).parents[2] / "examples" / "speech.yaml"


def question() -> Samples:
    """Made in a process that answers none: what eSpeak says depends on what it has said before."""

    async def speak() -> Samples:
        tts = lookup_node("EspeakTTSNode")("question", _VOICE)
        await tts.initialize()
        said = [output.as_numpy() async for output in each(tts.process(RuntimeData.text(WORDS)))]
        await tts.cleanup()
        return np.concatenate(said)

    return asyncio.run(speak())


def conversation(folder: Path) -> Pipeline:
    """The pipeline of examples/speech.yaml, of nodes that write to ``folder`` when they worked."""
    example = Pipeline.from_manifest(_MANIFEST)
    pipeline = Pipeline().add_output("asr")
    for node in example.nodes:
        pipeline.add_node(f"bench-{node.node_type}", node.node_id, {**node.config, "spans_folder": str(folder)})
    pipeline.connections = example.connections
    return pipeline


class Conversation:
    """One question: its blocks, when they are due, and what comes of it."""

    def __init__(self, samples: Samples, begin_ns: int, realtime: bool) -> None:
        size = RATE * BLOCK_MS // 1000
        self._blocks = [samples[at : at + size] for at in range(0, len(samples), size)]
        self._begin_ns, self._realtime = begin_ns, realtime
        self._end_ns = begin_ns + len(self._blocks) * BLOCK_MS * 1_000_000
        self._first_ns = self._last_ns = 0
        self._words, self._ended = "", False
        self._digest = hashlib.sha256()

    async def spoken(self) -> AsyncIterator[RuntimeData]:
        """Block by block as it is spoken, or as fast as it is taken; then the end of the utterance."""
        await _until(self._begin_ns)
        for number, block in enumerate(self._blocks, 1):
            if self._realtime:
                await _until(self._begin_ns + number * BLOCK_MS * 1_000_000)
            yield RuntimeData.audio(block, RATE)
        if not self._realtime:
            self._end_ns = time.monotonic_ns()
        yield RuntimeData.audio(np.empty(0, np.float32), RATE)

    def take(self, data: RuntimeData) -> bool:
        """Words or audio; whether that was all."""
        if data.type is DataType.TEXT:
            self._words = str(data.payload)
        elif data.size:
            self._last_ns = time.monotonic_ns()
            self._first_ns = self._first_ns or self._last_ns
            self._digest.update(data.as_numpy().tobytes())
        else:
            self._ended = True
        return self._ended and bool(self._words)

    def seen(self) -> Row:
        times = {"begin": self._begin_ns, "end": self._end_ns, "first": self._first_ns, "last": self._last_ns}
        return {**times, "words": self._words, "answer": self._digest.hexdigest()}


async def _until(due_ns: int) -> None:
    await asyncio.sleep(max(0, due_ns - time.monotonic_ns()) / 1e9)


def _spans(folder: Path) -> Row:
    return {name: json.loads((folder / name).read_text()) for name in conversation(folder).node_ids}


class Processes:
    """Sessions: a process per node."""

    def __init__(self, folder: Path, sessions: int) -> None:
        self._folders = [folder / f"caller{number}" for number in range(1, sessions + 1)]
        self._executor = MultiprocessExecutor(replace(CONFIG, channel_capacity=4))
        self._runner = asyncio.Runner()
        self._sessions = self._runner.run(self._start())

    async def _start(self) -> list[Session]:
        for folder in self._folders:
            folder.mkdir(parents=True)
        starting = (self._executor.create_session(folder.name, conversation(folder)) for folder in self._folders)
        return await asyncio.gather(*starting)

    def ask(self, sessions: int, samples: Samples, begin_ns: int, realtime: bool) -> list[Row]:
        """So many at once; what each had of it."""

        async def asked() -> list[Row]:
            return await asyncio.gather(
                *(_ask(session, Conversation(samples, begin_ns, realtime)) for session in self._sessions[:sessions])
            )

        return self._runner.run(asked())

    def spans(self) -> Row:
        """When each node of the first session worked. Ends them all."""
        self._runner.run(self._executor.shutdown())
        return _spans(self._folders[0])

    def close(self) -> None:
        self._runner.run(self._executor.shutdown())
        self._runner.close()


async def _ask(session: Session, asked: Conversation) -> Row:
    async def feed() -> None:
        async for data in asked.spoken():
            await session.send("resample", data)

    async def listen() -> None:
        async for _, data in session.outputs():
            if data.port != "partial" and asked.take(data):
                return

    async with asyncio.timeout(LATE_SECS):
        await asyncio.gather(feed(), listen())
    return asked.seen()


class OneProcess:
    """The nodes of session ``number`` in this process.

    ``by_node``: each gets all that is said before the next gets anything; else each message goes all the way before the
    next one is taken.
    """

    def __init__(self, folder: Path, number: int, by_node: bool) -> None:
        self._folder, self._number, self._by_node = folder, number, by_node
        folder.mkdir()
        self._nodes = [lookup_node(node.node_type)(node.node_id, node.config) for node in conversation(folder).nodes]
        self._runner = asyncio.Runner()
        for node in self._nodes:
            self._runner.run(node.initialize())

    def ask(self, sessions: int, samples: Samples, begin_ns: int, realtime: bool) -> list[Row]:
        """What it had of the question, if it is one of so many."""
        if self._number >= sessions:
            return []
        return [self._runner.run(self._ask(Conversation(samples, begin_ns, realtime)))]

    async def _ask(self, asked: Conversation) -> Row:
        if self._by_node:
            messages = [message async for message in asked.spoken()]
            for place in range(len(self._nodes) - 1):
                messages = [given async for given in self._given(place, messages, asked)]
            async for output in self._given(len(self._nodes) - 1, messages, asked):
                asked.take(output)
        else:
            async for message in asked.spoken():
                await self._push(0, message, asked)
        return asked.seen()

    async def _push(self, place: int, message: RuntimeData, asked: Conversation) -> None:
        async for output in self._given(place, [message], asked):
            if place + 1 == len(self._nodes):
                asked.take(output)
            else:
                await self._push(place + 1, output, asked)

    async def _given(self, place: int, messages: list[RuntimeData], asked: Conversation) -> AsyncIterator[RuntimeData]:
        """What a node gives to the next one."""
        for message in messages:
            node = self._nodes[place]
            async for output in each(node.on_mark(message) if message.mark else node.process(message)):
                if isinstance(output, RuntimeData):
                    yield output
                elif "text" in output:  # speech recognition also tells what it has understood so far
                    asked.take(output["text"])
                    yield output["text"]

    def spans(self) -> Row:
        """When each node worked. Ends them."""
        for node in self._nodes:
            self._runner.run(node.cleanup())
        return _spans(self._folder)

    def close(self) -> None:
        self.spans()
        self._runner.close()
