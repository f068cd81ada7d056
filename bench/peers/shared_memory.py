"""``multiprocessing.shared_memory`` as one writes it by hand: one block, an array over it at both ends, and a Pipe.

One byte over the Pipe says "it is there", one byte back "it may be overwritten", since nothing may be lost.
"""

from __future__ import annotations

import multiprocessing
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory

import numpy as np

from bench.contender import WORD_BYTES, Contender, Link, Setting, Words, private_array


class _End:
    def __init__(self, name: str, connection: Connection, size: int) -> None:
        self._memory = SharedMemory(name)
        self._shared: Words = np.frombuffer(self._memory.buf, np.int64, size // WORD_BYTES)
        self._connection = connection
        self._taken = True

    def close(self) -> None:
        del self._shared
        self._memory.close()
        self._connection.close()


class SharedMemorySender(_End):
    def __init__(self, name: str, connection: Connection, size: int) -> None:
        super().__init__(name, connection, size)
        self._private = private_array(size)

    def send(self, value: int) -> None:
        self._private[0] = self._private[-1] = value
        if not self._taken:
            self._connection.recv_bytes()
        self._shared[:] = self._private
        self._connection.send_bytes(b"!")
        self._taken = False


class SharedMemoryReceiver(_End):
    def receive(self) -> Words:
        if not self._taken:
            self._connection.send_bytes(b"!")
        self._connection.recv_bytes()
        self._taken = False
        return self._shared


def link(setting: Setting) -> Link:
    memory = SharedMemory(create=True, size=setting.size)
    mine, theirs = multiprocessing.get_context("spawn").Pipe()

    def close() -> None:
        mine.close()
        theirs.close()
        memory.close()
        memory.unlink()

    return Link(
        partial(SharedMemorySender, memory.name, mine, setting.size),
        partial(SharedMemoryReceiver, memory.name, theirs, setting.size),
        close,
    )


CONTENDERS = (Contender("shared_memory + Pipe", "shared_memory", frozenset({"hot", "paced", "throughput"}), link),)
