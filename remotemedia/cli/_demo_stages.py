"""The time from the end of a question to the first sound of the answer, by stage."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from remotemedia.cli._demo_talk import Handler
from remotemedia.cli._job import Sink, Source
from remotemedia.core.data import AudioMetadata, RuntimeData
from remotemedia.core.multiprocessing import Pipeline

__all__ = ["STAGES", "Microphone", "Stages", "Timed"]

STAGES = {
    "turn": "the turn has ended",
    "words": "words",
    "answer": "first word of the answer",
    "sentence": "first sentence",
    "sound": "first sound",
}
"""What comes after a question, in order; for people."""


class Microphone:
    """A source, and then silence: a microphone hears on when somebody has stopped to speak.

    Attributes:
        began: of ``time.monotonic``: when it was opened.
    """

    def __init__(self, source: Source, silence_secs: float) -> None:
        self.name, self.unit = source.name, source.unit
        self.total = None if source.total is None else source.total + silence_secs
        self.began = 0.0
        self._source = source
        self._silence_secs = silence_secs

    @property
    def warning(self) -> str | None:
        return self._source.warning

    async def messages(self) -> AsyncGenerator[tuple[RuntimeData, float], None]:
        self.began = time.monotonic()
        last, fed = None, 0.0
        async for data, fed in self._source.messages():
            yield data, fed
            last = data.metadata
        if isinstance(last, AudioMetadata):
            block = np.zeros((last.sample_rate // 10, last.channels), np.float32)
            for number in range(round(self._silence_secs * 10)):
                silence = RuntimeData.audio(
                    block.reshape(-1) if last.channels == 1 else block, last.sample_rate, last.channels
                )
                yield silence, fed + (number + 1) / 10

    def close(self) -> None:
        self._source.close()


@dataclass
class Timed:
    """What was heard, and the seconds from the end of its speech to each of STAGES that was reached."""

    heard: str = ""
    secs: dict[str, float] = field(default_factory=dict)


class Stages:
    """Times what comes after each turn, for a source that is fed at its pace.

    What belongs together has the timestamp of the message that ended the turn.
    """

    def __init__(self, microphone: Microphone) -> None:
        self._microphone = microphone
        self._speech_ended: dict[float, float] = {}
        self._timed: dict[float, Timed] = {}

    @property
    def turns(self) -> list[Timed]:
        """Those that were answered."""
        return [timed for timed in self._timed.values() if "sound" in timed.secs]

    def sinks(self, pipeline: Pipeline) -> list[Sink]:
        """To be added to those of a job."""
        takers = {"asr": ("words", "text"), "chat": ("answer", ""), "sentences": ("sentence", ""), "tts": ("sound", "")}
        found: list[Sink] = [Handler("ears", self._listen)]
        for node_id, (stage, port) in takers.items():
            if node_id in pipeline.node_ids:
                found.append(Handler(node_id, partial(self._reached, stage, port)))
        return found

    def _listen(self, data: RuntimeData) -> None:
        if data.port != "events":
            return
        event: Any = data.as_json()
        if event["event"] == "turn_ended":
            ended = self._microphone.began + event["secs"] - event["silence_secs"]
            self._speech_ended[data.timestamp] = ended
            self._note("turn", data.timestamp)

    def _reached(self, stage: str, port: str, data: RuntimeData) -> None:
        if data.mark or (port and data.port != port) or data.timestamp not in self._speech_ended:
            return
        self._note(stage, data.timestamp)
        if stage == "words":
            self._timed[data.timestamp].heard = str(data.payload)

    def _note(self, stage: str, timestamp: float) -> None:
        timed = self._timed.setdefault(timestamp, Timed())
        timed.secs.setdefault(stage, time.monotonic() - self._speech_ended[timestamp])
