"""``multiprocessing.Queue``. It pickles, and later, in a thread: the array must be one it may keep."""

from __future__ import annotations

import multiprocessing
from functools import partial
from multiprocessing.queues import Queue

from bench.contender import Contender, Link, Setting, Words, private_array


class QueueSender:
    def __init__(self, queue: Queue[Words], size: int) -> None:
        self._queue = queue
        self._private = private_array(size)

    def send(self, value: int) -> None:
        self._private[0] = self._private[-1] = value
        self._queue.put(self._private.copy())

    def close(self) -> None:
        self._queue.cancel_join_thread()
        self._queue.close()


class QueueReceiver:
    def __init__(self, queue: Queue[Words]) -> None:
        self._queue = queue

    def receive(self) -> Words:
        return self._queue.get()

    def close(self) -> None:
        self._queue.close()


def link(setting: Setting) -> Link:
    queue = multiprocessing.get_context("spawn").Queue(setting.depth)
    return Link(partial(QueueSender, queue, setting.size), partial(QueueReceiver, queue), queue.close)


CONTENDERS = (Contender("Queue", "queue", frozenset({"hot", "paced", "throughput"}), link),)
