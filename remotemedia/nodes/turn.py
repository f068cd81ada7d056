"""TurnNode: lets only speech through, says where a speaker's turn ends, and silences the answer that is talked over."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import numpy as np

from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.marks import EAGER_END_OF_UTTERANCE, END_OF_UTTERANCE
from remotemedia.core.multiprocessing import MultiprocessNode, Param, register_node
from remotemedia.errors import PipelineError
from remotemedia.nodes._common import SPEECH_RATE, Float32, audio_of, end_marker, ends_speech, warn_of
from remotemedia.nodes._mono import MonoStream
from remotemedia.nodes._smart_turn import LISTENS_SECS, SmartTurn
from remotemedia.nodes._speech_frames import FRAME, SpeechFrames, frames_in

__all__ = ["TurnNode"]

# The model was trained on turns that begin so long before their first sound.
_LEAD_MS = 500
_NO_MODEL = "none"


@register_node("TurnNode")
class TurnNode(MultiprocessNode):
    """Finds where a speaker's turn ends, with the Silero voice activity detector and the model Smart Turn v3.

    Ports: input ``audio`` (any rate; float32, float64, int16 or int32; shape (n,) or (n, channels); also called
    ``input`` and ``audio_in``); outputs ``audio`` (also called ``output`` and ``audio_out``): the frames of each turn
    (16 kHz mono float32, shape (512,), 32 ms; the last of the stream may be shorter), then a mark of its end
    (``END_OF_UTTERANCE``); ``events`` (JSON: ``{"event": "turn_started" | "pause" | "turn_ended" | "barge_in", "secs":
    ..., "silence_secs": ..., "probability": ...}``, the seconds of audio since the start or the last interruption, how
    many of the last of them were silent, and what the model said last in this pause, or null).

    After ``eager_ms`` of silence comes a mark that the turn may have ended (EAGER_END_OF_UTTERANCE): if no more speech
    follows, the turn has no more frames, and a WhisperNode has its words ready by the time that its end is known.

    After ``pause_ms`` of silence the model hears the last 8 s and says how likely the turn has ended. At ``threshold``
    it has. Below, the turn goes on with the next speech, or ends after ``max_pause_ms`` of silence. Silence within a
    turn comes out when the turn goes on. A mark of the end of an utterance in the input, a message of zero samples, and
    the end of a turn of the session (whose mark is passed on) and of the stream end an open turn.

    With ``interrupts`` it calls ``interrupt(from_node=...)`` once in each turn, after ``min_interrupt_ms`` of speech
    without a pause, and before any frame of the turn goes out: the answer is silent by then, and the words are not cut.
    A turn of less speech goes out when it has ended, and interrupts nobody.

    The output depends on the samples alone, not on how they were split into messages, nor on how long the model takes:
    it computes in a thread, and what comes after waits. NaN counts as 0 and infinity as 1 or -1; a warning at the end
    says how many there were. Times in the config are rounded up to whole frames of 32 ms.
    """

    params = {
        "model": Param(
            str, "", help='.onnx file; "": the one in the package pipecat-ai; "none": each pause ends a turn'
        ),
        "threshold": Param(float, 0.5, low=0, high=1, help="probability at which a turn has ended"),
        "eager_ms": Param(
            float,
            96,
            low=0,
            help="silence after which a recogniser may begin, before the turn has ended; 0: it may not",
        ),
        "pause_ms": Param(float, 200, low=0, help="silence after which the model is asked"),
        "max_pause_ms": Param(float, 3000, low=0, help="silence that ends a turn whatever the model says"),
        "vad_threshold": Param(float, 0.5, low=0, high=1, help="probability at which a frame counts as speech"),
        "min_speech_ms": Param(float, 64, low=0, help="speech shorter than this is dropped as noise"),
        "speech_pad_ms": Param(float, 200, low=0, help="silence passed on before and after"),
        "interrupts": Param(str, "", help='node from which on an answer is silenced by speech; "": none'),
        "min_interrupt_ms": Param(float, 600, low=0, help="speech that silences it; shorter is a back-channel"),
        "cpu_threads": Param(int, 1, low=1, help="threads that the model computes on"),
    }
    inputs = {"audio": DataType.AUDIO}
    outputs = {"audio": DataType.AUDIO, "events": DataType.JSON}
    optional_outputs = ("events",)
    port_aliases = {"input": "audio", "audio_in": "audio", "output": "audio", "audio_out": "audio"}

    def __init__(self, node_id: str, config: dict[str, Any]) -> None:
        super().__init__(node_id, config)
        self._mono = MonoStream(SPEECH_RATE)
        self._speech = SpeechFrames(
            self.config["vad_threshold"], self.config["min_speech_ms"], self.config["speech_pad_ms"]
        )
        self._smart_turn = None if self.config["model"] == _NO_MODEL else SmartTurn(self)
        self._pause = max(1, frames_in(self.config["pause_ms"]))
        self._max_pause = max(1, frames_in(self.config["max_pause_ms"])) if self._smart_turn else self._pause
        eager = frames_in(self.config["eager_ms"])
        # Silence that goes out at the end of a turn; None: all of the pad.
        self._eager = eager if 0 < eager < self._pause else None
        self._min_interrupt = frames_in(self.config["min_interrupt_ms"])
        # What the model may hear: of the open turn, or of what may become its start.
        self._recent: deque[Float32] = deque(maxlen=LISTENS_SECS * SPEECH_RATE // FRAME)
        self._lead = frames_in(_LEAD_MS) + frames_in(self.config["min_speech_ms"])
        self._probability: float | None = None
        # Frames of speech before the last pause: only what comes after it counts for an interruption.
        self._before_pause = 0
        self._may_interrupt = bool(self.config["interrupts"])
        self._frames = 0

    async def initialize(self) -> None:
        """Load the detector and the model, in a thread.

        Raises:
            ImportError: a library is missing; it says what to install.
            FileNotFoundError: there is no such model; it says where it looked, and how to get it.
        """
        if self._smart_turn is not None:
            self._smart_turn.check_installed()
        self._mono.load(self, SmartTurn.extra)
        self._speech.load(self, SmartTurn.extra)
        if self._smart_turn is not None:
            await self._smart_turn.load(self._smart_turn.find(self.config["model"]))

    async def process(self, data: RuntimeData) -> AsyncIterator[dict[str, RuntimeData]]:
        """Yield the frames, marks and events that ``data`` decides.

        TypeError or ValueError for anything but audio; PipelineError if the node in ``interrupts`` cannot be.
        """
        resampled, ends = self._resampled(data)
        self.release()
        async with aclosing(self._hear(resampled, data.timestamp)) as outputs:
            async for output in outputs:
                yield output
        if ends:
            for output in self._end(data.timestamp):
                yield output
        if self._speech.has_samples or self._mono.holds_back(None):
            self.hold(data)

    async def on_mark(self, mark: RuntimeData) -> AsyncIterator[RuntimeData | dict[str, RuntimeData]]:
        """End the turn that is open, if any, where an utterance or a turn of the session ends; pass on other marks."""
        if ends_speech(mark):
            self.release()
            async with aclosing(self._hear(self._mono.end(), mark.timestamp)) as outputs:
                async for output in outputs:
                    yield output
            for output in self._end(mark.timestamp):
                yield output
        if mark.mark != END_OF_UTTERANCE:
            yield mark

    async def finish(self) -> AsyncIterator[dict[str, RuntimeData]]:
        """End the turn that is open, if any."""
        async with aclosing(self._hear(self._mono.end(), None)) as outputs:
            async for output in outputs:
                yield output
        for output in self._end(None):
            yield output
        warn_of(self, self._mono.numbers)

    async def on_interrupt(self) -> None:
        """Forget the open turn and what the detector has heard; no mark comes out."""
        self._mono.drop()
        self._forget()
        self._frames = 0

    async def cleanup(self) -> None:
        """Let the detector and the model go; waits until the model has answered."""
        self._speech.unload()
        if self._smart_turn is not None:
            await self._smart_turn.close()
        warn_of(self, self._mono.numbers)

    # --- inside ---

    def _resampled(self, data: RuntimeData) -> tuple[Float32, bool]:
        """What a message brings out of the resampler, and whether it is the end of an utterance."""
        samples, form = audio_of(self, data)
        if not samples.size:
            return self._mono.end(), True
        held_back = self._mono.end() if self._mono.holds_back(form.sample_rate) else np.empty(0, np.float32)
        return np.concatenate((held_back, self._mono.resampled(samples, form.sample_rate))), False

    async def _hear(self, samples: Float32, timestamp: float | None) -> AsyncGenerator[dict[str, RuntimeData]]:
        """What these samples decide; ``timestamp`` is RuntimeData's. At their end PipelineError, if it was refused an
        interruption."""
        refused: PipelineError | None = None
        for frame in self._speech.frames(samples):
            was_speaking = self._speech.speaking
            self._speech.hear(frame)
            self._frames += 1
            self._recent.append(frame)
            if self._speech.speaking:
                if not was_speaking:
                    yield self._event("turn_started", timestamp)
                try:
                    async with aclosing(self._go_on(timestamp)) as outputs:
                        async for output in outputs:
                            yield output
                except PipelineError as error:
                    refused = error  # the words that came with it must not be lost
            else:
                while len(self._recent) > self._lead:
                    self._recent.popleft()
            # A frame takes about a millisecond: a long message must not keep the loop from an interrupt.
            await asyncio.sleep(0)
        if refused is not None:
            raise refused

    async def _go_on(self, timestamp: float | None) -> AsyncGenerator[dict[str, RuntimeData]]:
        """What the last frame of the open turn decides."""
        silent = self._speech.silent_frames
        if silent == 0:
            self._probability = None
        if silent == self._pause:
            self._before_pause = self._speech.speech_frames
            if self._smart_turn is not None and self._pause < self._max_pause:
                self._probability = await self._smart_turn.probability(np.concatenate(self._recent))
                yield self._event("pause", timestamp)
        if self._may_interrupt and self._speech.speech_frames - self._before_pause >= self._min_interrupt:
            self._may_interrupt = False
            await self.interrupt(from_node=self.config["interrupts"])
            yield self._event("barge_in", timestamp)
        is_complete = self._probability is not None and self._probability >= self.config["threshold"]
        has_ended = is_complete or silent >= self._max_pause
        if has_ended or not self._may_interrupt:
            for frame in self._speech.take(self._eager):
                yield _audio(frame, timestamp)
        if silent == self._eager and not self._may_interrupt:
            yield {"audio": RuntimeData.control(EAGER_END_OF_UTTERANCE, timestamp=timestamp)}
        if has_ended:
            for output in self._ended(timestamp):
                yield output
            self._speech.stop()

    def _end(self, timestamp: float | None) -> Iterator[dict[str, RuntimeData]]:
        """End of the stream, or of a part of it: the samples short of a frame belong to an open turn."""
        if self._speech.speaking:
            for frame in self._speech.take(self._eager):
                yield _audio(frame, timestamp)
            is_told = self._eager is not None and self._speech.silent_frames >= self._eager
            if not is_told and (rest := self._speech.rest()) is not None:
                yield _audio(rest, timestamp)
            yield from self._ended(timestamp)
        self._forget()

    def _ended(self, timestamp: float | None) -> Iterator[dict[str, RuntimeData]]:
        yield self._event("turn_ended", timestamp)
        self._close()
        yield {"audio": end_marker(SPEECH_RATE, timestamp=timestamp)}

    def _forget(self) -> None:
        self._speech.clear()
        self._close()

    def _close(self) -> None:
        """The next speech begins a turn."""
        self._recent.clear()
        self._probability = None
        self._before_pause = 0
        self._may_interrupt = bool(self.config["interrupts"])

    def _event(self, event: str, timestamp: float | None) -> dict[str, RuntimeData]:
        probability = None if self._probability is None else round(self._probability, 4)
        secs = round(self._frames * FRAME / SPEECH_RATE, 3)
        silence_secs = round(self._speech.silent_frames * FRAME / SPEECH_RATE, 3)
        value = {"event": event, "secs": secs, "silence_secs": silence_secs, "probability": probability}
        return {"events": RuntimeData.json(value, timestamp=timestamp)}


def _audio(samples: Float32, timestamp: float | None) -> dict[str, RuntimeData]:
    return {"audio": RuntimeData.audio(samples, SPEECH_RATE, timestamp=timestamp)}
