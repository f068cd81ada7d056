"""PiperTTSNode: text becomes speech by a neural voice that a CPU can run, sentence by sentence."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import numpy as np

from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode, Param, register_node
from remotemedia.nodes._common import new_array, text_of
from remotemedia.nodes._piper import Piper, Text

__all__ = ["PiperTTSNode"]


@register_node("PiperTTSNode")
class PiperTTSNode(MultiprocessNode):
    """Speaks text with Piper.

    Ports: input ``text`` (TEXT, also called ``input`` and ``text_in``); output ``audio`` (also called ``audio_out`` and
    ``output``): mono float32, shape (n,), at most ``block_ms`` per message, at the rate of the voice, which is 22050 Hz
    for most; full scale 1.0. Blank text gives nothing.

    The speech of a sentence comes when it is complete, while the next one is made. A thread makes it: an interruption
    is acknowledged at once, and nothing of the text comes out any more; the sentence under way is computed to its end.
    In a new process the same texts give the same speech.
    """

    params = {
        "voice": Param(str, "en_US-joe-medium", help="file of a voice, with its .json beside it, or name of one"),
        "voices_dir": Param(str, "", help="folder in which the name of a voice is looked for"),
        "speaker": Param(str, "", help='of a voice that has several; "": its first'),
        "rate": Param(float, 1.0, low=0.25, high=4, help="of speaking, as a multiple of the voice's own"),
        "device": Param(str, "cpu", choices=("auto", "cpu", "cuda"), help="auto: a GPU if onnxruntime has one"),
        "cpu_threads": Param(int, 0, low=0, help="threads that compute on a CPU; 0: one for each core"),
        "block_ms": Param(int, 100, low=10, high=60_000, help="audio per message"),
    }
    inputs = {"text": DataType.TEXT}
    outputs = {"audio": DataType.AUDIO}
    port_aliases = {"input": "text", "text_in": "text", "audio_out": "audio", "output": "audio"}

    def __init__(self, node_id: str, config: dict[str, Any]) -> None:
        super().__init__(node_id, config)
        self._piper = Piper(self)

    async def initialize(self) -> None:
        """Load the voice, in a thread.

        Raises:
            ImportError: a library is missing; it says what to install.
            FileNotFoundError: there is no such voice; it says where it looked, and how to get one.
            ValueError: the voice has no such speaker, or the machine no such device.
        """
        self._piper.check_installed()
        file = self._piper.find(self.config["voice"], self.config["voices_dir"])
        self._piper.check_speaker(file, self.config["speaker"])
        await self._piper.load(file)

    async def process(self, data: RuntimeData) -> AsyncIterator[RuntimeData]:
        """Yield the speech for a text while it is made; TypeError for anything but text."""
        words = text_of(self, data).strip()
        if not words:
            return
        frames = max(1, self._piper.sample_rate * self.config["block_ms"] // 1000)
        async with aclosing(self._piper.made(Text(words, self.config["rate"]))) as sentences:
            async for sentence in sentences:
                for at in range(0, len(sentence), frames):
                    block = sentence[at : at + frames]
                    array = new_array(self, block.shape, np.float32)
                    array[:] = block
                    yield RuntimeData.audio(array, self._piper.sample_rate, timestamp=data.timestamp)

    async def cleanup(self) -> None:
        """Let the voice go; waits for the sentence that is being made, if a text is cut off."""
        await self._piper.close()
