"""faster-fifo: a byte queue in shared memory under a mutex. It takes only ``bytes``, made of the array by a copy."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from bench.contender import Contender, Link, Setting, Words, private_array

_FOR_EVER_SECS = 3600.0


def _dumps(array: Words) -> bytes:
    return array.tobytes()


def _loads(raw: memoryview) -> Words:
    return np.frombuffer(raw, np.int64)


class FifoSender:
    def __init__(self, queue: Any, size: int) -> None:
        self._queue = queue
        self._private = private_array(size)

    def send(self, value: int) -> None:
        self._private[0] = self._private[-1] = value
        self._queue.put(self._private, timeout=_FOR_EVER_SECS)

    def close(self) -> None:
        pass


class FifoReceiver:
    def __init__(self, queue: Any) -> None:
        self._queue = queue

    def receive(self) -> Words:
        array: Words = self._queue.get(timeout=_FOR_EVER_SECS)
        return array

    def close(self) -> None:
        pass


def link(setting: Setting) -> Link:
    from faster_fifo import Queue

    room = (setting.size + 64) * setting.depth
    queue = Queue(max_size_bytes=room, dumps=_dumps, loads=_loads)
    return Link(partial(FifoSender, queue, setting.size), partial(FifoReceiver, queue), queue.close)


CONTENDERS = (Contender("faster-fifo", "faster_fifo", frozenset({"hot", "paced", "throughput"}), link),)
