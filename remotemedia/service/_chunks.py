"""From chunks of a stream to data for the nodes."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import remotemedia_v1_pb2 as pb

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import Pipeline
from remotemedia.errors import PipelineError
from remotemedia.service._call_metrics import Clock
from remotemedia.service._frames import Frames
from remotemedia.service._manifests import BadRequest
from remotemedia.service._session import check_input_node, input_data
from remotemedia.wire.buffers import kind_of

__all__ = ["Chunk", "Chunks"]

_logger = logging.getLogger("remotemedia.service")

_UNIX_MS = 10**11
"""From here on a time cannot be one since the stream began: that would be three years."""


@dataclass(frozen=True)
class Chunk:
    """Data for an input of a node; ``data.origin`` is the number the client gave it, ``turn`` that of its turn."""

    node_id: str
    data: RuntimeData
    port: str = ""
    turn: int = 0


class Chunks:
    """Reads the chunks of one stream.

    Attributes:
        frames: makes whole frames of chunks of audio that are cut anywhere.
    """

    def __init__(self, pipeline: Pipeline, limits: pb.ResourceLimits, clock: Clock) -> None:
        self.frames = Frames(pipeline)
        self._pipeline = pipeline
        self._limits = limits
        self._clock = clock
        self._began_secs = time.time()
        self._last: dict[str, int] = {}

    def inputs(self, buffers: Mapping[str, pb.DataBuffer], payloads: list[memoryview]) -> list[Chunk]:
        """What comes with the first message, for each node. BadRequest when it is wrong."""
        found = [self._chunk(node_id, buffer, payloads, "data_inputs") for node_id, buffer in buffers.items()]
        return [chunk for chunk in found if chunk is not None]

    def data(self, chunk: pb.DataChunk, payloads: list[memoryview]) -> list[Chunk]:
        """One message for each input that is meant, none for audio without a complete frame. BadRequest if the chunk is
        wrong or out of order."""
        what = f"chunk {chunk.sequence}"
        if chunk.HasField("buffer"):
            found = [self._chunk(chunk.node_id, chunk.buffer, payloads, what)]
        elif chunk.named_buffers:
            found = [
                self._chunk(chunk.node_id, buffer, payloads, what, self._port(chunk, name))
                for name, buffer in chunk.named_buffers.items()
            ]
        else:
            raise BadRequest("DataChunk must have buffer or named_buffers", chunk.node_id)
        return [replace(each, turn=chunk.turn) for each in self._numbered(found, chunk)]

    def audio(self, chunk: pb.AudioChunk, payloads: list[memoryview]) -> list[Chunk]:
        """The older form of a chunk of audio."""
        buffer = pb.DataBuffer(audio=chunk.buffer)
        return self._numbered([self._chunk(chunk.node_id, buffer, payloads, f"audio chunk {chunk.sequence}")], chunk)

    def _chunk(
        self, node_id: str, buffer: pb.DataBuffer, payloads: list[memoryview], what: str, port: str = ""
    ) -> Chunk | None:
        check_input_node(self._pipeline, node_id, what)
        kind, has_data = kind_of(buffer), True
        with self._clock.reading():
            if kind == "audio":
                try:
                    has_data = self.frames.join(node_id, port, what, buffer.audio, payloads)
                except ValueError as error:
                    raise BadRequest(f"{what}: {error}", node_id) from None
            data = input_data(buffer, payloads, (self._pipeline, node_id, port), what, self._limits)
        self._clock.count(kind)
        return Chunk(node_id, data, port) if has_data else None

    def _port(self, chunk: pb.DataChunk, name: str) -> str:
        try:
            return self._pipeline.input_port_meant(chunk.node_id, name)
        except PipelineError as error:
            # Clients call the only buffer of a node with one input as they like.
            only = self._pipeline.input_port(chunk.node_id)
            if len(chunk.named_buffers) == 1 and self._takes(chunk.node_id, only):
                return only
            raise BadRequest(f"chunk {chunk.sequence}: {error}", chunk.node_id) from None

    def _takes(self, node_id: str, port: str) -> bool:
        try:
            self._pipeline.input_port_meant(node_id, port)
        except PipelineError:
            return False
        return True

    def _numbered(self, found: Sequence[Chunk | None], chunk: pb.DataChunk | pb.AudioChunk) -> list[Chunk]:
        node_id, sequence, timestamp_ms = chunk.node_id, chunk.sequence, chunk.timestamp_ms
        last = self._last.get(node_id)
        if sequence and last is not None:
            expected = last + 1
            if sequence < expected:
                raise BadRequest(f"Out-of-order chunk: expected sequence {expected}, got {sequence}", node_id)
            if sequence > expected:
                _logger.info("chunks %d to %d for node %r did not come", expected, sequence - 1, node_id)
        if sequence or last is None:
            self._last[node_id] = sequence
        chunks = [each for each in found if each is not None]
        for each in chunks:
            each.data.origin = sequence
            if timestamp_ms:
                since = 0.0 if timestamp_ms >= _UNIX_MS else self._began_secs
                each.data.timestamp = since + timestamp_ms / 1000
        return chunks
