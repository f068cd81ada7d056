"""How the most callers are looked for, and what a try notes. Nothing here is about speed."""

import asyncio
import time

import pytest

from bench.capacity import callers
from bench.capacity.callers import Plan, call
from bench.capacity.report import capacity_section
from bench.capacity.search import most


@pytest.mark.parametrize(("capacity", "limit", "found"), [(0, 8, 0), (1, 8, 1), (5, 64, 5), (12, 64, 12), (99, 6, 6)])
def test_the_most_that_hold_are_found(capacity, limit, found):
    asked = []

    def holds(number):
        asked.append(number)
        return number <= capacity

    assert most(holds, limit) == found
    assert len(set(asked)) == len(asked)
    assert max(asked) <= limit


class Line:
    """Gives back what is sent, but for those of some numbers."""

    def __init__(self, lost=(), held_secs=0.0):
        self.lost, self.held_secs = lost, held_secs
        self.heard, self.listening = None, False

    async def send(self, number):
        await asyncio.sleep(self.held_secs)
        if number not in self.lost:
            self.heard(number)

    async def listen(self, heard):
        self.heard, self.listening = heard, True
        try:
            await asyncio.Event().wait()
        finally:
            self.listening = False


def played(line):
    return asyncio.run(call(line, Plan(time.monotonic_ns(), 1, 2, 3), 0))


def test_a_try_counts_what_came():
    line = Line()
    row = played(line)
    assert (row["sent"], row["came"], row["lost"], row["in_order"], row["hopeless"]) == (5, 5, 0, True, False)
    assert len(row["late_ns"]) == 3
    assert not line.listening


def test_a_try_counts_what_is_missing(monkeypatch):
    monkeypatch.setattr(callers, "LAST_SECS", 0.0)
    row = played(Line(lost=(1, 4)))
    assert (row["sent"], row["came"], row["lost"], row["in_order"]) == (5, 3, 1, False)
    assert len(row["late_ns"]) == 2


def test_a_try_without_hope_ends_early(monkeypatch):
    monkeypatch.setattr(callers, "_HOPELESS_NS", 1)
    line = Line(held_secs=0.05)
    row = played(line)
    assert row["hopeless"]
    assert row["sent"] < 5
    assert not line.listening


def test_the_section_has_what_was_found():
    def tried(count, p95_ns):
        times = {"p50": p95_ns / 2, "p95": p95_ns, "p99": 2 * p95_ns}
        cost = {"cpu_pct": 20.0 * count, "processes": 3 * count, "pss_bytes": 2e6 + 1e6 * count, "private_bytes": count}
        passed = p95_ns <= 20e6
        return {"contender": "ours", "callers": count, "passed": passed, "hopeless": False, **times, **cost}

    machine = {"cpu": "C", "cpus": 2, "kernel": "6", "python": "3", "date": "today", "commit": "c", "packages": {}}
    one = {"key": "ours", "name": "ours", "isolated": True, "capacity": 6, "start": {"p50": 3e6, "p95": 4e6}}
    results = {
        "machine": machine,
        "options": {"secs": 1, "starts": 2},
        "missing": ["dora: gone"],
        "contenders": [one | {"base": {"pss_bytes": 2e6, "private_bytes": 0}}],
        "tries": [tried(count, ns) for count, ns in ((4, 5e6), (6, 10e6), (7, 30e6), (8, 70e6))],
    }
    text = capacity_section(results)
    assert "| ours | yes | 6 | 5.0 | 10.0 | 20.0 | 7: 30.0 |" in text
    assert "| ours | 20.0 | 20.0 | 12 for 4 | 2.0 | 1.0 | 1.0 | 0.0 | 0.0 |" in text
    assert "| ours | 3.0 | 4.0 |" in text
    assert "* dora: gone" in text
