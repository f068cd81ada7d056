"""How far the outputs of a session were delivered to its program, and played by it."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from remotemedia.core.data import AudioMetadata, DataType, RuntimeData
from remotemedia.core.multiprocess.values.interruption import Heard, Position

__all__ = ["Playback", "Track"]

_AUDIO = DataType.AUDIO
_MOST_UNPLAYED = 10_000


class Track:
    """The outputs of one node since the last interruption that reached it, in the order of their delivery."""

    def __init__(self) -> None:
        self._last: Position | None = None
        self._newest = -1
        self._secs = 0.0
        # Delivered and not known to be played, by their numbers: the seconds before each, and where it ends.
        self._unplayed: dict[int, tuple[float, Position]] = {}
        self._played: Position | None = None

    def deliver(self, data: RuntimeData) -> None:
        """The program has received it; an output of two turns counts once."""
        if data.sequence in self._unplayed:
            return
        before = self._secs
        if data.type is _AUDIO and isinstance(data.metadata, AudioMetadata) and isinstance(data.payload, np.ndarray):
            self._secs += _frames(data.payload, data.metadata) / (data.metadata.sample_rate or 1)
        self._last = Position(data.sequence, self._secs, data.origin, data.timestamp)
        self._newest = max(data.sequence, self._newest)
        if len(self._unplayed) >= _MOST_UNPLAYED:
            del self._unplayed[next(iter(self._unplayed))]
        self._unplayed[data.sequence] = before, self._last

    def play(self, sequence: int | None, secs: float | None) -> None:
        """All up to this message was played, or so many seconds. ValueError for what was not delivered."""
        if (sequence is None) == (secs is None):
            raise ValueError("played() takes the sequence of the message that was played, or secs; one of them")
        if self._last is None:
            raise ValueError("played(): nothing of that node was received since the interruption before")
        if sequence is not None:
            if sequence > self._newest:
                raise ValueError(f"played(): message {sequence} was not received yet; the last one is {self._newest}")
            self._play_up_to(sequence)
        elif secs is not None:
            if not 0 <= secs <= self._secs + 1e-3:
                raise ValueError(
                    f"played(): {secs} s are not within the {self._secs:.3f} s of audio that were received"
                )
            self._play_secs(secs)

    def _play_up_to(self, sequence: int) -> None:
        if sequence not in self._unplayed:  # played before, or long ago
            return
        for number in list(self._unplayed):
            _, self._played = self._unplayed.pop(number)
            if number == sequence:
                return

    def _play_secs(self, secs: float) -> None:
        if self._played is not None and secs <= self._played.secs:
            return
        for number, (before, end) in list(self._unplayed.items()):
            if before >= secs:
                return
            if end.secs > secs:
                self._played = end._replace(secs=secs)
                return
            self._played = end
            del self._unplayed[number]

    def heard(self) -> Heard:
        """Up to now."""
        return Heard(self._last, self._played)


class Playback:
    """Of all output nodes of a session."""

    def __init__(self, node_ids: Collection[str]) -> None:
        self._tracks = {node_id: Track() for node_id in node_ids}

    def deliver(self, node_id: str, data: RuntimeData) -> None:
        """See ``Track.deliver``."""
        self._tracks[node_id].deliver(data)

    def play(self, node_id: str, sequence: int | None, secs: float | None) -> None:
        """See ``Track.play``."""
        self._tracks[node_id].play(sequence, secs)

    def interrupt(self, reached: Collection[str]) -> dict[str, Heard]:
        """What was heard of these nodes; what comes of them from now on is counted anew."""
        heard = {}
        for node_id in self._tracks.keys() & set(reached):
            heard[node_id] = self._tracks[node_id].heard()
            self._tracks[node_id] = Track()
        return heard


def _frames(samples: np.ndarray[tuple[int, ...], np.dtype[np.generic]], form: AudioMetadata) -> int:
    """Frames, whether the channels have a dimension of their own or are interleaved."""
    return len(samples) if samples.ndim == 2 else samples.size // max(1, form.channels)
