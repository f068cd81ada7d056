"""How far the outputs of a session were delivered to its program, and played by it."""

from __future__ import annotations

from collections.abc import Mapping

from remotemedia import _ring
from remotemedia.core.data import AudioMetadata, DataType, RuntimeData
from remotemedia.core.multiprocess.channel.form import FORM
from remotemedia.core.multiprocess.channel.subscriber import Subscriber
from remotemedia.core.multiprocess.values.interruption import Heard, Position

__all__ = ["Playback", "Track"]


class Track:
    """The outputs of one node since the last interruption that reached it, in the order of their delivery.

    Attributes:
        deliveries: where they are noted. Beyond 4,096 that were not played, the oldest are forgotten.
    """

    def __init__(self) -> None:
        self.deliveries = _ring.Deliveries(FORM, DataType.AUDIO, AudioMetadata)

    def play(self, sequence: int | None, secs: float | None) -> None:
        """All up to this message was played, or so many seconds. ValueError for what was not delivered."""
        known = self.deliveries
        if (sequence is None) == (secs is None):
            raise ValueError("played() takes the sequence of the message that was played, or secs; one of them")
        if known.newest < 0:
            raise ValueError("played(): nothing of that node was received since the interruption before")
        if sequence is not None:
            if not 0 <= sequence <= known.newest:
                raise ValueError(f"played(): message {sequence} was not received yet; the last one is {known.newest}")
            known.play_up_to(sequence)
        elif secs is not None:
            if not 0 <= secs <= known.secs + 1e-3:
                raise ValueError(
                    f"played(): {secs} s are not within the {known.secs:.3f} s of audio that were received"
                )
            known.play_secs(secs)

    def heard(self) -> Heard:
        """Up to now."""
        delivered, played = self.deliveries.delivered, self.deliveries.played
        return Heard(delivered and Position(*delivered), played and Position(*played))


class Playback:
    """Of all output nodes of a session.

    What is received is delivered, and the subscribers note it. Once outputs are kept for turns, the code that hands one
    to the program calls ``deliver`` instead.
    """

    def __init__(self, outputs: Mapping[str, Subscriber]) -> None:
        self._tracks = {node_id: Track() for node_id in outputs}
        self._subscribers = outputs
        for node_id, subscriber in outputs.items():
            subscriber._note_deliveries(self._tracks[node_id].deliveries)

    def keep(self) -> None:
        """From now on outputs may be kept: receiving one does not deliver it."""
        for subscriber in self._subscribers.values():
            subscriber._note_deliveries(None)

    def deliver(self, node_id: str, data: RuntimeData) -> None:
        """The program has got it."""
        self._tracks[node_id].deliveries.add(data)

    def play(self, node_id: str, sequence: int | None, secs: float | None) -> None:
        """See ``Track.play``."""
        self._tracks[node_id].play(sequence, secs)

    def interrupt(self, reached: set[str]) -> dict[str, Heard]:
        """What was heard of these nodes; what comes of them from now on is counted anew."""
        heard = {}
        for node_id in self._tracks.keys() & reached:
            heard[node_id] = self._tracks[node_id].heard()
            self._tracks[node_id].deliveries.clear()
        return heard
