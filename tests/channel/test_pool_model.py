"""One endpoint's pool behind several channels, against a model that knows every block.

``test_model.py`` has named channels of one publisher each: order, refusals, closing, statistics. Here it is the pools'
bytes that are counted after every step: two endpoints, A and B, each with one pool behind two channels. A's lead to B
and C, B's to C twice; what came from A passes through B without a copy. A block lives exactly as long as a message in
a ring, a loan or a view holds it, and ``used_bytes`` is the sum over the blocks that live.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from remotemedia import _ring
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocess.channel.doorbell import Doorbell
from remotemedia.core.multiprocess.channel.form import FORM
from remotemedia.core.multiprocessing import Publisher, Subscriber
from remotemedia.errors import ChannelClosedError

LONG_SESSION = "a session id that does not fit the slot and needs a block of its own" * 2


@dataclass(eq=False)
class Block:
    """What one block should hold. It lives while anything refers to it."""

    owner: str
    raw: bytes
    references: int = 0

    @property
    def units(self) -> int:
        return -(-len(self.raw) // 64) * 64


@dataclass(eq=False)
class Held:
    """A view that keeps a block, and the bytes it shows."""

    view: Any
    block: Block
    raw: bytes
    at: str  # the endpoint that holds it
    # Whether the view leads to its block: what is made of an array's memoryview leads to the array only.
    leads: bool

    @property
    def writable(self) -> bool:
        return not self.view.readonly if isinstance(self.view, memoryview) else self.view.flags.writeable


class Endpoint:
    def __init__(self, name: str, pool_id: int, pool_bytes: int) -> None:
        self.name, self.pool_id = name, pool_id
        memfd = _ring.create_segment(pool_bytes, pool_id)
        self.own = _ring.Segment(os.dup(memfd), os.eventfd(0, os.EFD_NONBLOCK), True)
        # What the others map of it.
        self.far = _ring.Segment(memfd, os.dup(self.own.fileno()), False)
        self.pool_bytes = self.own.pool_bytes


class Channel:
    def __init__(self, sender: Endpoint, receiver: Endpoint, capacity: int, others: list[Endpoint]) -> None:
        ring = _ring.create_ring(capacity)
        producer = _ring.Producer(os.dup(ring), FORM, sender.own, receiver.far, [other.far for other in others])
        pools = {endpoint.pool_id: endpoint.far for endpoint in [sender, *others]}
        consumer = _ring.Consumer(ring, FORM, receiver.own, sender.far, pools)
        name = f"{sender.name}-{receiver.name}"
        self.sender, self.receiver, self.capacity = sender, receiver, capacity
        self.publisher = Publisher._over(name, producer, sender.own, Doorbell(sender.own))
        self.subscriber = Subscriber._over(name, consumer, receiver.own, Doorbell(receiver.own))
        self.queue: deque[tuple[Block | None, bytes, str, Block | None]] = deque()
        self.publisher_closed = self.subscriber_closed = False


class PoolsMachine(RuleBasedStateMachine):
    held: list[Held]

    @initialize(pages=st.integers(1, 3), capacities=st.lists(st.integers(1, 3), min_size=4, max_size=4))
    def open(self, pages: int, capacities: list[int]) -> None:
        a, b, c = (Endpoint(name, number, pages * 4096) for number, name in enumerate("abc", 1))
        self.endpoints = [a, b, c]
        wires = [(a, b, []), (a, c, []), (b, c, [a]), (b, c, [a])]
        self.channels = [Channel(*wire[:2], n, wire[2]) for wire, n in zip(wires, capacities, strict=True)]
        self.blocks: set[Block] = set()
        self.held = []
        self.count = 0

    # --- the model ---

    def _hold(self, block: Block | None) -> None:
        if block is not None:
            block.references += 1
            self.blocks.add(block)

    def _drop(self, block: Block | None) -> None:
        if block is not None:
            block.references -= 1
            if not block.references:
                self.blocks.remove(block)

    def _used(self, owner: str) -> int:
        return sum(block.units for block in self.blocks if block.owner == owner)

    def _raw(self, size: int) -> bytes:
        self.count += 1
        return np.random.default_rng(self.count).bytes(size)

    def _keep(self, view: Any, block: Block | None, raw: bytes, at: str, *, leads: bool = True) -> None:
        if block is not None:
            self._hold(block)
            self.held.append(Held(view, block, raw, at, leads))

    def _pick(self, data: st.DataObject) -> Held:
        return self.held[data.draw(st.integers(0, len(self.held) - 1))]

    def _send(self, channel: Channel, payload: Any, raw: bytes, session: str, shared: Block | None) -> bool:
        """Sends ``payload``, which lies in ``shared`` if the receiver can map it; else it is copied into a block."""
        message = RuntimeData.text(payload) if isinstance(payload, str) else RuntimeData.tensor(payload)
        message.session_id = session
        if channel.publisher_closed or channel.subscriber_closed:
            with pytest.raises(ChannelClosedError):
                channel.publisher.try_publish(message)
            return False
        owner = channel.sender.name
        block = shared if shared is not None else Block(owner, raw) if raw else None
        text = (
            Block(owner, bytes(len(session) + 3 * (not isinstance(payload, str | bytes))))
            if len(session) > 112
            else None
        )
        used = self._used(owner)
        copied = channel.publisher.statistics()["bytes_copied"]
        if not channel.publisher.try_publish(message):
            room = channel.sender.pool_bytes - used
            full = len(channel.queue) == channel.capacity
            # The pool may be in pieces; but an empty one is in one.
            assert full or used or (text.units if text else 0) + (block.units if block else 0) > room
            return False
        assert len(channel.queue) < channel.capacity
        grown = channel.publisher.statistics()["bytes_copied"] - copied
        assert grown == (0 if shared is not None else len(raw)), "copied once, or not at all"
        self._hold(block)
        self._hold(text)
        channel.queue.append((block, raw, session, text))
        return True

    # --- sending ---

    @rule(n=st.integers(0, 3), size=st.sampled_from([0, 1, 64, 65, 700, 2000, 4096]), kind=st.sampled_from("abt"))
    def publish(self, n: int, size: int, kind: str) -> None:
        raw = self._raw(size)
        payload: Any = np.frombuffer(raw, np.uint8)
        if kind == "b":
            payload = raw
        elif kind == "t":
            payload = raw.hex()[:size]
            raw = payload.encode()
        self._send(self.channels[n], payload, raw, "", None)

    @rule(n=st.integers(0, 3), size=st.integers(0, 300))
    def publish_with_long_text(self, n: int, size: int) -> None:
        raw = self._raw(size)
        self._send(self.channels[n], raw, raw, LONG_SESSION, None)

    @rule(n=st.integers(0, 3), size=st.integers(1, 3000))
    def loan(self, n: int, size: int) -> None:
        channel = self.channels[n]
        if channel.publisher_closed:
            return
        array = channel.publisher.try_loan(size, np.uint8)
        if array is not None:
            array[:] = np.frombuffer(raw := self._raw(size), np.uint8)
            self._keep(array, Block(channel.sender.name, raw), raw, channel.sender.name)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def fan_out(self, data: st.DataObject) -> None:
        """A loan, or a payload that came in, goes to both channels of the endpoint that holds it: one block."""
        held = self._pick(data)
        for channel in self.channels:
            if channel.sender.name == held.at:
                sent = (
                    np.frombuffer(held.view, np.uint8) if isinstance(held.view, memoryview) and held.raw else held.view
                )
                self._send(channel, sent, held.raw, "", held.block if held.leads and held.raw else None)

    # --- receiving ---

    @rule(n=st.integers(0, 3), keep=st.booleans())
    def receive(self, n: int, keep: bool) -> None:
        channel = self.channels[n]
        if channel.subscriber_closed:
            with pytest.raises(ChannelClosedError):
                channel.subscriber.try_receive()
            return
        got = channel.subscriber.try_receive()
        if not channel.queue:
            assert got is None
            assert channel.subscriber.ended == channel.publisher_closed
            return
        block, raw, session, text = channel.queue.popleft()
        assert got is not None
        assert got.session_id == session
        if isinstance(got.payload, str):
            assert got.payload.encode() == raw
        else:
            assert bytes(got.payload) == raw
            if keep:
                self._keep(got.payload, block, raw, channel.receiver.name)
        self._drop(block)
        self._drop(text)

    # --- views ---

    @precondition(lambda self: self.held)
    @rule(data=st.data(), how=st.sampled_from(["slice", "memoryview", "frombuffer"]))
    def another_view(self, data: st.DataObject, how: str) -> None:
        held = self._pick(data)
        # The same handle: a view more of it is no reference more, but keeps it.
        start = data.draw(st.integers(0, len(held.raw)))
        view: Any = held.view[start:] if how == "slice" else memoryview(held.view)[start:]
        if how == "frombuffer" and start < len(held.raw):
            view = np.frombuffer(view, np.uint8)
        # An array's slice has the array's base.
        leads = held.leads and (how == "slice" or not isinstance(held.view, np.ndarray))
        self._keep(view, held.block, held.raw[start:], held.at, leads=leads)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def drop_view(self, data: st.DataObject) -> None:
        held = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        self._drop(held.block)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        """In place where nobody else holds the block, else into a copy: no other view may change."""
        held = self._pick(data)
        if held.block.references > 1 or not len(held.raw):
            return  # other views of this test's would see it, as they should
        array = RuntimeData.tensor(held.view).as_numpy(writable=True)
        raw = self._raw(len(held.raw))
        in_place = held.leads or held.writable
        array[:] = np.frombuffer(raw, np.uint8)
        if in_place:
            held.raw = raw

    @precondition(lambda self: any(held.block.references > 1 for held in self.held))
    @rule(data=st.data())
    def write_to_what_is_in_a_ring_too(self, data: st.DataObject) -> None:
        queued = {block for channel in self.channels for block, *_ in channel.queue}
        # Views made of a loan before it was published stay writable, and are not to be written to.
        shared = [held for held in self.held if held.block in queued and held.raw and not held.writable]
        if shared:
            held = shared[data.draw(st.integers(0, len(shared) - 1))]
            RuntimeData.tensor(held.view).as_numpy(writable=True)[:] = 7

    @rule(n=st.integers(0, 3), end=st.sampled_from(["publisher", "subscriber"]), often=st.integers(0, 4))
    def close(self, n: int, end: str, often: int) -> None:
        if often:
            return  # most runs should go on for a while
        channel = self.channels[n]
        getattr(channel, end).close()
        setattr(channel, f"{end}_closed", True)
        if end == "subscriber":
            while channel.queue:
                block, _, _, text = channel.queue.popleft()
                self._drop(block)
                self._drop(text)

    # --- what always holds ---

    @invariant()
    def pools_hold_what_lives_and_nothing_else(self) -> None:
        for endpoint in getattr(self, "endpoints", []):
            assert endpoint.own.used_bytes == self._used(endpoint.name), f"pool of {endpoint.name}"

    @invariant()
    def views_keep_their_bytes(self) -> None:
        for held in getattr(self, "held", []):
            assert bytes(held.view) == held.raw

    def teardown(self) -> None:
        if not hasattr(self, "endpoints"):
            return
        for channel in self.channels:
            channel.publisher.close()
            channel.subscriber.close()
        self.views_keep_their_bytes()
        self.held.clear()
        for endpoint in self.endpoints:
            assert endpoint.own.used_bytes == 0
            endpoint.own.close()
            endpoint.far.close()


PoolsMachine.TestCase.settings = settings(settings.get_profile("remotemedia"), max_examples=150, stateful_step_count=50)
TestPools = PoolsMachine.TestCase
