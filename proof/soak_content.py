"""What every message of a soak holds: a function of the seed and the message's number, so that anybody can check it."""

from __future__ import annotations

import random
from functools import lru_cache

import numpy as np

from remotemedia.core.data import DataType, RuntimeData

LARGEST_BYTES = 2_500_000
_DTYPES = ("u1", "i2", "<f4", ">f4", "f8", "c8", "?", "M8[us]", "S7")

SPEECH_HZ = 50


class Content:
    """Makes message ``number`` anew, in whatever process. The number travels as the timestamp."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._source = np.random.default_rng(seed).integers(0, 256, LARGEST_BYTES + 65536, np.uint8)

        # A message is looked at several times, soon after one another.
        self.message = lru_cache(maxsize=16)(self._message)

    def _message(self, number: int) -> RuntimeData:
        chance = random.Random(f"{self.seed}/{number}")
        size = chance.choice((0, 1, 64, 100, 4000, 4001, 70_000, chance.randrange(300_000)))
        if chance.random() < 0.02:
            size = chance.randrange(LARGEST_BYTES)
        start = chance.randrange(65536)
        raw = self._source[start : start + size]
        fields = {
            "timestamp": float(number),
            "session_id": chance.choice(("s", "a session with a long name " * 9)),
        }
        metadata = {"number": number, "note": "n" * chance.choice((0, 10, 500))}
        kind = chance.randrange(6)
        if kind == 0:
            return RuntimeData.text(raw[:100_000].tobytes().decode("latin-1"), metadata=metadata, **fields)
        if kind == 1:
            return RuntimeData(DataType.TENSOR, raw.tobytes(), metadata=metadata, **fields)
        if kind == 2:
            return RuntimeData.audio(raw[: size // 4 * 4].view("<i2").reshape(-1, 2), 48_000, 2, **fields)
        if kind == 3 and size >= 12:
            return RuntimeData.video(raw[: size // 12 * 12].reshape(-1, 4, 3), **fields)
        dtype = np.dtype(chance.choice(_DTYPES))
        array = raw[: size // dtype.itemsize * dtype.itemsize].view(dtype)
        return RuntimeData.tensor(array, metadata=metadata, **fields)

    def check(self, data: RuntimeData, where: str) -> int:
        """The message's number; AssertionError unless it is what was sent, to the last byte."""
        number = int(data.timestamp)
        if data != self.message(number):
            raise AssertionError(f"message {number} is not what was sent, seen {where}")
        return number


class Speech(Content):
    """20 ms of sound a message, 16 kHz: what a microphone gives ``SPEECH_HZ`` times a second."""

    def _message(self, number: int) -> RuntimeData:
        start = number * 14 % 65536
        samples = self._source[start : start + 640].view("<i2")
        return RuntimeData.audio(samples, 16_000, session_id="speech", timestamp=float(number))


CONTENTS = {"any": Content, "speech": Speech}
