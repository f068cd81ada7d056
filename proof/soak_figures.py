"""What a long run holds, looked at again and again: does any of it grow?"""

from __future__ import annotations

import ctypes
import gc
import math
import mmap
import os
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from remotemedia.core.multiprocessing import Session

Figures = dict[str, float]

WARM_UP = 1 / 3
"""Of all looks: caches fill, memory finds its places."""

MAY_GROW: dict[str, tuple[float, float]] = {
    "descriptors": (0.5, 0),
    "threads": (0.5, 0),
    "processes": (0.5, 0),
    "mappings of shared memory": (0.5, 0),
    "pages of shared memory": (8, 0.1),
    "kB of payload in use": (32, 0),
    "kB of the heap": (8, 0.25),
    "resident kB": (512, 0.25),
    "descriptors of the nodes": (0.5, 0),
    "threads of the nodes": (0.5, 0),
    "mappings of the nodes": (0.5, 0),
    "resident kB of the nodes": (512, 0.25),
    "shared kB of the machine": (math.inf, 0),  # for the record: others also use the machine
}
"""Since the warm-up, in all and more for each session: what noise cannot reach. Where it is nothing there is no noise.
Blocks that came back are taken in by the batch, and freed memory is given back by the page."""


class _Mallinfo(ctypes.Structure):
    """glibc's account of the heap."""

    _fields_ = [("counts", ctypes.c_size_t * 10)]


_MAPPED, _IN_USE = 4, 7  # hblkhd, uordblks
_libc = ctypes.CDLL(None)
_mallinfo = _libc.mallinfo2
_mallinfo.restype = _Mallinfo


def look(stream: Session) -> Figures:
    """This process and the nodes of ``stream``, both at rest. With PYTHONMALLOC=malloc the heap is also Python's."""
    gc.collect()
    _libc.malloc_trim(0)  # what is resident then is held, but for pages that are shared with what is
    nodes = list(stream.pids.values())
    heap = _mallinfo().counts
    return {
        "descriptors": _entries("self", "fd"),
        "threads": _entries("self", "task"),
        "processes": sum(len(children.read_text().split()) for children in Path("/proc/self/task").glob("*/children")),
        "mappings of shared memory": _mappings("self"),
        "pages of shared memory": _pages_of_shared_memory(),
        "kB of payload in use": stream.get_metrics().shared_used_bytes / 1000,
        "kB of the heap": (heap[_IN_USE] + heap[_MAPPED]) / 1000,
        "resident kB": _kilobytes("/proc/self/status", "RssAnon"),
        "descriptors of the nodes": sum(_entries(pid, "fd") for pid in nodes),
        "threads of the nodes": sum(_entries(pid, "task") for pid in nodes),
        "mappings of the nodes": sum(map(_mappings, nodes)),
        "resident kB of the nodes": sum(_kilobytes(f"/proc/{pid}/status", "RssAnon") for pid in nodes),
        "shared kB of the machine": _kilobytes("/proc/meminfo", "Shmem"),
    }


def growth(looks: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """By how much each column has grown since the warm-up, along the line that most pairs of looks agree on.

    The slope is the median of the slopes between any two (Theil and Sen): a few looks that are far off do not turn it.
    """
    steady = looks[int(len(looks) * WARM_UP) :]
    first, second = np.triu_indices(len(steady), 1)
    slopes = (steady[second] - steady[first]) / (second - first)[:, None]
    grown: npt.NDArray[np.float64] = np.median(slopes, axis=0) * (len(steady) - 1)
    return grown


def leaks(grown: Figures, sessions: int) -> list[str]:
    """The figures that have grown by more than they may."""
    return [name for name, (in_all, per_session) in MAY_GROW.items() if grown[name] > in_all + per_session * sessions]


def _entries(pid: int | str, folder: str) -> int:
    return len(os.listdir(f"/proc/{pid}/{folder}"))  # noqa: PTH208  iterdir would have one open itself


def _mappings(pid: int | str) -> int:
    return Path(f"/proc/{pid}/maps").read_text().count("memfd:")


def _pages_of_shared_memory() -> float:
    """Those that this process has touched."""
    mappings = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text(), flags=re.MULTILINE)
    return sum(float(text.partition("\nRss:")[2].split()[0]) for text in mappings if "memfd:" in text) / (
        mmap.PAGESIZE / 1024
    )


def _kilobytes(path: str, key: str) -> int:
    return int(Path(path).read_text().partition(f"\n{key}:")[2].split()[0])
