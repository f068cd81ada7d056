"""The payload pool against a model: no two blocks overlap, everything comes back, and neighbours are merged."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from remotemedia import _ring
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocess.channel.form import FORM
from remotemedia.errors import ChannelCorruptedError, PayloadError

UNIT = 64


def _segment(pool_bytes: int) -> _ring.Segment:
    return _ring.Segment(_ring.create_segment(pool_bytes, 0), -1, True)


class PoolMachine(RuleBasedStateMachine):
    """Loans of any size, freed in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[int, tuple[Any, bytes]] = {}
        self.count = 0

    @initialize(pages=st.integers(1, 24))
    def open(self, pages: int) -> None:
        self.segment = _segment(pages * 4096)
        self.pool_bytes = pages * 4096
        self.start: int | None = None

    def _used(self) -> int:
        return sum(-(-max(len(block), 1) // UNIT) * UNIT for block, _ in self.held.values())

    def _loan(self, size: int) -> None:
        block = self.segment.loan(size)
        free = self.pool_bytes - self._used()
        if block is None:
            # Fragmentation may refuse what is free in all, but an empty pool is one piece.
            assert self.held
            return
        assert size <= free
        assert len(block) == size
        self.count += 1
        pattern = np.random.default_rng(self.count).bytes(size)
        memoryview(block)[:] = pattern
        self.held[self.count] = (block, pattern)

    @rule(size=st.one_of(st.integers(0, 300), st.integers(0, 24 * 4096)))
    def loan(self, size: int) -> None:
        if size > self.pool_bytes:
            with pytest.raises(PayloadError):
                self.segment.loan(size)
        else:
            self._loan(size)

    @rule(short=st.integers(0, 200))
    def loan_nearly_all_that_is_left(self, short: int) -> None:
        self._loan(max(0, self.pool_bytes - self._used() - short))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        del self.held[data.draw(st.sampled_from(sorted(self.held)))]

    @rule()
    def free_all(self) -> None:
        self.held.clear()
        assert self.segment.used_bytes == 0
        whole = self.segment.loan(self.pool_bytes)
        assert whole is not None, "neighbours were not merged"
        del whole

    @invariant()
    def bytes_stay(self) -> None:
        if not hasattr(self, "segment"):
            return
        assert self.segment.used_bytes == self._used()
        spans = []
        for block, pattern in self.held.values():
            assert bytes(block) == pattern
            start = np.frombuffer(block, np.uint8).ctypes.data if len(block) else 0
            if len(block):
                assert start % UNIT == 0
                spans.append((start, start + len(block)))
        spans.sort()
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))

    def teardown(self) -> None:
        self.held.clear()
        if hasattr(self, "segment"):
            assert self.segment.used_bytes == 0


PoolMachine.TestCase.settings = settings(settings.get_profile("remotemedia"), max_examples=100, stateful_step_count=40)
TestPool = PoolMachine.TestCase


@pytest.mark.parametrize("pages", [1, 2, 3, 5, 7, 9, 15, 16, 17, 31, 33, 100, 255, 257, 1000])
def test_payload_almost_as_large_as_the_pool_fits(pages: int) -> None:
    """Where the size falls between two bins of the allocator."""
    segment = _segment(pages * 4096)
    for short in (0, 1, 63, 64, 65, 128, 1000, 0):
        block = segment.loan(pages * 4096 - short)
        assert block is not None
        del block


def test_small_fits_beside_almost_all() -> None:
    segment = _segment(16 * 4096)
    large = segment.loan(16 * 4096 - 64)
    small = segment.loan(64)
    assert large is not None
    assert small is not None
    assert segment.loan(1) is None
    del large
    assert segment.loan(16 * 4096 - 64) is not None


def test_out_of_block_descriptors_is_out_of_memory() -> None:
    """1024 descriptors for a small pool; then one comes back."""
    segment = _segment(1024 * 4096)
    blocks = []
    while (block := segment.loan(64)) is not None:
        blocks.append(block)
    assert len(blocks) >= 1023
    del blocks[500]
    again = segment.loan(64)
    assert again is not None
    assert segment.loan(64) is None
    del again, block
    blocks.clear()
    assert segment.loan(1024 * 4096) is not None


@pytest.mark.parametrize("order", ["forward", "backward", "inside-out"])
def test_views_given_back_in_any_order(pair: Callable[..., Any], order: str) -> None:
    p = pair(8, 8 * 4096)
    for value in range(8):
        assert p.put(np.full(4096, value, np.uint8)) == _ring.OK
    views = {value: p.take_payload() for value in range(8)}
    assert p.put(b"x") == _ring.NO_MEMORY
    orders = {"forward": range(8), "backward": range(7, -1, -1), "inside-out": [3, 4, 2, 5, 1, 6, 0, 7]}
    left = 8
    for value in orders[order]:
        del views[value]
        left -= 1
        assert p.own.used_bytes == left * 4096
        assert all((view == kept).all() for kept, view in views.items())
    assert p.put(bytes(8 * 4096)) == _ring.OK


def test_last_of_many_views_gives_the_block_back(pair: Callable[..., Any]) -> None:
    p = pair()
    p.put(np.arange(100))
    array = p.take_payload()
    part, raw = array[10:20], memoryview(array)
    again = np.frombuffer(raw, np.uint8)
    del array
    assert p.own.used_bytes > 0
    assert part.tolist() == list(range(10, 20))
    del part, raw
    assert p.own.used_bytes > 0
    del again
    assert p.own.used_bytes == 0


