"""Marks: messages without a payload that say where something ends, in order with the data.

A mark is made by ``RuntimeData.control(name, value)``. docs/turns.md says who makes and reads which.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from remotemedia.core.data import AudioMetadata, DataType, RuntimeData

__all__ = [
    "EAGER_END_OF_UTTERANCE",
    "END_OF_ANSWER",
    "END_OF_TURN",
    "END_OF_UTTERANCE",
    "FAILURE",
    "TurnEnd",
    "end_of_utterance",
    "turn_end",
    "zero_samples",
]

END_OF_ANSWER = "end_of_answer"
"""A language model has said all that it says for now."""

END_OF_TURN = "end_of_turn"
"""The input of a turn is complete: what nodes hold back for more of it comes out."""

END_OF_UTTERANCE = "end_of_utterance"
"""A speaker has paused, or stopped."""

EAGER_END_OF_UTTERANCE = "eager_end_of_utterance"
"""A speaker may have stopped: if nothing but END_OF_UTTERANCE follows, that is so, and a recogniser can begin now."""

FAILURE = "failure"
"""A node failed for a message: this is in the place of what would have come of it."""


class TurnEnd(NamedTuple):
    """What the mark of the end of a turn says, if a session has sent it.

    Attributes:
        number: of the turn.
        inputs: the input nodes that got a part of it.
        epoch: counts the interruptions: that of the last one before the mark was sent.
    """

    number: int
    inputs: tuple[str, ...]
    epoch: int

    def as_mark(self) -> RuntimeData:
        """The mark."""
        return RuntimeData.control(END_OF_TURN, {"turn": self.number, "inputs": list(self.inputs), "epoch": self.epoch})


def turn_end(mark: RuntimeData) -> TurnEnd | None:
    """What it says; None for any other mark, and for one that no session has sent."""
    value: Any = mark.metadata.get("value") if isinstance(mark.metadata, dict) else None
    if mark.mark != END_OF_TURN or not isinstance(value, dict):
        return None
    number, inputs, epoch = value.get("turn"), value.get("inputs"), value.get("epoch")
    if type(number) is not int or type(epoch) is not int or not 0 <= epoch < 2**32 or not isinstance(inputs, list):
        return None
    return TurnEnd(number, tuple(str(one) for one in inputs), epoch)


def end_of_utterance(
    form: AudioMetadata, *, timestamp: float | None = None, session_id: str = "", origin: int = 0, port: str = ""
) -> RuntimeData:
    """The mark after an utterance in audio of this form; a node that knows no marks gets a message of zero samples."""
    value = {"sample_rate": form.sample_rate, "channels": form.channels, "format": form.format}
    return RuntimeData.control(
        END_OF_UTTERANCE, value, timestamp=timestamp, session_id=session_id, origin=origin, port=port
    )


def zero_samples(mark: RuntimeData) -> RuntimeData | None:
    """The mark as an AUDIO message of zero samples, shape (0,) or (0, channels), float32.

    None for one that is not the end of an utterance in audio.
    """
    value = mark.metadata.get("value") if isinstance(mark.metadata, dict) else None
    if mark.type is not DataType.CONTROL or mark.mark != END_OF_UTTERANCE or not isinstance(value, dict):
        return None
    rate, channels = value.get("sample_rate"), value.get("channels")
    if type(rate) is not int or type(channels) is not int or not 0 < rate < 2**32 or not 0 < channels < 2**16:
        return None
    samples = np.empty(0 if channels == 1 else (0, channels), np.float32)
    data = RuntimeData(DataType.AUDIO, samples, mark.session_id, mark.timestamp, AudioMetadata(rate, channels, "f32"))
    data.port, data.sequence, data.origin = mark.port, mark.sequence, mark.origin
    return data
