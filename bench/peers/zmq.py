"""ZeroMQ, PUSH to PULL over ``ipc://``.

The sender copies (its array is reused at once); the receiver takes large messages without a copy.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from bench.contender import Contender, Link, Setting, Words, private_array


class ZmqSender:
    def __init__(self, address: str, size: int, depth: int) -> None:
        import zmq

        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUSH)
        self._socket.set(zmq.SNDHWM, depth)
        self._socket.bind(address)
        self._private = private_array(size)

    def send(self, value: int) -> None:
        self._private[0] = self._private[-1] = value
        self._socket.send(self._private)

    def close(self) -> None:
        self._context.destroy(linger=0)


class ZmqReceiver:
    def __init__(self, address: str, size: int, depth: int) -> None:
        import zmq

        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PULL)
        self._socket.set(zmq.RCVHWM, depth)
        self._socket.connect(address)
        self._copy = size < zmq.COPY_THRESHOLD

    def receive(self) -> Words:
        return np.frombuffer(self._socket.recv(copy=self._copy), np.int64)

    def close(self) -> None:
        self._context.destroy(linger=0)


def link(setting: Setting) -> Link:
    address = f"ipc://{setting.scratch / setting.tag}"
    return Link(
        partial(ZmqSender, address, setting.size, setting.depth),
        partial(ZmqReceiver, address, setting.size, setting.depth),
    )


CONTENDERS = (Contender("ZeroMQ", "zmq", frozenset({"hot", "paced", "throughput"}), link),)
