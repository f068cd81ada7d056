"""``multiprocessing.Pipe`` with ``send_bytes`` and ``recv_bytes``: no pickle, one array over the bytes received."""

from __future__ import annotations

import multiprocessing
from functools import partial
from multiprocessing.connection import Connection

import numpy as np

from bench.contender import Contender, Link, Setting, Words, private_array


class PipeSender:
    def __init__(self, connection: Connection, size: int) -> None:
        self._connection = connection
        self._private = private_array(size)
        self._raw = self._private.data.cast("B")

    def send(self, value: int) -> None:
        self._private[0] = self._private[-1] = value
        self._connection.send_bytes(self._raw)

    def close(self) -> None:
        self._connection.close()


class PipeReceiver:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def receive(self) -> Words:
        return np.frombuffer(self._connection.recv_bytes(), np.int64)

    def close(self) -> None:
        self._connection.close()


def link(setting: Setting) -> Link:
    reader, writer = multiprocessing.get_context("spawn").Pipe(duplex=False)

    def close() -> None:
        reader.close()
        writer.close()

    return Link(partial(PipeSender, writer, setting.size), partial(PipeReceiver, reader), close)


CONTENDERS = (Contender("Pipe", "pipe", frozenset({"hot", "paced", "throughput"}), link),)
