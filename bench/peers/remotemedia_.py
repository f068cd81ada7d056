"""Ours: named channels, with a full RuntimeData per message."""

from __future__ import annotations

from functools import partial

import numpy as np

from bench.contender import WORD_BYTES, Contender, Link, Setting, Words, private_array
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import Publisher, Subscriber

_POOL_BYTES = 256_000_000
# Longer than any wait of a measured loop, where both sides may spin.
_SPIN_US = 1_000_000
_DEFAULT_SPIN_US = 20


class ChannelSender:
    def __init__(self, name: str, setting: Setting, spin_us: int) -> None:
        self._publisher = Publisher(name, setting.depth, pool_bytes=_POOL_BYTES, spin_us=spin_us)
        self._private = private_array(setting.size)

    def send(self, value: int) -> None:
        self._private[0] = self._private[-1] = value
        self._publisher.publish(RuntimeData.tensor(self._private, session_id="bench"))

    def close(self) -> None:
        self._publisher.close()


class LoanSender(ChannelSender):
    def __init__(self, name: str, setting: Setting, spin_us: int) -> None:
        super().__init__(name, setting, spin_us)
        self._length = setting.size // WORD_BYTES

    def send(self, value: int) -> None:
        array = self._publisher.loan(self._length, np.int64)
        array[0] = array[-1] = value
        self._publisher.publish(RuntimeData.tensor(array, session_id="bench"))


class ChannelReceiver:
    def __init__(self, name: str, spin_us: int) -> None:
        self._subscriber = Subscriber(name, spin_us=spin_us)

    def receive(self) -> Words:
        data = self._subscriber.receive()
        assert data is not None
        return data.as_numpy()

    async def receive_async(self) -> Words:
        data = await self._subscriber.receive_async()
        assert data is not None
        return data.as_numpy()

    def close(self) -> None:
        self._subscriber.close()


def link(setting: Setting, *, loaned: bool, spin: bool) -> Link:
    name = f"bench-{setting.tag}"
    spin_us = _SPIN_US if spin else _DEFAULT_SPIN_US
    sender = LoanSender if loaned else ChannelSender
    return Link(partial(sender, name, setting, spin_us), partial(ChannelReceiver, name, spin_us))


def _contender(how: str, modes: set[str], *, loaned: bool, spin: bool = False, use_asyncio: bool = False) -> Contender:
    name = f"remotemedia {'loaned' if loaned else 'copied'}{how}"
    return Contender(
        name, "remotemedia", frozenset(modes), partial(link, loaned=loaned, spin=spin), loaned, use_asyncio
    )


CONTENDERS = (
    _contender(", spinning", {"hot"}, loaned=True, spin=True),
    _contender(", spinning", {"hot"}, loaned=False, spin=True),
    _contender("", {"hot", "paced", "throughput"}, loaned=True),
    _contender("", {"hot", "paced", "throughput"}, loaned=False),
    _contender(", asyncio", {"paced"}, loaned=True, use_asyncio=True),
)
