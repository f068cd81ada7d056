"""Channels against a deque: whatever is done in whatever order, what arrives is what was sent, and stays so."""

from __future__ import annotations

import itertools
import os
from collections import deque
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from remotemedia._ring import INLINE_TEXT_BYTES
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import Publisher, Subscriber
from remotemedia.errors import ChannelClosedError, ChannelFullError, PayloadError

_numbers = itertools.count()


def _units(size: int) -> int:
    """What ``size`` bytes take up in a pool."""
    return -(-size // 64) * 64


class Modelled:
    """A real channel beside what it should hold."""

    def __init__(self, capacity: int, pool_bytes: int) -> None:
        name = f"model-{os.getpid()}-{next(_numbers)}"
        self.capacity, self.pool_bytes = capacity, pool_bytes
        # In this order the two have met when the constructors return.
        self.publisher = Publisher(name, capacity, pool_bytes=pool_bytes)
        self.subscriber = Subscriber(name)
        self.queue: deque[tuple[bytes, str, float]] = deque()
        self.published = self.received = 0
        self.publisher_closed = self.subscriber_closed = False

    def close(self) -> None:
        self.publisher.close()
        self.subscriber.close()


class ChannelMachine(RuleBasedStateMachine):
    """Two channels with tiny rings and pools; payloads received from the first are forwarded to the second."""

    def __init__(self) -> None:
        super().__init__()
        self.channels: list[Modelled] = []
        self.views: list[tuple[Any, bytes]] = []
        self.loans: list[tuple[int, Any]] = []
        self.seed = 0

    @initialize(
        capacities=st.tuples(st.integers(1, 5), st.integers(1, 3)),
        pools=st.tuples(st.sampled_from([4096, 8192]), st.sampled_from([4096, 12288])),
    )
    def open(self, capacities: tuple[int, int], pools: tuple[int, int]) -> None:
        self.channels = [Modelled(c, p) for c, p in zip(capacities, pools, strict=True)]

    def _bytes(self, size: int) -> bytes:
        self.seed += 1
        return np.random.default_rng(self.seed).bytes(size)

    def _send(self, index: int, payload: Any, raw: bytes, session: str, *, wait: bool) -> None:
        channel = self.channels[index]
        self.seed += 1
        timestamp = float(self.seed)
        data = RuntimeData.tensor(payload, session_id=session, timestamp=timestamp)
        if channel.publisher_closed or channel.subscriber_closed:
            with pytest.raises(ChannelClosedError):
                channel.publisher.publish(data)
            return
        text = len(session) + len("|u1")
        needed = _units(len(raw)) + (_units(text) if text > INLINE_TEXT_BYTES else 0)
        if needed > channel.pool_bytes:
            with pytest.raises(PayloadError, match="can never fit"):
                channel.publisher.try_publish(data)
            return
        if wait:
            try:
                channel.publisher.publish(data, timeout=0)
                sent = True
            except ChannelFullError:
                sent = False
        else:
            sent = channel.publisher.try_publish(data)
        if sent:
            channel.queue.append((raw, session, timestamp))
            channel.published += 1
            assert len(channel.queue) <= channel.capacity
        else:
            # Refused only for one of the two reasons there are.
            assert len(channel.queue) == channel.capacity or raw or len(session) > 100
            if len(channel.queue) < channel.capacity and not self.views and not self.loans and not channel.queue:
                pytest.fail("nothing is held, and still there is no room")

    @rule(
        index=st.integers(0, 1),
        size=st.one_of(st.integers(0, 200), st.sampled_from([4096, 4032, 2048, 3000])),
        session=st.sampled_from(["", "s", "a session id that is too long for the text in the slot " * 4]),
        wait=st.booleans(),
    )
    def publish(self, index: int, size: int, session: str, wait: bool) -> None:
        raw = self._bytes(size)
        self._send(index, np.frombuffer(raw, np.uint8), raw, session, wait=wait)

    @rule(index=st.integers(0, 1), size=st.integers(0, 3000))
    def loan(self, index: int, size: int) -> None:
        channel = self.channels[index]
        if channel.publisher_closed:
            with pytest.raises(ChannelClosedError):
                channel.publisher.try_loan(size, np.uint8)
            return
        array = channel.publisher.try_loan(size, np.uint8)
        if array is not None:
            array[:] = np.frombuffer(self._bytes(size), np.uint8)
            self.loans.append((index, array))
            self.views.append((array, array.tobytes()))

    @precondition(lambda self: self.loans)
    @rule(data=st.data())
    def publish_loaned(self, data: st.DataObject) -> None:
        index, array = self.loans.pop(data.draw(st.integers(0, len(self.loans) - 1)))
        copied = self.channels[index].publisher.statistics()["bytes_copied"]
        self._send(index, array, array.tobytes(), "", wait=False)
        assert self.channels[index].publisher.statistics()["bytes_copied"] == copied

    @rule(index=st.integers(0, 1))
    def receive(self, index: int) -> None:
        channel = self.channels[index]
        if channel.subscriber_closed:
            with pytest.raises(ChannelClosedError):
                channel.subscriber.try_receive()
            return
        got = channel.subscriber.receive(timeout=0)
        if not channel.queue:
            assert got is None
            assert channel.subscriber.ended == channel.publisher_closed
            return
        raw, session, timestamp = channel.queue.popleft()
        assert got is not None
        assert (got.session_id, got.timestamp, got.sequence) == (session, timestamp, channel.received)
        channel.received += 1
        array = got.as_numpy()
        assert not array.flags.writeable
        self.views.append((array, raw))

    @precondition(lambda self: self.views)
    @rule(data=st.data())
    def forward(self, data: st.DataObject) -> None:
        """A payload that came in goes out again, whole or in part."""
        view, raw = self.views[data.draw(st.integers(0, len(self.views) - 1))]
        start = data.draw(st.integers(0, len(raw)))
        # A loan that was not published yet stays the test's to write to: only what is read-only is sent on.
        if not view.flags.writeable:
            self._send(1, view[start:], raw[start:], "", wait=False)

    @precondition(lambda self: self.views)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        view, _ = self.views.pop(data.draw(st.integers(0, len(self.views) - 1)))
        self.loans = [(index, array) for index, array in self.loans if array is not view]

    @rule()
    def drop_all(self) -> None:
        self.views.clear()
        self.loans.clear()

    @precondition(lambda self: self.views)
    @rule(data=st.data())
    def view_a_part(self, data: st.DataObject) -> None:
        view, raw = self.views[data.draw(st.integers(0, len(self.views) - 1))]
        start = data.draw(st.integers(0, len(raw)))
        part = view[start:]
        if not view.flags.writeable:
            self.views.append((part, raw[start:]))

    @rule(index=st.integers(0, 1), side=st.sampled_from(["publisher", "subscriber"]), sure=st.integers(0, 3))
    def close(self, index: int, side: str, sure: int) -> None:
        if sure:
            return  # most runs should go on for a while
        channel = self.channels[index]
        if side == "publisher":
            channel.publisher.close()
            channel.publisher_closed = True
        else:
            channel.subscriber.close()
            channel.subscriber_closed = True

    @invariant()
    def every_view_keeps_its_bytes(self) -> None:
        for view, raw in self.views:
            assert view.tobytes() == raw

    @invariant()
    def statistics_are_right(self) -> None:
        for channel in self.channels:
            if channel.subscriber_closed:
                continue  # closing takes what was left
            now = channel.publisher.statistics()
            assert (now["published"], now["received"]) == (channel.published, channel.received)
            assert now["occupancy"] == len(channel.queue)
            assert now["high_water"] <= channel.capacity

    def teardown(self) -> None:
        for channel in self.channels:
            channel.close()
        self.every_view_keeps_its_bytes()
        self.views.clear()
        self.loans.clear()
        for channel in self.channels:
            if not channel.queue or channel.subscriber_closed:
                assert channel.publisher.statistics()["pool_used_bytes"] == 0


ChannelMachine.TestCase.settings = settings(
    settings.get_profile("remotemedia"), max_examples=120, stateful_step_count=50
)
TestChannels = ChannelMachine.TestCase
