"""AudioFileReaderNode: the path of an audio file becomes its audio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from remotemedia._audio.errors import AudioFileError
from remotemedia._audio.reader import AudioReader
from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode, Param, register_node
from remotemedia.nodes._common import end_marker, import_library, new_array, text_of, warn

__all__ = ["AudioFileReaderNode"]


@register_node("AudioFileReaderNode")
class AudioFileReaderNode(MultiprocessNode):
    """Reads WAV, FLAC, OGG, MP3, AIFF, AU, CAF and W64 files.

    Ports: input ``path`` (TEXT: the path of a file); output ``audio`` (float32, full scale 1.0, at the file's rate;
    shape (n,) for a mono file, else (n, channels); built in shared memory).

    A file is read to its end, even without a stated length; one that ends before its stated length gets a warning.
    """

    params = {
        "block_ms": Param(int, 100, low=1, high=10_000, help="audio per message; the last of a file may be shorter"),
        "realtime": Param(bool, False, help="send each block when it would be heard, not as fast as the file is read"),
        "end_marker": Param(bool, False, help="mark the end of an utterance after each file"),
    }
    inputs = {"path": DataType.TEXT}
    outputs = {"audio": DataType.AUDIO}

    def __init__(self, node_id: str, config: dict[str, Any]) -> None:
        super().__init__(node_id, config)
        self._block_ms: int = self.config["block_ms"]
        self._realtime: bool = self.config["realtime"]
        self._end_marker: bool = self.config["end_marker"]

    async def initialize(self) -> None:
        """Load the file library; ImportError if it is not installed."""
        import_library(self, "soundfile")

    async def process(self, data: RuntimeData) -> AsyncIterator[RuntimeData]:
        """Yield the audio of one file.

        TypeError for anything but text, FileNotFoundError for a path without a file, ValueError for a file that is
        not audio, or is damaged: then everything before the damage has been yielded.
        """
        path = text_of(self, data)
        loop = asyncio.get_running_loop()
        with self._open(path) as reader, _named(path):
            rate = reader.sample_rate
            block = max(1, rate * self._block_ms // 1000)
            start = loop.time()
            while True:
                sent = reader.frames_read
                samples = reader.read(block, lambda shape, dtype: new_array(self, shape, dtype))
                if not len(samples):
                    break
                if self._realtime:
                    await asyncio.sleep(start + sent / rate - loop.time())
                yield RuntimeData.audio(samples, rate, reader.channels)
            if reader.warning is not None:
                warn(self, reader.warning)
            if self._end_marker:
                yield end_marker(rate)

    async def cleanup(self) -> None:
        """Nothing to release: a file is open while it is read only."""

    def _open(self, path: str) -> AudioReader:
        if not Path(path).is_file():
            raise FileNotFoundError(f"AudioFileReaderNode: no file at {path}")
        with _named(path):
            return AudioReader(Path(path))


@contextmanager
def _named(path: str) -> Iterator[None]:
    try:
        yield
    except AudioFileError as error:
        raise ValueError(f"AudioFileReaderNode: {path} cannot be read as audio: {error.reason}") from error
