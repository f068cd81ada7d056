"""AudioOutputNode: where audio leaves a pipeline: to the program, to a file, or to a sound card."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from remotemedia._audio.samples import NotNumbers
from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode, Param, register_node
from remotemedia.nodes._common import audio_of, warn_of
from remotemedia.nodes._sound_card import Block, SoundCard, block_of
from remotemedia.nodes._written_file import SUBTYPES, WrittenFile

__all__ = ["AudioOutputNode"]


@register_node("AudioOutputNode")
class AudioOutputNode(MultiprocessNode):
    """Gives audio to whoever listens: to the program, to a file with ``path``, or to a sound card with ``device``.

    Ports: input ``audio`` (AUDIO of any rate; float32, float64, int16 or int32; shape (n,) or (n, channels); also
    called ``input`` and ``audio_in``); outputs ``audio`` (also called ``output`` and ``audio_out``) and ``path``.
    Neither has to be connected.

    To the program, each message goes out on ``audio`` as it is.

    To a file, as AudioFileWriterNode writes it: WAV or FLAC, which appears when it is complete. Its path goes out on
    ``path`` at the end of the stream.

    To a sound card, ``buffer_ms`` are handed to it in advance; then its pace holds up the nodes before it. What was
    played goes out on ``audio``, as float32 of shape (n, channels), so that the report of an interruption says how much
    was heard: where this node is the last of a pipeline, that goes to the program. An interruption silences the card
    within some milliseconds. The card is let go after a second of silence, and waked again.
    """

    params = {
        "path": Param(str, "", help="of a file to write, ending in .wav or .flac"),
        "subtype": Param(str, "PCM_16", choices=SUBTYPES, help="sample format of the file"),
        "device": Param(str, "", help='name of a sound card to play on, or "default"'),
        "buffer_ms": Param(int, 200, low=20, high=10_000, help="audio that a sound card is given in advance"),
    }
    inputs = {"audio": DataType.AUDIO}
    outputs = {"audio": DataType.AUDIO, "path": DataType.TEXT}
    optional_outputs = ("audio", "path")
    port_aliases = {"input": "audio", "audio_in": "audio", "output": "audio", "audio_out": "audio"}

    def __init__(self, node_id: str, config: dict[str, Any]) -> None:
        super().__init__(node_id, config)
        path, device = self.config["path"], self.config["device"]
        if path and device:
            raise ValueError("AudioOutputNode: give param 'path' or param 'device', not both: connect a node for each")
        self._file = WrittenFile(self) if path else None
        self._card = SoundCard(self, device) if device else None
        self._numbers = NotNumbers()

    async def initialize(self) -> None:
        """Load what the file or the card needs.

        Raises:
            ImportError: a library is missing; it says what to install.
            FileNotFoundError: there is no folder for the file.
            ValueError: there is no such sound card; it lists those that there are.
        """
        if self._file is not None:
            self._file.load("sound")
        if self._card is not None:
            self._card.load()

    async def process(self, data: RuntimeData) -> AsyncIterator[dict[str, RuntimeData]]:
        """Pass a message on, write it or play it.

        TypeError or ValueError for anything but audio; OSError if it cannot be written or played.
        """
        samples, form = audio_of(self, data)
        if self._file is not None:
            self._file.add(data)
        elif self._card is None:
            yield {"audio": data}
        elif samples.size:
            block = block_of(self._numbers.replaced(samples), form.sample_rate, form.channels, data.timestamp)
            for played in await self._card.add(block):
                yield _message(played)
            while blocks := await self._next_played(self.config["buffer_ms"] / 1000):
                for played in blocks:
                    yield _message(played)

    async def on_mark(self, mark: RuntimeData) -> AsyncIterator[RuntimeData | dict[str, RuntimeData]]:
        """Pass it on, once a card has played what comes before it."""
        while blocks := await self._next_played(0):
            for played in blocks:
                yield _message(played)
        yield mark

    async def finish(self) -> AsyncIterator[dict[str, RuntimeData]]:
        """Complete the file and yield its path; wait until a card has played all."""
        if self._file is not None:
            yield {"path": self._file.complete()}
        while blocks := await self._next_played(0):
            for played in blocks:
                yield _message(played)
        warn_of(self, self._numbers)

    async def on_interrupt(self) -> None:
        """Silence the card; a file keeps the audio so far."""
        if self._card is not None:
            self._card.silence()

    async def cleanup(self) -> None:
        """Complete the file if ``finish()`` did not; let the card go."""
        if self._file is not None:
            self._file.close()
        if self._card is not None:
            self._card.close()

    async def _next_played(self, secs: float) -> list[Block]:
        """What the card has played since the last call; waits for some if more than ``secs`` are still to be played."""
        if self._card is None:
            return []
        if self._card.waiting_secs > secs:
            return await self._card.some_played()
        return self._card.take_played()


def _message(played: Block) -> dict[str, RuntimeData]:
    channels = played.samples.shape[1]
    samples = played.samples.reshape(-1) if channels == 1 else played.samples
    return {"audio": RuntimeData.audio(samples, played.sample_rate, channels, timestamp=played.timestamp)}
