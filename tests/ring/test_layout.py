"""Where the bytes are: the header's offsets, by compiling it, against what tests and docs say."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import remotemedia
from remotemedia import _ring
from remotemedia.wire import arrays

HEADERS = Path(remotemedia.__file__).parent

LAYOUT = {
    "sizeof(rm_slot)": 256,
    "sizeof(rm_block)": 64,
    "offsetof(rm_slot, sequence)": 0,
    "offsetof(rm_slot, timestamp)": 8,
    "offsetof(rm_slot, published_ns)": 16,
    "offsetof(rm_slot, epoch)": 24,
    "offsetof(rm_slot, type)": 28,
    "offsetof(rm_slot, payload_kind)": 29,
    "offsetof(rm_slot, metadata_kind)": 30,
    "offsetof(rm_slot, ndim)": 31,
    "offsetof(rm_slot, pool_id)": 32,
    "offsetof(rm_slot, block)": 36,
    "offsetof(rm_slot, offset)": 40,
    "offsetof(rm_slot, bytes)": 48,
    "offsetof(rm_slot, text_block)": 56,
    "offsetof(rm_slot, turn)": 60,
    "offsetof(rm_slot, shape)": 64,
    "offsetof(rm_slot, session_bytes)": 128,
    "offsetof(rm_slot, origin)": 144,
    "offsetof(rm_slot, lineage)": 152,
    "offsetof(rm_slot, text)": 160,
    "offsetof(rm_ring_header, magic)": 0,
    "offsetof(rm_ring_header, version)": 4,
    "offsetof(rm_ring_header, total_bytes)": 8,
    "offsetof(rm_ring_header, capacity)": 16,
    "offsetof(rm_ring_header, slots)": 20,
    "offsetof(rm_ring_header, slots_offset)": 24,
    "offsetof(rm_ring_header, tail)": 128,
    "offsetof(rm_ring_header, producer_closed)": 136,
    "offsetof(rm_ring_header, head)": 256,
    "offsetof(rm_ring_header, consumer_closed)": 388,
    "offsetof(rm_ring_header, producer_waiting)": 384,
    "offsetof(rm_segment_header, magic)": 0,
    "offsetof(rm_segment_header, version)": 4,
    "offsetof(rm_segment_header, total_bytes)": 8,
    "offsetof(rm_segment_header, table_offset)": 16,
    "offsetof(rm_segment_header, pool_offset)": 24,
    "offsetof(rm_segment_header, pool_bytes)": 32,
    "offsetof(rm_segment_header, block_count)": 40,
    "offsetof(rm_segment_header, pool_id)": 44,
    "offsetof(rm_segment_header, bell_sequence)": 128,
    "offsetof(rm_segment_header, bell_sleepers)": 132,
    "offsetof(rm_segment_header, bell_armed)": 136,
    "offsetof(rm_segment_header, returned)": 256,
    "offsetof(rm_segment_header, memory_wanted)": 384,
    "offsetof(rm_segment_header, epoch)": 388,
    "offsetof(rm_segment_header, node)": 512,
    "offsetof(rm_segment_header, whole_cut)": 3072,
    "offsetof(rm_segment_header, cuts)": 3076,
    "offsetof(rm_segment_header, first_outputs)": 3712,
    "offsetof(rm_segment_header, turns)": 6272,
    "RM_SEGMENT_HEADER_BYTES": 40960,
    "offsetof(rm_node_counters, processing_since_ns)": 48,
    "offsetof(rm_node_counters, latency)": 80,
    "offsetof(rm_ring_header, bytes)": 512,
    "offsetof(rm_ring_header, blocked_since_ns)": 512 + 48,
    "offsetof(rm_ring_header, most_held_by_consumer)": 640,
    "RM_LATENCY_BUCKETS": 304,
    "RM_PAGE": 4096,
    "RM_INLINE_TEXT": 96,
    "RM_LINEAGE_NODES": 64,
    "RM_MAX_NDIM": 8,
}


def test_layout(tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    lines = [f'_Static_assert(({what}) == {value}, "{what}");' for what, value in LAYOUT.items()]
    source = tmp_path / "layout.c"
    source.write_text(
        '#include "_ring_ops.h"\n#include "_pool.h"\n#include "_turns.h"\n'
        + "\n".join(lines)
        + "\nint main(void){return 0;}\n"
    )
    done = subprocess.run(
        [compiler, "-std=c11", "-Wall", "-Wno-unused-function", "-fsyntax-only", f"-I{HEADERS}", source],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr


def test_module_constants_are_the_headers() -> None:
    assert LAYOUT["RM_INLINE_TEXT"] == _ring.INLINE_TEXT_BYTES
    assert LAYOUT["RM_LINEAGE_NODES"] == _ring.LINEAGE_NODES
    assert LAYOUT["RM_MAX_NDIM"] == _ring.MAX_NDIM
    assert LAYOUT["RM_LATENCY_BUCKETS"] == _ring.LATENCY_BUCKETS
    outcomes = [_ring.OK, _ring.FULL, _ring.NO_MEMORY, _ring.CLOSED, _ring.EMPTY, _ring.TIMEOUT]
    assert len(set(outcomes)) == len(outcomes)


def test_pair_pokes_where_the_header_says(pair: Callable[..., Any]) -> None:
    kind = type(pair())
    at = {
        "tail": kind.TAIL,
        "head": kind.HEAD,
        "producer_closed": kind.PRODUCER_CLOSED,
        "consumer_closed": kind.CONSUMER_CLOSED,
        "producer_waiting": kind.PRODUCER_WAITING,
    }
    assert all(LAYOUT[f"offsetof(rm_ring_header, {name})"] == offset for name, offset in at.items())
    at = {
        "bell_sequence": kind.BELL_SEQUENCE,
        "bell_sleepers": kind.BELL_SLEEPERS,
        "bell_armed": kind.BELL_ARMED,
        "returned": kind.RETURNED,
        "memory_wanted": kind.MEMORY_WANTED,
    }
    assert all(LAYOUT[f"offsetof(rm_segment_header, {name})"] == offset for name, offset in at.items())


def test_the_wire_takes_the_arrays_that_the_ring_takes() -> None:
    assert arrays.MAX_NDIM == _ring.MAX_NDIM
