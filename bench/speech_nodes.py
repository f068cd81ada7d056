"""The nodes of a spoken conversation, which note when they work: for the picture of which works when."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable
from inspect import isawaitable
from pathlib import Path
from typing import Any

import numpy as np

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode, Param, register_node
from remotemedia.nodes import (
    AudioChunkerNode,
    EspeakTTSNode,
    PocketSphinxNode,
    ReplyNode,
    ResampleNode,
    SileroVADNode,
)

_FOLDER = {"spans_folder": Param(str, help="where the times are written at the end")}


class Timed(MultiprocessNode):
    """Notes from when to when each call of ``process()`` worked. Waiting while its output is sent is not work."""

    def __init__(self, node_id: str, config: dict[str, Any]) -> None:
        super().__init__(node_id, config)
        self._spans_ns: list[tuple[int, int]] = []

    async def process(self, data: RuntimeData) -> AsyncIterator[Any]:
        began_ns = time.monotonic_ns()
        async for output in each(super().process(data)):
            self._spans_ns.append((began_ns, time.monotonic_ns()))
            yield output
            began_ns = time.monotonic_ns()
        self._spans_ns.append((began_ns, time.monotonic_ns()))

    async def cleanup(self) -> None:
        await super().cleanup()
        (Path(self.config["spans_folder"]) / self.node_id).write_text(json.dumps(self._spans_ns))


async def each(result: Awaitable[Any] | AsyncIterator[Any] | RuntimeData) -> AsyncIterator[Any]:
    """What ``process()`` or ``on_mark()`` gives, however it is written."""
    if isinstance(result, AsyncIterator):
        async for output in result:
            yield output
    elif (output := await result if isawaitable(result) else result) is not None:
        yield output


@register_node("bench-ResampleNode")
class Resample(Timed, ResampleNode):
    params = ResampleNode.params | _FOLDER


@register_node("bench-AudioChunkerNode")
class Chunker(Timed, AudioChunkerNode):
    params = AudioChunkerNode.params | _FOLDER


@register_node("bench-SileroVADNode")
class VAD(Timed, SileroVADNode):
    params = SileroVADNode.params | _FOLDER


@register_node("bench-PocketSphinxNode")
class Recognition(Timed, PocketSphinxNode):
    params = PocketSphinxNode.params | _FOLDER


@register_node("bench-ReplyNode")
class Reply(Timed, ReplyNode):
    params = ReplyNode.params | _FOLDER


@register_node("bench-EspeakTTSNode")
class TTS(Timed, EspeakTTSNode):
    """Says where an answer ends, by a message of zero samples."""

    params = EspeakTTSNode.params | _FOLDER

    async def process(self, data: RuntimeData) -> AsyncIterator[Any]:
        async for output in super().process(data):
            yield output
        yield RuntimeData.audio(np.empty(0, np.float32), self.config["sample_rate"])
