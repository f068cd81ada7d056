"""What processes cost: CPU time and memory of a process and all that it started, as the kernel counts them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_MEMORY = {"Pss": "pss", "Private_Clean": "private", "Private_Dirty": "private"}


@dataclass(frozen=True)
class Memory:
    """Of several processes. PSS counts a page that n of them share as a n-th in each; private ones nobody shares."""

    processes: int
    pss_bytes: int
    private_bytes: int


def tree(roots: Iterable[int]) -> list[int]:
    """These processes and their descendants."""
    found, left = list[int](), list(roots)
    while left:
        pid = left.pop()
        found.append(pid)
        with suppress(OSError):  # it has ended
            for task in Path(f"/proc/{pid}/task").iterdir():
                left += map(int, (task / "children").read_text().split())
    return found


def cpu_ns(pids: Iterable[int]) -> int:
    """CPU time of all their threads, from the scheduler's own account.

    That of ``stat`` counts ticks of 10 ms, and work that is short and often falls between them.
    """
    total_ns = 0
    for pid in pids:
        with suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                total_ns += int((task / "schedstat").read_text().split()[0])
    return total_ns


def memory(pids: Iterable[int]) -> Memory:
    processes, total = 0, {"pss": 0, "private": 0}
    for pid in pids:
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                name, _, rest = line.partition(":")
                if name in _MEMORY:
                    total[_MEMORY[name]] += int(rest.split()[0]) * 1024
            processes += 1
    return Memory(processes, total["pss"], total["private"])
