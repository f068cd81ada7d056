"""AudioFileWriterNode: audio becomes a file."""

from __future__ import annotations

from typing import Any

from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode, Param, register_node
from remotemedia.nodes._written_file import SUBTYPES, WrittenFile

__all__ = ["AudioFileWriterNode"]


@register_node("AudioFileWriterNode")
class AudioFileWriterNode(MultiprocessNode):
    """Writes all audio it gets to one WAV or FLAC file, which it creates or replaces.

    Ports: input ``audio`` (float32, float64, int16 or int32; shape (n,) or (n, channels); rate and channels as in
    the first message); output ``path`` (TEXT: the path, once, at the end of the stream).

    The file appears, or replaces the previous one, when it is complete: once ``finish()``, or else ``cleanup()``, has
    run. Until then nothing changes, even if the process dies or the disk is full. An interrupt keeps the audio so far.
    A FLAC file without audio gets one silent frame: libsndfile writes no header, and so no valid file, before the
    first frame.

    NaN is written as 0 and infinity as 1 or -1; a warning at the end says how many there were. Floats beyond full scale
    keep their value with ``FLOAT``, and are clipped otherwise.
    """

    params = {
        "path": Param(str, help="of the file, ending in .wav or .flac; its folder must exist"),
        "subtype": Param(str, "PCM_16", choices=SUBTYPES, help="sample format; FLOAT in WAV only"),
        "sample_rate": Param(int, 22_050, low=1, help="of a file without audio, in Hz"),
    }
    inputs = {"audio": DataType.AUDIO}
    outputs = {"path": DataType.TEXT}

    def __init__(self, node_id: str, config: dict[str, Any]) -> None:
        super().__init__(node_id, config)
        self._file = WrittenFile(self, self.config["sample_rate"])

    async def initialize(self) -> None:
        """Load the file library; ImportError if it is not installed, FileNotFoundError without the folder."""
        self._file.load()

    async def process(self, data: RuntimeData) -> None:
        """Append one message.

        TypeError or ValueError for anything but audio of the file's rate and channels; OSError if it cannot be written,
        as for every later message.
        """
        self._file.add(data)

    async def finish(self) -> RuntimeData:
        """Complete the file; its path. OSError if it cannot be completed."""
        return self._file.complete()

    async def cleanup(self) -> None:
        """Complete the file if ``finish()`` did not."""
        self._file.close()
