"""How many callers are served in time: doubled until it fails, then halved in between."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.capacity.callers import PERIOD_NS, Plan, Row
from bench.capacity.contenders import Contender
from bench.capacity.measure import cpu_ns, memory, tree
from bench.run import figures
from bench.workers import DEADLINE_SECS, ContenderFailed, Team

LIMIT_NS = 20_000_000
"""So late, a chunk comes when the next one is due."""
_IN_A_ROW = 2
_AHEAD_NS = 200_000_000


@dataclass(frozen=True)
class Lengths:
    """Seconds of a try: to warm up, and to count."""

    warm_secs: float
    secs: float

    def plan(self, callers: int) -> Plan:
        chunks = (round(secs * 1e9 / PERIOD_NS) for secs in (self.warm_secs, self.secs))
        return Plan(time.monotonic_ns() + _AHEAD_NS, callers, *chunks)


def most(holds: Callable[[int], bool], limit: int) -> int:
    """The largest number up to ``limit`` that holds, to a sixteenth; 0 if 1 does not."""
    good, number = 0, 1
    while number <= limit and holds(number):
        good, number = number, 2 * number
    bad = min(number, limit + 1)
    while bad - good > max(1, good // 16):
        middle = (good + bad) // 2
        if holds(middle):
            good = middle
        else:
            bad = middle
    return good


def holds(contender: Contender, callers: int, lengths: Lengths, scratch: Path, note: Callable[[Row], None]) -> bool:
    """Whether so many are served in time twice in a row. One bad try may be the machine's fault; two are not.

    A contender that cannot serve so many at all, but can serve one, has failed with them.
    """
    try:
        return _holds(contender, callers, lengths, scratch, note)
    except ContenderFailed as error:
        if callers == 1:
            raise
        row = {"contender": contender.key, "callers": callers, "passed": False, "hopeless": True, "error": str(error)}
        note(row)
        return False


def _holds(contender: Contender, callers: int, lengths: Lengths, scratch: Path, note: Callable[[Row], None]) -> bool:
    team = contender.team(scratch, callers)
    good = bad = 0
    try:
        while good < _IN_A_ROW:
            row = _one_try(contender, team, callers, lengths)
            note(row)
            good = good + 1 if row["passed"] else 0
            bad += not row["passed"]
            if bad == 2 or row["hopeless"]:
                return False
    except BaseException:
        team.kill()
        raise
    finally:
        team.close()
    return True


def _one_try(contender: Contender, team: Team, callers: int, lengths: Lengths) -> Row:
    plan = lengths.plan(callers)
    team.task_secs = lengths.warm_secs + lengths.secs + DEADLINE_SECS
    pids = tree(team.pids)
    team.ask(*contender.feed_tasks(team, plan))
    _wait_until(plan.warm_ns)
    before_ns, began_ns = cpu_ns(pids), time.monotonic_ns()
    _wait_until(plan.end_ns)
    spent_ns, took_ns = cpu_ns(pids) - before_ns, time.monotonic_ns() - began_ns
    found = [row for rows in team.answers() for row in rows]
    return {
        "contender": contender.key,
        "callers": callers,
        **_verdict(found),
        "cpu_pct": round(100 * spent_ns / took_ns, 2),
        **asdict(memory(tree(team.pids))),
    }


def _verdict(found: list[Row]) -> Row:
    late_ns = [ns for row in found for ns in row["late_ns"]]
    counts = {name: sum(row[name] for row in found) for name in ("sent", "came", "lost")}
    hopeless = any(row["hopeless"] for row in found) or not late_ns
    times = figures(late_ns) if late_ns else {}
    in_order = all(row["in_order"] for row in found)
    passed = not hopeless and not counts["lost"] and times["p95"] <= LIMIT_NS
    return {"passed": passed, "hopeless": hopeless, **counts, "in_order": in_order, **times}


def _wait_until(at_ns: int) -> None:
    time.sleep(max(0, at_ns - time.monotonic_ns()) / 1e9)
