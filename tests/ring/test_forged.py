"""Headers forged by hand, each as a fuzzer found it: refused, and not shown as something that nobody sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from remotemedia.errors import ChannelCorruptedError

SHAPE, DTYPE_BYTES, TEXT = 64, 136, 152


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
