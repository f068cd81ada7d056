"""AudioFileReaderNode: the path of an audio file becomes its audio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np

from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode, Param, register_node
from remotemedia.nodes._common import end_marker, import_library, new_array, text_of

__all__ = ["AudioFileReaderNode"]


@register_node("AudioFileReaderNode")
class AudioFileReaderNode(MultiprocessNode):
    """Reads WAV, FLAC and OGG files.

    Ports: input ``path`` (TEXT: the path of a file); output ``audio`` (float32, full scale 1.0, at the file's rate;
    shape (n,) for a mono file, else (n, channels); built in shared memory).
    """

    params = {
        "block_ms": Param(int, 100, low=1, high=10_000, help="audio per message; the last of a file may be shorter"),
        "realtime": Param(bool, False, help="send each block when it would be heard, not as fast as the file is read"),
        "end_marker": Param(bool, False, help="end the utterance after each file, by a message of zero samples"),
    }
    inputs = {"path": DataType.TEXT}
    outputs = {"audio": DataType.AUDIO}

    def __init__(self, node_id: str, config: dict[str, Any]) -> None:
        super().__init__(node_id, config)
        self._block_ms: int = self.config["block_ms"]
        self._realtime: bool = self.config["realtime"]
        self._end_marker: bool = self.config["end_marker"]
        self._soundfile: Any = None

    async def initialize(self) -> None:
        """Load the file library; ImportError if it is not installed."""
        self._soundfile = import_library(self, "soundfile")

    async def process(self, data: RuntimeData) -> AsyncIterator[RuntimeData]:
        """Yield the audio of one file.

        TypeError for anything but text, FileNotFoundError for a path without a file, ValueError for a file that is
        not audio.
        """
        path = text_of(self, data)
        loop = asyncio.get_running_loop()
        with self._open(path) as file:
            block = max(1, file.samplerate * self._block_ms // 1000)
            start, sent = loop.time(), 0
            while count := min(block, file.frames - sent):
                if self._realtime:
                    await asyncio.sleep(start + sent / file.samplerate - loop.time())
                shape = count if file.channels == 1 else (count, file.channels)
                samples = new_array(self, shape, np.float32)
                if len(file.read(out=samples)) < count:
                    raise ValueError(f"AudioFileReaderNode: {path} ends after {file.tell()} of {file.frames} frames")
                sent += count
                yield RuntimeData.audio(samples, file.samplerate, file.channels)
            if self._end_marker:
                yield end_marker(file.samplerate)

    async def cleanup(self) -> None:
        """Nothing to release: a file is open while it is read only."""

    def _open(self, path: str) -> Any:
        if not Path(path).is_file():
            raise FileNotFoundError(f"AudioFileReaderNode: no file at {path}")
        try:
            return self._soundfile.SoundFile(path)
        except self._soundfile.LibsndfileError as error:
            raise ValueError(f"AudioFileReaderNode: {path} cannot be read as audio: {error}") from error
