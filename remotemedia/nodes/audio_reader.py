"""AudioFileReaderNode: the path of an audio file becomes its audio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode, register_node
from remotemedia.nodes._common import end_marker, import_library, new_array, text_of
from remotemedia.nodes._params import Params

__all__ = ["AudioFileReaderNode"]


@register_node("AudioFileReaderNode")
class AudioFileReaderNode(MultiprocessNode):
    """Reads WAV, FLAC and OGG files.

    Ports: input ``path`` (TEXT: the path of a file); output ``audio`` (float32, full scale 1.0, at the file's rate;
    shape (n,) for a mono file, else (n, channels); built in shared memory).

    Config:
        block_ms: audio per message; the last of a file may be shorter. 1 to 10000. Default 100.
        realtime: send each block at the time it would be heard, not as fast as the file is read. Default false.
        end_marker: send a message of zero samples after each file, which ends an utterance in the nodes behind.
            Default false.
    """

    def __init__(self, node_id: str, config: dict[str, Any]) -> None:
        super().__init__(node_id, config)
        params = Params("AudioFileReaderNode", config)
        self._block_ms = params.integer("block_ms", 100, low=1, high=10_000)
        self._realtime = params.flag("realtime", False)
        self._end_marker = params.flag("end_marker", False)
        params.done()
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
