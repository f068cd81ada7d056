"""The tables of a run, as text in cells; the terminal and the report show them each in its way."""

from __future__ import annotations

from dataclasses import dataclass

from bench.results import BARE, LOCAL, Results, Row, size_name, typical
from bench.targets import verdicts

TEXT_HEADINGS = ("size", "how", "state", "target", "µs", "until all of them", "who", "fed")

# The rows of the start mode, in the order of the table: each step on the way of a node, then what lies beside it.
_STEPS = {
    "interpreter": "an interpreter is there",
    "numpy": "numpy is imported",
    "asyncio": "asyncio is imported",
    "loading": "node: all that every node needs is imported",
    "connecting": "node: its class is loaded and initialized",
    "ready": "node: it has its channels",
    "running": "create_session() returns",
}
_BESIDE = {
    "import numpy": "python -c 'import numpy' has ended",
    "starting": "create_session(): processes are spawned",
    "cpu": "create_session(): CPU time in its own process",
}


@dataclass
class Table:
    title: str
    headings: list[str]
    rows: list[list[str]]


def _us(ns: float) -> str:
    us = ns / 1000
    return f"{us:.3g}" if us < 100 else f"{us:,.0f}"


def _ratio(value: float, base: float | None) -> str:
    return f"{value / base:,.1f}" if base else ""


def groups(results: Results) -> list[tuple[str, str, list[Row]]]:
    """Mode, title and rows of each table of times."""
    found = []
    for mode, title in (("hot", "Hot: both sides awake"), ("pipeline", "Pipeline: a hop between two of five nodes")):
        found.append((mode, f"{title}, one way", results.of(mode)))
    for hz in sorted({row["hz"] for row in results.of("paced")}, reverse=True):
        found.append(("paced", f"Paced, {hz} Hz: the receiver sleeps, one way", results.of("paced", hz)))
    order = ("hot", "paced", "pipeline")
    return sorted((group for group in found if group[2]), key=lambda group: order.index(group[0]))


def times(results: Results, title: str, rows: list[Row]) -> Table:
    """Every figure of a mode, a line for each contender and size."""
    lines = []
    for row in rows:
        ratios = [_ratio(typical(row), base(row)) for base in (results.limit_ns, results.our_ns)]
        limit = row["family"] == "limit"
        figures = [_us(row[name]) for name in ("p50", "p95", "p99", "max")]
        lines.append([size_name(row["size"]), row["contender"], *figures, *(["", ""] if limit else ratios)])
    headings = ["size", "how", "p50 µs", "p95", "p99", "max", "/ limit", "/ ours"]
    return Table(title, headings, lines)


def throughput(results: Results) -> Table:
    lines = []
    for row in results.of("throughput"):
        pipe = results.row("throughput", "Pipe", row["size"])
        lines.append(
            [
                size_name(row["size"]),
                row["contender"],
                f"{row['messages_per_s']:,}",
                f"{row['gb_per_s']:,.2f}",
                _ratio(row["messages_per_s"], pipe and pipe["messages_per_s"]),
            ]
        )
    return Table("Throughput: lossless, every message checked", ["size", "how", "messages/s", "GB/s", "/ Pipe"], lines)


def idle(results: Results) -> Table:
    lines = [
        [row["contender"], f"{row['secs']:g}", str(row["count"]), str(row["switches"]), f"{row['cpu_pct']:.2f}"]
        for row in results.of("idle")
    ]
    headings = ["state", "seconds", "nodes", "context switches of all", "CPU of a node, % of a core"]
    return Table("At rest, and with 100 messages of 3.84 MB a second", headings, lines)


def start(results: Results) -> Table:
    rows = {row["contender"]: row for row in results.of("start")}
    lines, before_ns = [], 0.0
    for name, text in {**_STEPS, **_BESIDE}.items():
        if name in rows:
            row = rows[name]
            more = f"{(row['p50'] - before_ns) / 1e6:.1f}" if name in _STEPS else ""
            lines.append([text, *(f"{row[figure] / 1e6:.1f}" for figure in ("min", "p50", "max")), more])
            before_ns = row["p50"]
    return Table("Start: five processes side by side", ["until all of them", "min ms", "p50", "max", "the step"], lines)


def sessions(results: Results) -> Table:
    lines = []
    for row in results.of("sessions"):
        used = [f"{mb:,.0f}" for mb in row["memory_mb"]] if "memory_mb" in row else ["", ""]
        lines.append(
            [
                row["contender"],
                f"{row['secs']:g}",
                f"{row['messages']:,}",
                str(row["lost"]),
                *(_us(row[name]) for name in ("p50", "p95", "p99", "max")),
                *used,
                f"{row['cpu_pct']:.2f}" if "cpu_pct" in row else "",
            ]
        )
    headings = ["who", "seconds", "sent", "lost", "hop p50 µs", "p95", "p99", "max", "MB early", "MB late", "CPU %"]
    return Table("Sessions: three nodes each, fed audio in real time", headings, lines)


def speech(results: Results) -> Table:
    rows, lines = results.of("speech"), []
    for row in rows:
        times = [row[f"{since}_{until}_ns"] / 1e6 for since in ("end", "begin") for until in ("first", "last")]
        ours = next(r for r in rows if (r["fed"], r["sessions"]) == (row["fed"], row["sessions"]))
        lines.append(
            [
                row["fed"],
                row["contender"],
                str(row["sessions"]),
                *(f"{ms:,.0f}" for ms in (*times, row["least_ns"] / 1e6)),
                _ratio(row["p50"], ours["p50"]),
            ]
        )
    headings = ["fed", "how", "at once", "end to first ms", "to last", "begin to first", "to last", "least", "/ ours"]
    return Table("Speech: a question heard, answered and spoken", headings, lines)


def service(results: Results) -> Table:
    rows = results.of("service")
    typical_ns = {row["contender"]: row["p50"] for row in rows}
    lines = [
        [
            row["contender"],
            *(_us(row[name]) for name in ("p50", "p95", "p99", "max")),
            *(_ratio(row["p50"], typical_ns.get(name)) for name in (LOCAL, BARE)),
            f"{row['chunks_per_s']:,.0f}",
            f"{row['chunks_per_s'] * row['size'] / 1e6:,.0f}",
        ]
        for row in rows
    ]
    headings = ["who", "round trip p50 µs", "p95", "p99", "max", "/ local", "/ gRPC", "chunks/s", "MB/s"]
    return Table("Service: audio chunks of 192 kB to a node and back", headings, lines)


def targets(results: Results) -> Table:
    lines = [[verdict.target, verdict.wanted, verdict.shown, verdict.answer] for verdict in verdicts(results)]
    return Table("Targets", ["target", "wanted", "measured", "met"], lines)


def grid(title: str, rows: list[Row], figure: str) -> Table:
    """One figure of a mode: contenders down, sizes across."""
    sizes = sorted({row["size"] for row in rows})
    names = list(dict.fromkeys(row["contender"] for row in rows))
    cells = {(row["contender"], row["size"]): _us(row[figure]) for row in rows}
    lines = [[name, *(cells.get((name, size), "–") for size in sizes)] for name in names]
    return Table(title, ["µs", *map(size_name, sizes)], lines)


def all_of(results: Results) -> list[Table]:
    """What the terminal shows."""
    found = [times(results, title, rows) for _, title, rows in groups(results)]
    found += [throughput(results), idle(results), start(results), sessions(results)]
    found += [speech(results), service(results), targets(results)]
    return [table for table in found if table.rows]
