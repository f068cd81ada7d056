"""How many bytes an array of a shape has: the header's arithmetic against Python's, which has no largest number."""

from __future__ import annotations

import ctypes
import math
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import remotemedia

HEADERS = Path(remotemedia.__file__).parent
MOST, IMPOSSIBLE = 1 << 62, (1 << 64) - 1
SIZES = st.one_of(st.integers(0, 5), st.sampled_from([1 << 31, 1 << 32, 1 << 61, MOST, MOST + 1, IMPOSSIBLE]))


@pytest.fixture(scope="module")
def shape_bytes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[int], int], int]:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("shapes")
    source, library = folder / "shapes.c", folder / "shapes.so"
    source.write_text(
        '#include "_message.h"\n'
        "uint64_t bytes_of(const uint64_t *s, unsigned n, uint64_t e) { return rm_shape_bytes(s, n, e); }\n"
    )
    command = [compiler, "-std=c11", "-O2", "-shared", "-fPIC", f"-I{HEADERS}", source, "-o", library]
    subprocess.run(command, check=True)
    native = ctypes.CDLL(str(library)).bytes_of
    native.restype = ctypes.c_uint64

    def call(shape: list[int], element: int) -> int:
        found: int = native((ctypes.c_uint64 * len(shape))(*shape), len(shape), ctypes.c_uint64(element))
        return found

    return call


@given(shape=st.lists(SIZES, max_size=8), element=SIZES)
@example(shape=[1 << 62, 1 << 62], element=0)
@example(shape=[0, 1 << 62, 4], element=1)
@example(shape=[1 << 32, 1 << 32], element=1)
def test_bytes_of_a_shape(shape_bytes: Callable[[list[int], int], int], shape: list[int], element: int) -> None:
    # What counts for whether numpy could make it: an empty dimension and elements without bytes do not excuse the rest.
    dimensions = [size for size in shape if size]
    possible = math.prod(dimensions) * (element or 1) <= MOST or not dimensions
    assert shape_bytes(shape, element) == (math.prod(shape) * element if possible else IMPOSSIBLE)
