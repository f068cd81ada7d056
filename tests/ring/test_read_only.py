"""A received payload cannot be written to; as_numpy(writable=True) writes through a mapping of its own."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from remotemedia import _ring
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocess.channel.form import FORM


def permissions(address: int) -> str:
    """Of the mapping that ``address`` lies in, as /proc shows them."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        bounds, found = line.split(None, 2)[:2]
        start, end = (int(bound, 16) for bound in bounds.split("-"))
        if start <= address < end:
            return found
    raise AssertionError(f"nothing is mapped at {address:#x}")


def address(payload: Any) -> int:
    return int(np.frombuffer(payload, np.uint8).ctypes.data)


def mappings() -> int:
    return Path("/proc/self/maps").read_text().count("memfd:remotemedia-segment")


def writable(payload: Any) -> np.ndarray:
    return RuntimeData.tensor(payload).as_numpy(writable=True)


@pytest.mark.parametrize("payload", [np.arange(1000), b"x" * 5000, np.zeros((0, 3))], ids=["array", "bytes", "empty"])
def test_what_was_received_is_mapped_read_only(pair: Callable[..., Any], payload: Any) -> None:
    p = pair()
    p.put(payload)
    got = p.take_payload()
    if len(got):
        assert permissions(address(got)) == "r--s"
        assert permissions(address(got[10:])) == "r--s"


def test_the_owner_and_the_words_of_consumers_stay_writable(pair: Callable[..., Any]) -> None:
    p = pair()
    loan = p.own.loan(100)
    assert permissions(address(loan)) == "rw-s"
    # Header and block table of both mappings, the owner's pool: one each; the other's pool: read-only.
    segments = [
        line.split()[1]
        for line in Path("/proc/self/maps").read_text().splitlines()
        if "memfd:remotemedia-segment" in line
    ]
    assert set(segments) == {"rw-s", "r--s"}
    p.put(np.arange(10))
    p.take()  # gives the slot and the block back
    assert p.own.used_bytes == len(memoryview(loan)) + 28  # 64-byte units


PROGRAM = """
import ctypes, os, sys
import numpy as np
from remotemedia import _ring
from remotemedia.core.multiprocess.channel.form import FORM
from remotemedia.core.data import RuntimeData
memory, ring = _ring.create_segment(65536, 1), _ring.create_ring(4)
own = _ring.Segment(os.dup(memory), -1, True)
far = _ring.Segment(memory, -1, False)
bell = _ring.Segment(_ring.create_segment(4096, 2), -1, True)
producer = _ring.Producer(os.dup(ring), FORM, own)
consumer = _ring.Consumer(ring, FORM, bell, far, {1: far})
loan = own.try_loan(100, "u1", FORM)
loan[:] = 7
producer.put(RuntimeData.tensor(loan))
got = consumer.take().payload
%s
print("survived", loan[0])
"""


@pytest.mark.parametrize(
    "way",
    [
        "ctypes.memset(got.ctypes.data, 9, 1)",
        "ctypes.memset(got[50:].ctypes.data, 9, 1)",
        "ctypes.memset(np.asarray(memoryview(got)).ctypes.data, 9, 1)",
        "np.ctypeslib.as_array(ctypes.cast(got.ctypes.data, ctypes.POINTER(ctypes.c_ubyte)), (1,))[0] = 9",
    ],
)
def test_a_write_through_the_pointer_ends_the_writer_and_changes_nothing(way: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM % way], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGSEGV, ""), done.stderr


def test_in_place_the_view_sees_what_was_written(pair: Callable[..., Any]) -> None:
    p = pair()
    p.put(np.arange(1000, dtype="<i4"))
    got = p.take_payload()
    before = mappings()
    mine = writable(got[100:200])
    assert mine.base is got.base
    assert permissions(mine.ctypes.data) == "rw-s"
    assert permissions(got.ctypes.data) == "r--s"
    mine[:] = -1
    assert got.tolist() == [*range(100), *[-1] * 100, *range(200, 1000)]
    writable(got)[:3] = 7  # the same second mapping
    assert mappings() == before + 1
    p.put(np.zeros(10))
    writable(p.take_payload())
    assert mappings() == before + 1
    assert got[0] == 7


def test_bytes_are_written_in_place_too(pair: Callable[..., Any]) -> None:
    p = pair()
    p.put(b"abc")
    got = p.take_payload()
    writable(got)[1] = ord("X")
    assert bytes(got) == b"aXc"


def test_what_was_written_in_place_is_passed_on_without_a_copy(pair: Callable[..., Any]) -> None:
    p = pair()
    p.put(np.arange(1000, dtype="<i4"))
    mine = writable(p.take_payload())
    part = mine[250:500]
    part[:] = 5
    ring = _ring.create_ring(2)
    producer = _ring.Producer(ring, FORM, p.consumer_own, p.own, [p.far_memory])
    assert producer.put(RuntimeData.tensor(part)) == _ring.OK
    assert producer.statistics()["bytes_copied"] == 0
    assert not part.flags.writeable and not mine.flags.writeable
    assert writable(mine) is not mine  # a copy: the message holds it, too
    producer.close()


def test_the_second_mapping_goes_with_the_last_view() -> None:
    before = mappings()
    memory, ring = _ring.create_segment(65536, 1), _ring.create_ring(4)
    own, far = _ring.Segment(os.dup(memory), -1, True), _ring.Segment(memory, -1, False)
    bell = _ring.Segment(_ring.create_segment(4096, 2), -1, True)
    producer, consumer = _ring.Producer(os.dup(ring), FORM, own), _ring.Consumer(ring, FORM, bell, far, {1: far})
    producer.put(RuntimeData.tensor(np.arange(10)))
    mine = writable(consumer.take().payload)
    del own, far, bell, producer, consumer
    assert mine.tolist() == list(range(10))
    assert mappings() == before + 3  # header and table, the pool, the pool once more
    del mine
    assert mappings() == before


def test_without_address_space_for_it_the_copy_is_private() -> None:
    way = """
producer.put(RuntimeData.tensor(np.arange(100, dtype="u1")))
got = consumer.take().payload
import resource
used = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (used, used))
mine = RuntimeData.tensor(got).as_numpy(writable=True)
mine[:] = 0
assert mine.base is None and got.tolist() == list(range(100))
"""
    done = subprocess.run([sys.executable, "-c", PROGRAM % way], capture_output=True, text=True, check=True)
    assert done.stdout == "survived 7\n"


def test_numpy_does_not_lift_the_flag(pair: Callable[..., Any]) -> None:
    p = pair()
    p.put(np.arange(10))
    got = p.take_payload()
    with pytest.raises(ValueError, match="WRITEABLE"):
        got.flags.writeable = True
    with pytest.raises(TypeError, match=r"not writable|read-only|underlying buffer"):
        (ctypes.c_char * 8).from_buffer(got)
