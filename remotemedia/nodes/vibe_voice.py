"""VibeVoiceNode: text becomes speech in a voice of your choice, while it is made."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np

from remotemedia._audio.errors import AudioFileError
from remotemedia._audio.reader import AudioReader
from remotemedia._weights import find_weights
from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode, Param, register_node
from remotemedia.nodes._common import Float32, audio_of, ends_speech, new_array, text_of, warn_of
from remotemedia.nodes._mono import MonoStream
from remotemedia.nodes._vibevoice import VIBEVOICE_RATE, Text, VibeVoice

__all__ = ["VibeVoiceNode"]

_VOICE_FILES = (".wav", ".flac", ".ogg", ".mp3")
# Names of voices in other programs: without a recording of that name, the model speaks in its own.
_ITS_OWN = ("", "sarah")


@register_node("vibe_voice")
@register_node("VibeVoiceNode")
class VibeVoiceNode(MultiprocessNode):
    """Speaks text with VibeVoice, run by transformers.

    Ports: input ``text`` (TEXT, also called ``input`` and ``text_in``); input ``audio`` (AUDIO of any rate, also called
    ``audio_in``), which is passed on: unchanged at 24 kHz, else resampled to mono float32 of that; output ``audio``
    (also called ``audio_out`` and ``output``): of text, mono float32, shape (3200,), 24 kHz, full scale 1.0, a message
    for each step of the model, at once. Blank text gives nothing.

    A voice is a recording: ``NAME.wav``, or FLAC, OGG or MP3, in ``voices_dir``; some ten seconds of one speaker.
    ``""`` is the model's own voice, and so is ``"sarah"`` where there is no such file.

    The model runs in a thread. An interruption is acknowledged at once, and nothing of the text comes out any more; the
    model ends its step. The same text in the same voice gives the same speech.
    """

    params = {
        "model": Param(str, "1.5B", help="name, repository on the Hugging Face Hub, or folder of a model"),
        "models_dir": Param(str, "", help="folder in which MODEL is looked for first"),
        "voice": Param(str, "", help='name of a recording in VOICES_DIR; "": the model\'s own voice'),
        "voices_dir": Param(str, "", help="folder of recordings, a voice each"),
        "rate": Param(float, 1.0, low=1.0, high=1.0, help="of speaking; the model knows none but its own, 1.0"),
        "device": Param(str, "auto", choices=("auto", "cpu", "cuda"), help="auto: a GPU if there is one"),
        "compute_type": Param(
            str,
            "auto",
            choices=("auto", "float32", "float16", "bfloat16"),
            help="auto: float32 on a CPU, bfloat16 on a GPU",
        ),
        "cpu_threads": Param(int, 0, low=0, help="threads that compute on a CPU; 0: the library's choice"),
        "guidance_scale": Param(float, 1.3, low=1, high=10, help="how closely the speech follows the text"),
        "diffusion_steps": Param(
            int, 10, low=1, high=1000, help="per step of the model: less is faster, more is finer"
        ),
        "max_secs": Param(float, 120, low=0.2, high=5400, help="longest speech of one text; the rest is cut off"),
    }
    inputs = {"text": DataType.TEXT, "audio": DataType.AUDIO}
    outputs = {"audio": DataType.AUDIO}
    port_aliases = {
        "input": "text",
        "text_in": "text",
        "audio_in": "audio",
        "audio_out": "audio",
        "output": "audio",
    }

    def __init__(self, node_id: str, config: dict[str, Any]) -> None:
        super().__init__(node_id, config)
        self._mono = MonoStream(VIBEVOICE_RATE)
        self._vibevoice = VibeVoice(self)
        self._voice: Float32 | None = None

    async def initialize(self) -> None:
        """Load the recording of the voice, and the model, in a thread.

        Raises:
            ImportError: a library is missing; it says what to install.
            FileNotFoundError: the weights were not found; it says where it looked, and how to get them.
            ValueError: there is no such voice, or its file is not a recording; the machine has no such device.
        """
        self._vibevoice.check_installed()
        self._mono.load(self, VibeVoice.extra)
        folder = find_weights(type(self).__name__, self.config["model"], self.config["models_dir"], VibeVoice.form)
        self._voice = self._recording(self.config["voice"], self.config["voices_dir"])
        await self._vibevoice.load(folder)

    async def process(self, data: RuntimeData) -> AsyncIterator[RuntimeData]:
        """Yield the speech for a text while it is made, or audio as it is; TypeError for anything else."""
        if data.type is DataType.AUDIO:
            for sound in self._passed_on(data):
                yield sound
            return
        words = text_of(self, data).strip()
        if not words:
            return
        config = self.config
        text = Text(words, self._voice, config["guidance_scale"], config["diffusion_steps"], config["max_secs"])
        async with aclosing(self._vibevoice.made(text)) as pieces:
            async for piece in pieces:
                yield self._message(piece, timestamp=data.timestamp)

    async def on_mark(self, mark: RuntimeData) -> AsyncIterator[RuntimeData]:
        """Pass it on, behind what the resampler holds back."""
        if ends_speech(mark):
            self.release()
            for sound in self._rest(timestamp=mark.timestamp):
                yield sound
        yield mark

    async def finish(self) -> AsyncIterator[RuntimeData]:
        """Yield what the resampler holds back."""
        warn_of(self, self._mono.numbers)
        for sound in self._rest():
            yield sound

    async def on_interrupt(self) -> None:
        """Forget what the resampler holds back."""
        self._mono.drop()

    async def cleanup(self) -> None:
        """Let the model go; waits for its step, if a text is cut off."""
        await self._vibevoice.close()

    # --- inside ---

    def _recording(self, voice: str, voices_dir: str) -> Float32 | None:
        """The voice as 24 kHz mono; None for the model's own."""
        folder = Path(voices_dir).expanduser() if voices_dir else None
        files = {} if folder is None else _voices_in(type(self).__name__, folder)
        if voice not in files:
            if voice in _ITS_OWN:
                return None
            known = ", ".join(map(repr, ("", *files))) if folder is not None else "'' alone, without voices_dir"
            where = f" in {folder}" if folder is not None else ""
            raise ValueError(
                f"{type(self).__name__}: param 'voice': there is no voice {voice!r}{where}; there is {known}. A "
                f"voice is a recording, such as {voice}.wav in the folder of voices_dir"
            )
        try:
            with AudioReader(files[voice]) as reader:
                samples = reader.read_all()
                reader.check_sound()
        except (AudioFileError, OSError) as error:
            raise ValueError(f"{type(self).__name__}: param 'voice': {error}") from None
        stream = MonoStream(VIBEVOICE_RATE)
        stream.load(self, VibeVoice.extra)
        return np.concatenate((stream.resampled(samples, reader.sample_rate), stream.end()))

    def _passed_on(self, data: RuntimeData) -> list[RuntimeData]:
        self.release()
        samples, form = audio_of(self, data)
        fields = {"timestamp": data.timestamp}
        sounds = self._rest(**fields) if self._mono.holds_back(form.sample_rate if samples.size else None) else []
        if form.sample_rate == VIBEVOICE_RATE or not samples.size:
            return [*sounds, data]
        resampled = self._mono.resampled(samples, form.sample_rate)
        if self._mono.holds_back(None):
            self.hold(data)
        return [*sounds, *([self._message(resampled, **fields)] if resampled.size else [])]

    def _rest(self, **fields: Any) -> list[RuntimeData]:
        tail = self._mono.end()
        return [self._message(tail, **fields)] if tail.size else []

    def _message(self, samples: Float32, **fields: Any) -> RuntimeData:
        array = new_array(self, samples.shape, np.float32)
        array[:] = samples
        return RuntimeData.audio(array, VIBEVOICE_RATE, **fields)


def _voices_in(owner: str, folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise ValueError(f"{owner}: param 'voices_dir': {folder} is not a folder")
    return {file.stem: file for file in sorted(folder.iterdir()) if file.suffix.lower() in _VOICE_FILES}
