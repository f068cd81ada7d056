"""The project's own targets, held against a run."""

from __future__ import annotations

from dataclasses import dataclass

from bench.results import EVENTFD, FUTEX, MEMCPY, PING_PONG, Results, Row, typical

_SMALL, _AUDIO, _LARGE = 64, 3_840_000, 10_000_000


@dataclass(frozen=True)
class Verdict:
    target: str
    measured: float | None
    bound: float
    at_least: bool = False
    unit: str = "x"

    @property
    def answer(self) -> str:
        if self.measured is None:
            return "not measured"
        return "yes" if (self.measured >= self.bound if self.at_least else self.measured <= self.bound) else "no"

    @property
    def shown(self) -> str:
        return "–" if self.measured is None else f"{self.measured:,.2f} {self.unit}".strip()

    @property
    def wanted(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:g} {self.unit}".strip()


def _ratio(over: Row | None, under: Row | None) -> float | None:
    return typical(over) / typical(under) if over and under else None


def verdicts(results: Results) -> list[Verdict]:
    """Those of the modes that were run."""
    parts = {
        "hot": _hot,
        "paced": _paced,
        "throughput": _throughput,
        "pipeline": _pipeline,
        "idle": _idle,
        "start": _start,
        "sessions": _sessions,
        "speech": _speech,
    }
    return [verdict for mode, part in parts.items() if results.of(mode) for verdict in part(results)]


def _hot(results: Results) -> list[Verdict]:
    loaned, polling = "remotemedia loaned, spinning", "iceoryx2 loaned, polling"
    found = []
    for size, name in ((_SMALL, "64 B"), (_LARGE, "10 MB")):
        ours = results.row("hot", loaned, size)
        line, iceoryx2 = (results.row("hot", other, size) for other in (PING_PONG, polling))
        found.append(Verdict(f"hot, {name} loaned / cache line ping-pong", _ratio(ours, line), 10))
        found.append(Verdict(f"hot, {name}: iceoryx2 polling / ours, loaned", _ratio(iceoryx2, ours), 2.5, True))
    large, small = (results.row("hot", loaned, size) for size in (_LARGE, _SMALL))
    found.append(Verdict("hot, loaned: 10 MB / 64 B", _ratio(large, small), 1.1))
    copied = results.row("hot", "remotemedia copied, spinning", _LARGE)
    found.append(Verdict("hot, 10 MB copied / memcpy", _ratio(copied, results.row("hot", MEMCPY, _LARGE)), 1.1))
    return found


def _paced(results: Results) -> list[Verdict]:
    found = []
    for hz in (1000, 50):

        def row(name: str, hz: int = hz) -> Row | None:
            return results.row("paced", name, _SMALL, hz)

        blocking, asyncio, where = row("remotemedia loaned"), row("remotemedia loaned, asyncio"), f"{hz} Hz, 64 B"
        found.append(Verdict(f"{where}: blocking / futex wake", _ratio(blocking, row(FUTEX)), 1.25))
        found.append(Verdict(f"{where}: asyncio / eventfd wake", _ratio(asyncio, row(EVENTFD)), 1.75))
        found.append(Verdict(f"{where}: dora / ours, asyncio", _ratio(row("dora"), asyncio), 2, True))
        for name, ours in (("blocking", blocking), ("asyncio", asyncio)):
            found.append(Verdict(f"{where}: {name}, p95", ours and ours["p95"] / 1e3, 100, unit="µs"))
    return found


def _throughput(results: Results) -> list[Verdict]:
    names = ("remotemedia loaned", "remotemedia copied")
    ours = [row for name in names if (row := results.row("throughput", name, _SMALL))]
    best = max((row["messages_per_s"] for row in ours), default=None)
    pipe = results.row("throughput", "Pipe", _SMALL)
    return [
        Verdict("throughput, 64 B, the better of loaned and copied", best and best / 1e6, 1.5, True, "M/s"),
        Verdict("throughput, 64 B: the same / Pipe", best / pipe["messages_per_s"] if best and pipe else None, 3, True),
    ]


def _pipeline(results: Results) -> list[Verdict]:
    ours = "remotemedia, passed on"
    large, small = (results.row("pipeline", ours, size) for size in (_AUDIO, 1_000))
    dora = results.row("pipeline", "dora, passed on", _AUDIO)
    return [
        Verdict("pipeline, 3.84 MB, a hop, p99", large and large["p99"] / 1e6, 1, unit="ms"),
        Verdict("pipeline, a hop: 3.84 MB / 1 kB", _ratio(large, small), 1.2),
        Verdict("pipeline, 3.84 MB, a hop: dora / ours", _ratio(dora, large), 2, True),
    ]


def _idle(results: Results) -> list[Verdict]:
    idle, load = (results.row("idle", name, size) for name, size in (("idle", 0), ("100 messages/s", _AUDIO)))
    return [
        Verdict("idle: context switches of all nodes in 2 s", idle and idle["switches"], 0, unit=""),
        Verdict("idle: CPU of a node", idle and idle["cpu_pct"], 0, unit="%"),
        Verdict("100 messages/s: CPU of a node", load and load["cpu_pct"], 2, unit="%"),
    ]


def _start(results: Results) -> list[Verdict]:
    session, numpy = (results.row("start", name, 0) for name in ("running", "import numpy"))
    return [Verdict("start: a session of 5 nodes / 5 x import numpy", _ratio(session, numpy), 1.5)]


def _sessions(results: Results) -> list[Verdict]:
    names = ("one session", "10 sessions", "others, before a kill", "others, after it")
    one, ten, before, after = (results.row("sessions", name, 38_400) for name in names)

    def p95(over: Row | None, under: Row | None) -> float | None:
        return over["p95"] / under["p95"] if over and under else None

    return [
        Verdict("10 sessions: messages lost", ten and ten["lost"], 0, unit=""),
        Verdict("10 sessions: memory, last quarter / first", ten and ten["memory_mb"][1] / ten["memory_mb"][0], 1.01),
        Verdict("a hop, p95: 10 sessions / one", p95(ten, one), 1.5),
        Verdict("a node is killed: messages that other sessions lost", after and after["lost"], 0, unit=""),
        Verdict("a node is killed: a hop of the others, p95: after / before", p95(after, before), 1.5),
    ]


def _speech(results: Results) -> list[Verdict]:
    cases: dict[tuple[str, int], list[Row]] = {}
    for row in results.of("speech"):
        cases.setdefault((row["fed"], row["sessions"]), []).append(row)
    found = []
    for (fed, sessions), (ours, by_node, _) in cases.items():
        where = f"speech, {sessions} at once, fed {fed}"
        if by_node["p50"] >= 2 * ours["least_ns"]:
            found.append(Verdict(f"{where}: node after node / ours", _ratio(by_node, ours), 2, True))
        else:  # half of it is more than these CPUs allow
            found.append(Verdict(f"{where}: ours / the least", ours["p50"] / ours["least_ns"], 1.25))
    return found
