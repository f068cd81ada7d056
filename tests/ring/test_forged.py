"""Headers forged by hand: refused, and not shown as something that nobody sent."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from remotemedia import _ring
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocess.channel.form import FORM
from remotemedia.errors import ChannelCorruptedError

SLOTS, SHAPE, DTYPE_BYTES, TEXT = 4096, 64, 136, 160


def _forge_dtype(p: Any, text: bytes) -> None:
    p.poke_ring("I", p.SLOTS + DTYPE_BYTES, len(text))
    p.ring_map[p.SLOTS + TEXT : p.SLOTS + TEXT + len(text)] = text


def test_dtype_that_has_dimensions_of_its_own(pair: Callable[..., Any]) -> None:
    """numpy would add them to the shape: an array of other dimensions than the header has."""
    p = pair()
    p.put(np.zeros(24, "u1"))
    _forge_dtype(p, b"(2,3)<f4")
    p.poke_ring("Q", p.SLOTS + SHAPE, 1)
    with pytest.raises(ChannelCorruptedError, match="cannot have been sent"):
        p.take()


def test_more_elements_than_can_be_counted(pair: Callable[..., Any]) -> None:
    """Elements without bytes always fit their block; their number does not always fit 64 bits."""
    p = pair()
    p.put(np.zeros((1, 1), "V0"))
    p.poke_ring("Q", p.SLOTS + SHAPE, 1 << 62)
    p.poke_ring("Q", p.SLOTS + SHAPE + 8, 1 << 62)
    with pytest.raises(ChannelCorruptedError, match="shape is impossible"):
        p.take()


@pytest.mark.parametrize("shape", [(0, 2**61, 2**61), (2**61, 0, 2**61)])
def test_a_scribbled_shape_that_is_empty_and_impossible(shape: tuple[int, ...]) -> None:
    ring_fd, memory_fd, bell_fd = _ring.create_ring(4), _ring.create_segment(65536, 1), _ring.create_segment(4096, 2)
    with mmap.mmap(ring_fd, os.fstat(ring_fd).st_size) as ring:
        own = _ring.Segment(os.dup(memory_fd), os.eventfd(0, os.EFD_NONBLOCK), True)
        mine = _ring.Segment(os.dup(bell_fd), os.eventfd(0, os.EFD_NONBLOCK), True)
        far = _ring.Segment(memory_fd, -1, False)
        producer = _ring.Producer(os.dup(ring_fd), FORM, own, _ring.Segment(bell_fd, -1, False))
        consumer = _ring.Consumer(ring_fd, FORM, mine, far, {1: far}, far)
        try:
            producer.put(RuntimeData.tensor(np.zeros((0, 3, 3), np.uint8)))
            at = SLOTS + SHAPE
            assert ring[at : at + 24] == struct.pack("<3Q", 0, 3, 3)
            ring[at : at + 24] = struct.pack("<3Q", *shape)
            for _ in range(2):
                with pytest.raises(ChannelCorruptedError):
                    consumer.take()
        finally:
            consumer.close()
            producer.close()
            own.close()
            mine.close()
