"""Audio goes to a sound card, through PortAudio, and what was played is told."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from remotemedia.core.multiprocessing import MultiprocessNode
from remotemedia.nodes._common import Float32, import_library

__all__ = ["Block", "SoundCard", "block_of"]

# The card runs on for so long without sound: to start it anew is heard as a gap.
_IDLE_SECS = 1.0


@dataclass(eq=False)
class Block:
    """Samples, float32 of shape (n, channels), and what they were sent with."""

    samples: Float32
    sample_rate: int
    timestamp: float
    taken: int = 0


class SoundCard:
    """Plays blocks in order. ``load`` first; all else in the thread of the event loop; ``close`` at the end.

    PortAudio fetches the samples in a thread of its own, a few milliseconds at a time.
    """

    def __init__(self, node: MultiprocessNode, device: str) -> None:
        self._node = node
        self._device = device
        self._library: Any = None
        self._stream: Any = None
        self._format = (0, 0)
        self._lock = threading.Lock()
        self._waiting: deque[Block] = deque()
        self._silent_frames = 0
        self._played: deque[Block] = deque()
        self._rests = False
        self._is_over = False
        self._changed = asyncio.Event()

    def load(self) -> None:
        """Load PortAudio. ImportError if it or its binding is missing; ValueError for a card that there is not."""
        try:
            self._library = import_library(self._node, "sounddevice", "sound")
        except OSError as error:
            raise ImportError(
                f"{type(self._node).__name__} needs the library PortAudio ({error}): apt install libportaudio2",
                name="sounddevice",
            ) from error
        try:
            self._library.check_output_settings(self._name)
        except (ValueError, self._library.PortAudioError) as error:
            cards = [repr(card["name"]) for card in self._library.query_devices() if card["max_output_channels"]]
            raise ValueError(
                f"{type(self._node).__name__}: param 'device': no sound card {self._device!r} plays ({error}); "
                f"there is {', '.join(cards) if cards else 'none'}"
            ) from None

    @property
    def _name(self) -> str | None:
        return None if self._device == "default" else self._device

    @property
    def waiting_secs(self) -> float:
        """Seconds of audio that the card has not taken yet."""
        with self._lock:
            return sum((len(block.samples) - block.taken) / block.sample_rate for block in self._waiting)

    async def add(self, block: Block) -> list[Block]:
        """Play a block after those that wait; blocks that were played, as it has to wait for these if its format is
        another one. OSError if the card cannot play it."""
        played: list[Block] = []
        if (block.sample_rate, block.samples.shape[1]) != self._format:
            while self.waiting_secs:
                played += await self.some_played()
            self._open(block.sample_rate, block.samples.shape[1])
        with self._lock:
            self._waiting.append(block)
        if not self._stream.active:
            self._start()
        return played

    async def some_played(self) -> list[Block]:
        """The blocks that the card has taken since the last call; waits for one if it has taken none. OSError if it
        stopped without taking all."""
        while not self._played and not (self._is_over and self.waiting_secs):
            self._changed.clear()
            await self._changed.wait()
        if not self._played:
            raise OSError(f"{type(self._node).__name__}: the sound card {self._device!r} has stopped")
        return self.take_played()

    def take_played(self) -> list[Block]:
        """The same without waiting."""
        played = list(self._played)
        self._played.clear()
        return played

    def silence(self) -> None:
        """Drop what the card has not taken."""
        with self._lock:
            self._waiting.clear()
        self._played.clear()

    def close(self) -> None:
        """Let the card go: what waits is not played, what the card has taken is; waits for that, some milliseconds."""
        self.silence()
        if self._stream is not None:
            self._stream.stop()
            self._stream.close()
            self._stream = None

    # --- inside ---

    def _open(self, sample_rate: int, channels: int) -> None:
        self.close()
        loop = asyncio.get_running_loop()

        def over() -> None:
            loop.call_soon_threadsafe(self._end)

        def fetch(room: Float32, _frames: int, _time: Any, _status: Any) -> None:
            for block in self._fill(room):
                loop.call_soon_threadsafe(self._tell, block)
            self._rests = self._silent_frames > _IDLE_SECS * sample_rate
            if self._rests:
                raise self._library.CallbackStop

        try:
            self._stream = self._library.OutputStream(
                samplerate=sample_rate,
                channels=channels,
                dtype="float32",
                device=self._name,
                callback=fetch,
                finished_callback=over,
            )
        except (ValueError, self._library.PortAudioError) as error:
            raise OSError(
                f"{type(self._node).__name__}: the sound card {self._device!r} does not play {sample_rate} Hz with "
                f"{channels} channels ({error}); a ResampleNode in front of it makes another rate"
            ) from None
        self._format = sample_rate, channels

    def _start(self) -> None:
        self._silent_frames = 0
        self._rests = self._is_over = False
        self._stream.stop()
        self._stream.start()

    def _fill(self, room: Float32) -> list[Block]:
        """Called in PortAudio's thread: the next samples into ``room``, shape (frames, channels); blocks that ended."""
        filled, ended = 0, []
        with self._lock:
            while filled < len(room) and self._waiting:
                block = self._waiting[0]
                count = min(len(room) - filled, len(block.samples) - block.taken)
                room[filled : filled + count] = block.samples[block.taken : block.taken + count]
                block.taken += count
                filled += count
                if block.taken == len(block.samples):
                    ended.append(self._waiting.popleft())
        room[filled:] = 0
        self._silent_frames = 0 if filled else self._silent_frames + len(room)
        return ended

    def _tell(self, block: Block) -> None:
        self._played.append(block)
        self._changed.set()

    def _end(self) -> None:
        """The stream has ended: it rests, unless a block came at that moment, or the card is gone."""
        if self._stream is None or self._stream.active:
            return
        if not self._rests:
            self._is_over = True
            self._changed.set()
        elif self.waiting_secs:
            self._start()


def block_of(samples: Any, sample_rate: int, channels: int, timestamp: float) -> Block:
    """A copy of them as float32 of shape (n, channels), full scale 1.0."""
    scale = {"int16": 1 / 2**15, "int32": 1 / 2**31}.get(samples.dtype.name, 1.0)
    return Block((samples.reshape(-1, channels) * np.float32(scale)).astype(np.float32), sample_rate, timestamp)
