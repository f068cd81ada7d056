"""What is mapped must be what it says it is: sealed, long enough, of this version, with numbers that fit."""

from __future__ import annotations

import copy
import fcntl
import mmap
import os
import resource
import struct
import subprocess
import sys
from collections.abc import Callable

import pytest

from remotemedia import _ring
from remotemedia.errors import ChannelCorruptedError

F_ADD_SEALS = 1033
SEALS = 0x2 | 0x4  # shrink, grow

Open = Callable[[int], object]


def _open_segment(fd: int) -> object:
    return _ring.Segment(fd, -1, False)


def _open_owned(fd: int) -> object:
    return _ring.Segment(fd, -1, True)


OPENERS = pytest.mark.parametrize(
    ("make", "open_it"),
    [
        pytest.param(lambda: _ring.create_segment(8192, 0), _open_segment, id="segment"),
        pytest.param(lambda: _ring.create_segment(8192, 0), _open_owned, id="owned"),
        pytest.param(lambda: _ring.create_ring(4), _ring.RingView, id="ring"),
    ],
)


def _copy(source: int, size: int | None = None, *, seal: bool = True) -> int:
    """A memfd of the same bytes that may be changed before it is sealed."""
    whole = os.pread(source, os.fstat(source).st_size, 0)
    os.close(source)
    fd = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.write(fd, whole[:size])
    if seal:
        fcntl.fcntl(fd, F_ADD_SEALS, SEALS)
    return fd


def _refused(fd: int, open_it: Open, why: str) -> None:
    with pytest.raises(ChannelCorruptedError, match=why):
        open_it(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)  # taken over, also when refused


@OPENERS
def test_sealed_copy_is_accepted(make: Callable[[], int], open_it: Open) -> None:
    open_it(_copy(make()))


@OPENERS
def test_unsealed_is_refused(make: Callable[[], int], open_it: Open) -> None:
    _refused(_copy(make(), seal=False), open_it, "not sealed")


@OPENERS
@pytest.mark.parametrize("size", [0, 1, 100, 4095])
def test_shorter_than_its_header_is_refused(make: Callable[[], int], open_it: Open, size: int) -> None:
    _refused(_copy(make(), size), open_it, "shorter than its header")


@OPENERS
def test_shorter_than_it_says_is_refused(make: Callable[[], int], open_it: Open) -> None:
    fd = make()
    _refused(_copy(fd, os.fstat(fd).st_size - 4096), open_it, "header is not")


@OPENERS
def test_other_version_is_refused_by_name(make: Callable[[], int], open_it: Open) -> None:
    fd = make()
    os.pwrite(fd, struct.pack("I", 999), 4)
    _refused(fd, open_it, "another version of remotemedia")


@pytest.mark.parametrize("offset", [0, 8, 16, 24, 28, 32, 40])
@pytest.mark.parametrize("value", [2, 0x7FFFFFFF, 0xFFFFFFFF])
def test_impossible_segment_header_is_refused(offset: int, value: int) -> None:
    """Magic, total size, where table and pool begin, and their sizes."""
    if (offset, value) in {(32, 2), (40, 2)}:
        return  # a smaller pool or table would do
    fd = _ring.create_segment(8192, 0)
    os.pwrite(fd, struct.pack("I", value), offset)
    _refused(fd, _open_segment, "header is not")


@pytest.mark.parametrize("offset", [0, 8, 16, 20, 24, 28])
@pytest.mark.parametrize("value", [3, 0x7FFFFFFF, 0xFFFFFFFF])
def test_impossible_ring_header_is_refused(offset: int, value: int) -> None:
    """Magic, total size, capacity, slots, and where they begin."""
    if (offset, value) == (16, 3):
        return  # a smaller capacity would do
    fd = _ring.create_ring(4)
    os.pwrite(fd, struct.pack("I", value), offset)
    _refused(fd, _ring.RingView, "header is not")


def test_what_is_no_memfd_is_refused() -> None:
    read, write = os.pipe()
    os.close(write)
    with pytest.raises(ChannelCorruptedError, match="shorter than its header"):
        _ring.RingView(read)


@pytest.mark.parametrize("make", [lambda: _ring.create_segment(4096, 0), lambda: _ring.create_ring(4)])
def test_ours_are_sealed_against_resizing(make: Callable[[], int]) -> None:
    fd = make()
    size = os.fstat(fd).st_size
    for other in (size - 4096, size + 4096):
        with pytest.raises(PermissionError):
            os.ftruncate(fd, other)
    os.close(fd)


def test_nothing_is_inherited_by_a_new_program() -> None:
    for fd in (_ring.create_segment(4096, 0), _ring.create_ring(4)):
        assert not os.get_inheritable(fd)
        os.close(fd)


def test_header_changed_after_mapping_is_not_believed() -> None:
    """Sizes are copied and checked once; what a peer writes into the header later moves nothing."""
    fd = _ring.create_segment(8192, 3)
    with mmap.mmap(fd, 4096) as header:
        segment = _ring.Segment(fd, -1, True)
        header[0:64] = b"\xff" * 64
        assert (segment.pool_bytes, segment.pool_id) == (8192, 3)
        block = segment.loan(8192)
        assert block is not None
        memoryview(block)[:] = bytes(8192)


def test_refused_sizes() -> None:
    for capacity in (0, (1 << 20) + 1):
        with pytest.raises(ValueError, match="capacity must be from 1"):
            _ring.create_ring(capacity)
    with pytest.raises(OSError, match="cannot create"):
        _ring.create_segment(1 << 63, 0)


def test_descriptor_limit_reached() -> None:
    """EMFILE is an OSError that says what could not be made, and nothing is left open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        with pytest.raises(OSError, match="cannot create a ring of 4 messages"):
            _ring.create_ring(4)
        with pytest.raises(OSError, match="shared memory"):
            _ring.create_segment(4096, 0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_copies_of_handles_are_refused() -> None:
    """A copied handle would give the same block back twice."""
    segment = _ring.Segment(_ring.create_segment(4096, 0), -1, True)
    for handle in (segment, segment.loan(10)):
        with pytest.raises(TypeError, match="cannot pickle"):
            copy.copy(handle)


def test_pool_virtual_size_costs_nothing() -> None:
    """Pages are used when touched."""
    fd = _ring.create_segment(1 << 36, 0)
    assert os.fstat(fd).st_blocks * 512 < 1 << 20
    segment = _ring.Segment(fd, -1, False)
    assert segment.pool_bytes == 1 << 36


def test_a_segment_that_outlives_the_interpreters_modules_goes_without_a_word() -> None:
    program = (
        "import builtins, os\n"
        "from remotemedia import _ring\n"
        "builtins.kept = {'segment': _ring.Segment(_ring.create_segment(4096, 0), os.eventfd(0), True)}\n"
        "builtins.kept['me'] = builtins.kept\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
