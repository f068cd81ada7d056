"""LFM2AudioNode: speech or text is answered in speech and text, while both are made."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import numpy as np

from remotemedia._weights import find_weights
from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.marks import EAGER_END_OF_UTTERANCE, END_OF_UTTERANCE
from remotemedia.core.multiprocessing import Interruption, MultiprocessNode, Param, register_node
from remotemedia.nodes._common import SPEECH_RATE, Float32, audio_of, ends_speech, new_array, text_of, warn_of
from remotemedia.nodes._conversation import Conversation, Said, heard_secs
from remotemedia.nodes._lfm2 import ANSWER_RATE, LFM2, Prompt
from remotemedia.nodes._mono import MonoStream
from remotemedia.nodes._utterances import WHOLE_MESSAGE_SECS, Utterance, Utterances

__all__ = ["LFM2AudioNode"]

_BETWEEN_SENTENCES = re.compile(r"(?<=[.!?…])\s+")


@register_node("lfm2_audio")
@register_node("LFM2Node")
@register_node("LFM2AudioNode")
class LFM2AudioNode(MultiprocessNode):
    """Holds a conversation with LFM2-Audio, run by liquid-audio: speech or text in, speech and text out.

    Ports: input ``audio`` (AUDIO of any rate; float32, float64, int16 or int32; shape (n,) or (n, channels); also
    called ``audio_in``): an utterance of the user's; input ``text`` (TEXT, also called ``input`` and ``text_in``): what
    the user has typed, blank text is nothing; output ``text`` (TEXT, also called ``output`` and ``text_out``): the
    answer by sentence, or token by token; output ``audio`` (also called ``audio_out``): the answer as 24 kHz mono
    float32, full scale 1.0, without gaps, 80 ms as soon as they are made.

    An utterance ends at a mark (END_OF_UTTERANCE), at a message of zero samples, and at the end of a turn and of the
    stream. With ``segment`` "auto" a message of a second or more is an utterance of its own, until there was such a
    mark or message.

    The model is given the last ``max_history`` exchanges each time. A mark named "reset" forgets them.

    After an interruption the history has of each answer what was heard of it: what the report says was played, in
    seconds of audio, else what was delivered; if it says neither, all that came out. If it names several outputs, the
    one of which most was heard counts. The sound of an answer is cut to the 80 ms. Its text is cut where it would be if
    it were spoken evenly; where the model had not come to its end, or the voice is another node's, at 15 characters a
    second. So a word more or less may be remembered. If other audio came out of the same output since the interruption
    before, it counts as if it were of the answers.

    The model runs in a thread. An interruption is acknowledged at once, and nothing of the answer comes out any more;
    the model ends its token. A message that fails leaves no trace in the history.
    """

    params = {
        "model": Param(
            str, "LFM2-Audio-1.5B", help='name, repository on the Hugging Face Hub, or folder; "large" is the default'
        ),
        "models_dir": Param(str, "", help="folder in which MODEL is looked for first"),
        "system_prompt": Param(str, "Respond with interleaved text and audio.", help="what the model is told first"),
        "device": Param(str, "auto", choices=("auto", "cpu", "cuda"), help="auto: a GPU if there is one"),
        "compute_type": Param(
            str,
            "auto",
            choices=("auto", "float32", "float16", "bfloat16"),
            help="auto: float32 on a CPU, bfloat16 on a GPU",
        ),
        "cpu_threads": Param(int, 0, low=0, help="threads that compute on a CPU; 0: the library's choice"),
        "text_only": Param(bool, False, help="answer in text alone"),
        "text_by": Param(str, "sentence", choices=("token", "sentence"), help="what a message of text is"),
        "segment": Param(str, "auto", choices=("auto", "marks"), help="what ends an utterance"),
        "max_history": Param(int, 20, low=0, help="exchanges that are remembered"),
        "max_new_tokens": Param(int, 2048, low=1, help="of an answer: tokens of text, and 80 ms of sound each"),
        "text_temperature": Param(float, 0.0, low=0, help="0: always the likeliest token"),
        "text_top_k": Param(int, 0, low=0, help="likeliest tokens that are drawn from; 0: all"),
        "audio_temperature": Param(float, 1.0, low=0, help="0: always the likeliest sound"),
        "audio_top_k": Param(int, 4, low=0, high=2048, help="likeliest sounds that are drawn from; 0: all"),
    }
    inputs = {"audio": DataType.AUDIO, "text": DataType.TEXT}
    outputs = {"text": DataType.TEXT, "audio": DataType.AUDIO}
    optional_outputs = ("text", "audio")
    port_aliases = {
        "audio_in": "audio",
        "text_in": "text",
        "input": "text",
        "text_out": "text",
        "audio_out": "audio",
        "output": "text",
    }

    def __init__(self, node_id: str, config: dict[str, Any]) -> None:
        super().__init__(node_id, config)
        self._mono = MonoStream(SPEECH_RATE)
        self._utterances = Utterances(None, 0)  # by marks alone
        self._was_marked = self.config["segment"] == "marks"
        self._conversation = Conversation(self.config["max_history"])
        self._lfm2 = LFM2(self)

    async def initialize(self) -> None:
        """Load the model, in a thread.

        Raises:
            ImportError: a library is missing, or Python is too old for it; it says what to do.
            FileNotFoundError: the weights were not found; it says where it looked, and how to get them.
            ValueError: the machine has no such device, or none that the model's voice needs.
        """
        self._lfm2.check_installed()
        self._mono.load(self, LFM2.extra)
        folder = find_weights(type(self).__name__, self.config["model"], self.config["models_dir"], LFM2.form)
        await self._lfm2.load(folder)

    async def process(self, data: RuntimeData) -> AsyncIterator[dict[str, RuntimeData]]:
        """Yield the answer to a text, or to the utterances that ``data`` completes, while it is made.

        TypeError or ValueError for anything else.
        """
        if data.type is DataType.AUDIO:
            self.release()
            said: list[Said] = [utterance.samples for utterance in self._completed(data)]
        else:
            text = text_of(self, data).strip()
            said = [text] if text else []
        async with aclosing(self._answers(said, timestamp=data.timestamp)) as outputs:
            async for output in outputs:
                yield output
        if data.type is DataType.AUDIO and (self._utterances.has_samples or self._mono.holds_back(None)):
            self.hold(data)

    async def on_mark(self, mark: RuntimeData) -> AsyncIterator[RuntimeData | dict[str, RuntimeData]]:
        """Yield the answer to the utterance that ends here, if any; other marks than its end are passed on."""
        if mark.mark == "reset":
            self._conversation.clear()
        if ends_speech(mark):
            self.release()
            async with aclosing(self._answers(self._ended_by(mark), timestamp=mark.timestamp)) as outputs:
                async for output in outputs:
                    yield output
        if mark.mark not in (EAGER_END_OF_UTTERANCE, END_OF_UTTERANCE):
            yield mark

    async def finish(self) -> AsyncIterator[dict[str, RuntimeData]]:
        """Yield the answer to the utterance that is open, if any."""
        warn_of(self, self._mono.numbers)
        self._utterances.add(self._mono.end())
        async with aclosing(self._answers([one.samples for one in self._utterances.end()])) as outputs:
            async for output in outputs:
                yield output

    async def on_interrupt(self, report: Interruption) -> None:  # type: ignore[override]
        """Forget the open utterance, and of the answers what was not heard."""
        self._mono.drop()
        self._utterances.clear()
        self._conversation.cut(heard_secs(report.heard))

    async def cleanup(self) -> None:
        """Let the model go; waits for its token, if an answer is cut off."""
        await self._lfm2.close()
        warn_of(self, self._mono.numbers)

    # --- inside ---

    def _completed(self, data: RuntimeData) -> list[Utterance]:
        samples, form = audio_of(self, data)
        if self._mono.holds_back(form.sample_rate if samples.size else None):
            self._utterances.add(self._mono.end())
        if not samples.size:
            self._was_marked = True
            return self._utterances.end()
        resampled = self._mono.resampled(samples, form.sample_rate)
        if not self._was_marked and len(samples) >= WHOLE_MESSAGE_SECS * form.sample_rate:
            return self._utterances.whole(np.concatenate((resampled, self._mono.end())))
        return self._utterances.add(resampled)

    def _ended_by(self, mark: RuntimeData) -> list[Said]:
        # The end of a turn says nothing of where utterances end within the next one.
        self._was_marked = self._was_marked or mark.mark == END_OF_UTTERANCE
        self._utterances.add(self._mono.end())
        return [utterance.samples for utterance in self._utterances.end()]

    async def _answers(self, said: list[Said], **fields: Any) -> AsyncGenerator[dict[str, RuntimeData]]:
        """The answer to each, while it is made; ``fields`` are RuntimeData's."""
        for one in said:
            exchange = self._conversation.begin(one)
            text = ""
            try:
                async with aclosing(self._lfm2.made(self._prompt())) as steps:
                    async for step in steps:
                        if step.token is not None:
                            self._conversation.add(exchange, step.token)
                        *whole, text = self._pieces(text + step.text)
                        for piece in whole:
                            yield {"text": RuntimeData.text(piece, **fields)}
                        if step.sound.size:
                            yield {"audio": self._message(step.sound, **fields)}
            except Exception:
                self._conversation.take_back(exchange)
                raise
            exchange.is_whole = True
            if text.strip():
                yield {"text": RuntimeData.text(text.strip(), **fields)}

    def _pieces(self, text: str) -> list[str]:
        """What of a text can be given, and last what waits for more."""
        if self.config["text_by"] == "sentence":
            return _BETWEEN_SENTENCES.split(text.lstrip())
        return [text, ""] if text else [""]

    def _prompt(self) -> Prompt:
        exchanges = tuple((one.said, tuple(one.tokens)) for one in self._conversation.exchanges)
        settings = {key: self.config[key] for key in Prompt._fields if key in self.config}
        return Prompt(self.config["system_prompt"], exchanges, **settings)

    def _message(self, samples: Float32, **fields: Any) -> RuntimeData:
        array = new_array(self, samples.shape, np.float32)
        array[:] = samples
        return RuntimeData.audio(array, ANSWER_RATE, **fields)
