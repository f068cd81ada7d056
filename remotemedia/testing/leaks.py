"""What a process holds at one moment; the difference of two moments is what leaked in between."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

__all__ = ["Holdings", "no_leaks"]

# gRPC's pools have as many threads as they like.
_COME_AND_GO = ("event_engine", "lifeguard", "grpc_global_tim")

# Python calls a thread joined before the system has ended it.
_THREAD_ENDS_WITHIN_SECS = 1.0


@dataclass
class Holdings:
    """What this process holds: descriptors, threads, mappings of remotemedia's shared memory, child processes.

    Everything but the mappings is counted, no matter which code made it.
    """

    descriptors: Counter[str] = field(default_factory=Counter)
    threads: Counter[str] = field(default_factory=Counter)
    native_threads: int = 0
    mappings: Counter[str] = field(default_factory=Counter)
    children: set[str] = field(default_factory=set)

    @classmethod
    def now(cls) -> Self:
        """What is held now, after a garbage collection. Reads ``/proc``; takes milliseconds."""
        gc.collect()
        held = cls(
            threads=Counter(thread.name for thread in threading.enumerate()),
            native_threads=_native_threads(),
            mappings=Counter(
                line.split(None, 5)[5].strip()
                for line in Path("/proc/self/maps").read_text().splitlines()
                if "memfd:remotemedia" in line
            ),
            children=_children(),
        )
        for number in os.listdir("/proc/self/fd"):  # noqa: PTH208  Path.iterdir would have one open itself
            try:
                target = str(Path(f"/proc/self/fd/{number}").readlink())
            except OSError:
                continue  # the one listdir used
            held.descriptors[target.partition(":[")[0]] += 1
        return held

    @classmethod
    def left_since(cls, before: Self) -> list[str]:
        """One line for each thing held now that was not held before.

        A thread that Python has joined has up to a second to end; with any other leak this does not wait.
        """
        ends = time.monotonic() + _THREAD_ENDS_WITHIN_SECS
        while True:
            now = cls.now()
            joined = now.native_threads > before.native_threads and not now.threads - before.threads
            if not joined or time.monotonic() > ends:
                return now.grown_since(before)
            time.sleep(0.001)  # Linux has pidfds of threads, to wait for, since 6.9

    def grow_by(self, now: Holdings, before: Holdings) -> None:
        """Adds what came between the two."""
        self.descriptors += now.descriptors - before.descriptors
        self.threads += now.threads - before.threads
        self.native_threads += now.native_threads - before.native_threads

    def grown_since(self, before: Self) -> list[str]:
        """One line for each thing held now that was not held before."""
        grown = [f"descriptor {name} (x{n})" for name, n in (self.descriptors - before.descriptors).items()]
        grown += [f"thread {name} (x{n})" for name, n in (self.threads - before.threads).items()]
        if self.native_threads > before.native_threads:
            grown.append(f"{self.native_threads - before.native_threads} native threads")
        grown += [f"mapping {name} (x{n})" for name, n in (self.mappings - before.mappings).items()]
        grown += [f"child process {child}" for child in sorted(self.children - before.children)]
        return grown


@contextlib.contextmanager
def no_leaks() -> Iterator[None]:
    """AssertionError if the block leaves something behind that was not held before it, with a line for each thing.

    What a library makes once and keeps, such as a pool of threads, counts too: call it once before the block. An error
    that the block raises passes unchanged; its traceback may well hold what it used.
    """
    before = Holdings.now()
    yield
    grown = Holdings.left_since(before)
    if grown:
        raise AssertionError("left behind:\n  " + "\n  ".join(grown))


def _native_threads() -> int:
    count = 0
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # it ended
            count += not (task / "comm").read_text().startswith(_COME_AND_GO)
    return count


def _children() -> set[str]:
    found = set()
    for task in Path("/proc/self/task").iterdir():
        try:
            pids = (task / "children").read_text().split()
        except OSError:
            continue  # the thread ended
        for pid in pids:
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                command = ""
            found.add(f"{pid} {command.strip()[:120] or '(zombie)'}")
    return found
