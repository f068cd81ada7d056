"""Chunks of audio that are cut within a frame: the remaining bytes go in front of the next chunk."""

from __future__ import annotations

from dataclasses import dataclass

import remotemedia_v1_pb2 as pb

from remotemedia.core.multiprocessing import Pipeline
from remotemedia.service._manifests import BadRequest
from remotemedia.wire.audio import form_of, frame_bytes, frame_in_words
from remotemedia.wire.payload import add_payload, payload_at

__all__ = ["Frames"]

# So a client can make the service keep at most 1024 rests of less than a kilobyte, under names of ordinary length.
_MOST_FRAME_BYTES = 1024
_MOST_RESTS = 1024
_MOST_PORT_CHARS = 255

_MOST_TOLD = 20


@dataclass(frozen=True)
class _Rest:
    """The bytes of a chunk after its last whole frame, and the error text if they are never completed."""

    data: bytes
    form: tuple[int, int, pb.AudioFormat]
    what: str
    frame: str

    @property
    def refusal(self) -> str:
        count = len(self.data)
        part = f"{count} byte{'' if count == 1 else 's'} of a frame"
        return f"{self.what}: AudioBuffer.samples ends with {part}, which has {self.frame}"


class Frames:
    """Joins the chunks of one stream into whole frames, for each input of each node."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._rests: dict[tuple[str, str], _Rest] = {}

    def join(self, node_id: str, port: str, what: str, buffer: pb.AudioBuffer, payloads: list[memoryview]) -> bool:
        """Puts the bytes left from the previous chunk in front of ``buffer``, and cuts off its own incomplete frame.

        Consecutive chunks of whole frames are not touched. If a frame is too large to keep part of it, ``data_of``
        refuses the chunk later.

        Args:
            node_id, port: where the chunk goes; port "" where the client named none.
            what: the chunk, for errors.
            buffer: the chunk, which is changed.
            payloads: those of its message; one is appended.

        Returns:
            False if there is only part of a frame.

        Raises:
            BadRequest: the bytes left from the previous chunk have another form; the error blames that chunk.
            ValueError: such a chunk cannot have this ``num_samples``.
        """
        frame = frame_bytes(buffer)
        data = payload_at(buffer.samples, payloads)
        if not frame or not data.nbytes or not (self._rests or data.nbytes % frame):
            return True
        key = node_id, port or self._pipeline.input_port(node_id)
        rest = self._rests.get(key)
        if rest is None and not (data.nbytes % frame and self._may_keep(key, frame)):
            return True
        if rest is not None and rest.form != form_of(buffer):
            raise BadRequest(f"{rest.refusal}, and the next chunk has another rate, format or channel count", node_id)
        joined = data if rest is None else memoryview(rest.data + data)
        whole_bytes = joined.nbytes - joined.nbytes % frame
        _check_count(buffer, data.nbytes, whole_bytes, frame)
        self._rests.pop(key, None)
        if whole_bytes < joined.nbytes:
            # A copy, so that the rest of the chunk can be freed.
            self._rests[key] = _Rest(bytes(joined[whole_bytes:]), form_of(buffer), what, frame_in_words(buffer))
        buffer.samples, buffer.num_samples = add_payload(payloads, joined[:whole_bytes]), 0
        return whole_bytes > 0

    def drop(self) -> None:
        """Forgets all remaining bytes: the next chunk begins with a whole frame."""
        self._rests.clear()

    def check_complete(self, of: str | None = None) -> None:
        """Raises BadRequest if a chunk ended within a frame and nothing followed. Called when all input has ended, or a
        part of that ``of`` a node."""
        rests = {key: rest for key, rest in self._rests.items() if of in (None, key[0])}
        if rests:
            blamed = {node_id for node_id, _ in rests}
            said = [f"{rest.refusal}, and nothing came after it" for rest in rests.values()][:_MOST_TOLD]
            if len(rests) > _MOST_TOLD:
                said.append(f"and {len(rests) - _MOST_TOLD} more")
            raise BadRequest("\n".join(said), blamed.pop() if len(blamed) == 1 else "")

    def _may_keep(self, key: tuple[str, str], frame: int) -> bool:
        return frame <= _MOST_FRAME_BYTES and len(self._rests) < _MOST_RESTS and len(key[1]) <= _MOST_PORT_CHARS


def _check_count(buffer: pb.AudioBuffer, own_bytes: int, joined_bytes: int, frame: int) -> None:
    """In a cut chunk, a client may count the incomplete samples or leave them out."""
    sample = frame // (buffer.channels or 1)
    counts = own_bytes // sample, -(-own_bytes // sample), joined_bytes // sample
    if buffer.num_samples and buffer.num_samples not in counts:
        raise ValueError(
            f"AudioBuffer.num_samples is {buffer.num_samples}, but samples has {counts[0]} (frames x channels), and "
            f"a part of one"
        )