def test_one_block_for_many_messages(pair: Callable[..., Any]) -> None:
    """Fan-out and forwarding: references, not copies."""
    p = pair()
    loaned = p.own.try_loan((100,), "f8", FORM)
    block = loaned.base
    loaned[:] = 1.5
    assert p.put(loaned) == p.put(loaned[50:]) == p.put(loaned.reshape(10, 10)) == _ring.OK
    assert block.references == 4
    assert not loaned.flags.writeable
    assert memoryview(block).readonly
    del loaned
    views = [p.take_payload() for _ in range(3)]
    assert [view.shape for view in views] == [(100,), (50,), (10, 10)]
    assert p.producer.statistics()["bytes_copied"] == 0
    del block
    assert p.own.used_bytes > 0
    views.clear()
    assert p.own.used_bytes == 0


def test_writable_in_place_only_for_the_last_holder(pair: Callable[..., Any]) -> None:
    p = pair()
    p.put(np.arange(10))
    array = p.take_payload()
    block = array.base
    array_again = block.try_writable(array)
    array_again[0] = 77
    assert array[0] == 77
    shared = p.own.try_loan(10, np.int64, FORM)
    loan = shared.base
    p.put(shared)
    assert loan.try_writable(shared) is None
    p.take()
    assert loan.try_writable(shared) is not None
    other = loan.again()
    assert (loan.references, other.writable) == (2, False)
    assert loan.try_writable(shared) is None
    del other
    assert loan.references == 1 and loan.try_writable(shared) is not None
    used_bytes = p.own.used_bytes
    other = loan.again()
    del loan, shared
    assert p.own.used_bytes == used_bytes
    del other
    assert p.own.used_bytes < used_bytes


def test_return_list_bent_into_a_circle_is_corruption(pair: Callable[..., Any]) -> None:
    p = pair()
    p.put(b"x" * 64)
    view = p.take_payload()
    del view
    p.poke_segment("I", p.TABLE + 4, 1)  # the first block's next: itself
    with pytest.raises(ChannelCorruptedError, match="not free to take"):
        p.own.collect()


def test_return_list_out_of_range_is_corruption(pair: Callable[..., Any]) -> None:
    p = pair()
    p.poke_segment("I", p.RETURNED, 2**31)
    with pytest.raises(ChannelCorruptedError, match="does not exist"):
        p.own.collect()


def test_owner_does_not_believe_the_block_table(pair: Callable[..., Any]) -> None:
    """Where to write comes from the owner's private books, not from memory a peer can write to."""
    p = pair()
    address = np.frombuffer(p.own.loan(64), np.uint8).ctypes.data
    p.poke_segment("Q", p.TABLE + 8, 2**40)
    assert np.frombuffer(p.own.loan(64), np.uint8).ctypes.data == address


def test_a_staged_message_is_seen_when_it_is_committed(pair: Callable[..., Any]) -> None:
    p = pair()
    loan = p.own.try_loan(10, np.int64, FORM)
    loan[:] = 7
    message = RuntimeData.tensor(loan)
    assert p.producer.put(message, stage=True) == _ring.STAGED
    assert p.take() is None and not loan.flags.writeable
    del loan, message
    p.producer.commit()
    got = p.take_payload()
    assert got.tolist() == [7] * 10
    assert got.base.references == 1
    p.producer.commit()  # nothing is staged
    assert p.take() is None


@pytest.mark.parametrize("then", ["put", "close"])
def test_what_is_staged_goes_before_what_comes_next(pair: Callable[..., Any], then: str) -> None:
    p = pair()
    assert p.producer.put(RuntimeData.tensor(p.own.try_loan(1, np.int64, FORM)), stage=True) == _ring.STAGED
    if then == "put":
        assert p.put(np.zeros(3)) == _ring.OK
    else:
        p.producer.close()
    assert p.take_payload().shape == (1,)
    assert (p.take() is None) == (then == "close")


def test_a_message_with_a_payload_of_its_own_is_not_staged(pair: Callable[..., Any]) -> None:
    p = pair()
    for payload in (np.zeros(3), b"x", "text", np.zeros(0)):
        assert p.producer.put(RuntimeData.tensor(payload), stage=True) == _ring.OK
    assert p.take_payload().tolist() == [0, 0, 0]


def test_what_is_staged_comes_back_when_the_consumer_has_closed(pair: Callable[..., Any]) -> None:
    p = pair()
    p.producer.put(RuntimeData.tensor(p.own.try_loan(1, np.int64, FORM)), stage=True)
    p.consumer.close()
    p.producer.commit()
    assert p.put(b"x") == _ring.CLOSED
    assert p.own.used_bytes == 0


_PRIVATE = """
from remotemedia import _ring

def private_bytes():
    with open("/proc/self/smaps_rollup") as lines:
        return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Private"))

kept = [_ring.Segment(_ring.create_segment(256 << 20, 0), -1, True)]  # what the first one alone needs
before = private_bytes()
kept += [_ring.Segment(_ring.create_segment(256 << 20, 0), -1, True) for _ in range(4)]
kept += [segment.loan(100) for segment in kept[1:]] + [segment.held() for segment in kept[1:]]
print((private_bytes() - before) // 4)
"""


def test_the_books_of_a_large_pool_take_memory_as_they_are_used() -> None:
    """Its owner's private memory: a block's books are 56 bytes, and there are 65,536 of them."""
    done = subprocess.run([sys.executable, "-c", _PRIVATE], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 256 << 10
