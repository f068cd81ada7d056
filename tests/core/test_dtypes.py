"""The wire form of dtypes: an equal dtype comes back, and garbage gives one kind of error."""

from __future__ import annotations

import random
import warnings

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
from hypothesis import assume, given

from remotemedia.core.dtypes import decode_dtype, encode_dtype
from remotemedia.errors import ChannelCorruptedError, PayloadError

ODD = [
    np.dtype([]),
    np.dtype("V0"),
    np.dtype("M8"),
    np.dtype("m8[25s]"),
    np.dtype(">M8[ns]"),
    np.dtype([("a", "S0")]),
    np.dtype([("a", "i4", (0,))]),
    np.dtype([("é", "i4")]),
    np.dtype([("a 'quoted' \" name", "i4")]),
    np.dtype([(("title", "n"), "i4")]),
    np.dtype([("f", [("x", ">i2", (2, 3)), ("y", "M8[ns]")])]),
    np.dtype([("a", "i1"), ("b", "f8")], align=True),
    np.dtype({"names": ["a"], "formats": ["i4"], "offsets": [8], "itemsize": 32}),
    np.dtype((np.record, [("a", "i4")])),
    np.dtype("i4", metadata={"a": 1}),
    np.dtype("g"),
    np.dtype("G"),
]


@pytest.mark.parametrize("dtype", ODD, ids=str)
def test_odd_ones_come_back(dtype: np.dtype) -> None:
    assert decode_dtype(encode_dtype(dtype)) == dtype


@given(dtype=npst.scalar_dtypes() | npst.array_dtypes() | npst.nested_dtypes())
def test_any_comes_back(dtype: np.dtype) -> None:
    if dtype.subdtype is not None:
        dtype = dtype.base  # an array's dtype never is a subarray
    assume(dtype not in (np.dtype("S0"), np.dtype("U0")))
    back = decode_dtype(encode_dtype(dtype))
    assert back == dtype
    assert back.itemsize == dtype.itemsize


@pytest.mark.parametrize(
    ("dtype", "why"),
    [
        (np.dtype("S0"), "has no length"),
        (np.dtype("U0"), "has no length"),
        (np.dtype(object), "hold Python objects"),
        (np.dtype([("a", "i4"), ("b", "O")]), "hold Python objects"),
        (np.dtypes.StringDType(), "fixed-size"),
        (np.dtype({"names": ["a", "b"], "formats": ["i4", "i4"], "offsets": [4, 0]}), "out-of-order"),
        (np.dtype({"names": ["a", "b"], "formats": ["i4", "i4"], "offsets": [0, 0]}), "overlapping"),
    ],
    ids=str,
)
def test_refused(dtype: np.dtype, why: str) -> None:
    with pytest.raises(PayloadError, match=why):
        encode_dtype(dtype)


@pytest.mark.parametrize(
    "raw",
    [b"", b"O", b"|O", b"[('a', '|O')]", b"\xff", b"nonsense", b"[", b"[" * 10_000, b"[],", b"[1]", b"<a7"],
)
def test_garbage_is_corruption(raw: bytes) -> None:
    with pytest.raises(ChannelCorruptedError):
        decode_dtype(raw)


def test_scribbled_text_is_read_or_corruption() -> None:
    alphabet = b"[]()',<>|=0123456789abcOSUVMmixf\0 {}:-\xff"
    sources = [encode_dtype(dtype) for dtype in ODD] + [b"<f4", b"|S5", b"<U7"]
    rng = random.Random(3)
    for _ in range(10_000):
        raw = bytearray(rng.choice(sources))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(raw) + 1)
            how = rng.random()
            if how < 0.4 and at < len(raw):
                raw[at] = rng.choice(alphabet)
            elif how < 0.7:
                raw.insert(at, rng.choice(alphabet))
            elif at < len(raw):
                del raw[at]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                dtype = decode_dtype(bytes(raw))
            except ChannelCorruptedError:
                continue
        assert not dtype.hasobject


@pytest.mark.parametrize("text", [b"|S0", b"<U0", b">U0"])
def test_a_scribbled_dtype_without_bytes(text: bytes) -> None:
    with pytest.raises(ChannelCorruptedError):
        decode_dtype(text)
