"""What a run found, as it is kept in a file, and how to ask for a figure of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]

OURS = "remotemedia"
LOCAL, BARE = "session in this process", "gRPC alone"
PING_PONG, MEMCPY, FUTEX, EVENTFD = "cache line ping-pong (C)", "memcpy (C)", "futex wake (C)", "eventfd wake (C)"


class Results:
    def __init__(self, machine: Row, options: Row, rows: Sequence[Row], missing: Sequence[str]) -> None:
        self.machine = machine
        self.options = options
        self.rows = list(rows)
        self.missing = list(missing)
        """The contenders that did not take part, or not to the end, and why."""

    def save(self, path: Path) -> None:
        # A row a line: a difference between two runs can be read.
        rows = ",\n".join(f"    {json.dumps(row)}" for row in self.rows)
        head = {"machine": self.machine, "options": self.options, "missing": self.missing}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(head, indent=2)[:-2] + f',\n  "rows": [\n{rows}\n  ]\n}}\n')

    @classmethod
    def load(cls, path: Path) -> Results:
        kept = json.loads(path.read_text())
        return cls(kept["machine"], kept["options"], kept["rows"], kept["missing"])

    def of(self, mode: str, hz: int | None = None) -> list[Row]:
        return [row for row in self.rows if row["mode"] == mode and (hz is None or row["hz"] == hz)]

    def row(self, mode: str, contender: str, size: int, hz: int | None = None) -> Row | None:
        return next((row for row in self.of(mode, hz) if (row["contender"], row["size"]) == (contender, size)), None)

    def limit_ns(self, row: Row) -> float | None:
        """What the machine itself takes at least for the same, so far as it was measured."""
        if row["mode"] == "hot":
            # A copier must move the bytes once, and then still notify the other side.
            names = [PING_PONG] if row["loaned"] else [PING_PONG, MEMCPY]
        elif row["mode"] == "paced":
            names = [EVENTFD if row["asyncio"] else FUTEX]
        elif row["mode"] == "pipeline":
            names = [EVENTFD]
        else:
            return None
        limits = [self.row(row["mode"], name, row["size"], row.get("hz")) for name in names]
        return sum(typical(limit) for limit in limits if limit) if all(limits) else None

    def our_ns(self, row: Row) -> float | None:
        """What we take for the same: lent where the other lends, copied where it copies."""
        kind = "loaned" if row["loaned"] else "copied"
        names = [f"{OURS}, passed on"] if row["mode"] == "pipeline" else [f"{OURS} {kind}, spinning", f"{OURS} {kind}"]
        for name in names:
            ours = self.row(row["mode"], name, row["size"], row.get("hz"))
            if ours:
                return typical(ours)
        return None


def typical(row: Row) -> float:
    """The figure that ratios use: the median, of batches where there are some."""
    return float(row.get("batch_p50", row["p50"]))


def size_name(size: int) -> str:
    for unit, factor in (("MB", 1_000_000), ("kB", 1_000)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} B"
