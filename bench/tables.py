"""The tables of a run, as text in cells; the terminal and the report show them each in its way."""

from __future__ import annotations

from dataclasses import dataclass

from bench.results import Results, Row, size_name, typical
from bench.targets import verdicts

TEXT_HEADINGS = ("size", "how", "state", "target", "µs")


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
    return [table for table in (*found, throughput(results), idle(results), targets(results)) if table.rows]
