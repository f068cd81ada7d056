"""Samples of one dtype as another: RuntimeData.as_float32 and as_int16."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from remotemedia.core.data import DataType, RuntimeData

EDGES = [0.0, 0.5, 1.0, -1.0, 1.5, -2.0, np.nan, np.inf, -np.inf, 1e30]
FLOATS = ["f2", "f4", "f8", ">f4", ">f8", "longdouble"]


def audio(samples: Any) -> RuntimeData:
    return RuntimeData.audio(samples, 8000)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.filterwarnings("error")
def test_floats_keep_their_values_as_float32_and_are_clipped_as_int16(dtype: str) -> None:
    with np.errstate(over="ignore"):
        samples = np.array(EDGES).astype(dtype)
        same = samples.astype(np.float32)
    data = audio(samples)
    floats, integers = data.as_float32(), data.as_int16()
    assert (floats.dtype, integers.dtype) == (np.dtype(np.float32), np.dtype(np.int16))
    np.testing.assert_array_equal(floats, same)
    assert integers.tolist() == [0, 16384, 32767, -32768, 32767, -32768, 0, 32767, -32768, 32767]


@pytest.mark.filterwarnings("error")
def test_what_float32_cannot_hold_becomes_infinite() -> None:
    assert audio(np.array([1e300, -1e300])).as_float32().tolist() == [np.inf, -np.inf]
    assert audio(np.array([1e300, -1e300])).as_int16().tolist() == [32767, -32768]


@pytest.mark.parametrize("order", "<>")
def test_integers_have_their_full_scale(order: str) -> None:
    short = audio(np.array([0, 1, -1, 2**14, 2**15 - 1, -(2**15)], f"{order}i2"))
    assert (short.as_float32() * 2**15).tolist() == [0, 1, -1, 2**14, 2**15 - 1, -(2**15)]
    assert short.as_int16().tolist() == short.as_numpy().tolist()
    long = audio(np.array([0, 2**16, 2**15, 3 * 2**15, -(2**15) - 1, 2**31 - 1, -(2**31)], f"{order}i4"))
    assert long.as_float32()[[0, 1, 5, 6]].tolist() == [0, 2.0**-15, 1, -1]
    assert long.as_int16().tolist() == [0, 1, 0, 2, -1, 32767, -32768]


@given(hnp.arrays(np.int16, hnp.array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=9)))
def test_int16_comes_back(samples: Any) -> None:
    data = RuntimeData(DataType.AUDIO, samples)
    for wide in (data.as_float32(), samples.astype(np.int32) << 16, data.as_float32().astype(np.float64)):
        back = RuntimeData(DataType.AUDIO, wide).as_int16()
        assert back.shape == samples.shape
        np.testing.assert_array_equal(back, samples)


@given(hnp.arrays(st.sampled_from([np.float32, np.float64]), 9, elements={"min_value": -1, "max_value": 1}))
def test_int16_is_the_nearest(samples: Any) -> None:
    near = audio(samples).as_int16() / 2**15
    inside = samples <= (2**15 - 1) / 2**15
    assert np.abs(near - samples)[inside].max(initial=0) <= 2**-16


@pytest.mark.parametrize(("dtype", "method"), [(np.float32, "as_float32"), (np.int16, "as_int16")])
def test_what_is_right_already_is_not_copied(dtype: Any, method: str) -> None:
    samples = np.zeros((5, 2), dtype)
    samples.flags.writeable = False
    assert getattr(audio(samples), method)() is samples
    other = audio(np.zeros((5, 2), np.float64))
    copy = getattr(other, method)()
    assert copy.flags.writeable and copy.shape == (5, 2) and not np.shares_memory(copy, other.as_numpy())


@pytest.mark.parametrize("method", ["as_float32", "as_int16"])
@pytest.mark.parametrize(
    ("data", "why"),
    [
        (RuntimeData.tensor(np.zeros(3, "f4")), r"is for AUDIO, not for TENSOR; as_numpy\(\) gives any array"),
        (RuntimeData.text("x"), "is for AUDIO, not for TEXT"),
        (audio(np.zeros(3, np.uint8)), "int16, int32 or a float dtype, not uint8: nothing says what its full scale is"),
        (audio(np.zeros(3, np.int64)), "not int64"),
        (
            RuntimeData(DataType.AUDIO, b"ab"),
            r"an array of samples, not bytes; np.frombuffer\(data.payload, np.int16\)",
        ),
        (RuntimeData(DataType.AUDIO, "ab"), "an array of samples, not str$"),
    ],
)
def test_what_has_no_samples_says_so(data: RuntimeData, why: str, method: str) -> None:
    with pytest.raises(TypeError, match=f"RuntimeData.{method} .*{why}"):
        getattr(data, method)()
