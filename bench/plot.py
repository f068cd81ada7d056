"""Figures: one-way latency against payload size, on logarithmic axes; and when each node of a conversation works."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.results import Results, Row, size_name
from bench.tables import groups

_COLORS = {
    "limit": "#9a9a9a",
    "remotemedia": "#c2185b",
    "iceoryx2": "#1565c0",
    "zmq": "#2e7d32",
    "faster_fifo": "#ef6c00",
    "pipe": "#6d4c41",
    "queue": "#455a64",
    "shared_memory": "#00838f",
    "dora": "#6a1b9a",
}
_STYLES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))


def file_name(mode: str, rows: Sequence[Row]) -> str:
    return mode if mode != "paced" else f"paced-{rows[0]['hz']}hz"


def plot(results: Results, folder: Path, formats: Sequence[str]) -> list[Path]:
    """Writes a figure for each mode that was measured at more than one size, and one of the speech pipeline."""
    import matplotlib

    matplotlib.use("agg")
    # The same results give the same bytes.
    matplotlib.rcParams["svg.hashsalt"] = "remotemedia"
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for mode, title, rows in groups(results):
        if mode == "pipeline" or len({row["size"] for row in rows}) < 2:
            continue
        figure, axes = pyplot.subplots(figsize=(10, 6.5), layout="constrained")
        _draw(axes, rows)
        axes.set_title(f"{title}: median; shaded to p95; thin: p99")
        for kind in formats:
            path = folder / f"{file_name(mode, rows)}.{kind}"
            figure.savefig(path, metadata={"Date": None} if kind == "svg" else None, dpi=150)
            written.append(path)
        pyplot.close(figure)
    if pictured := [row for row in results.of("speech") if "picture" in row]:
        figure = _draw_speech(pyplot, pictured)
        for kind in formats:
            path = folder / f"speech.{kind}"
            figure.savefig(path, metadata={"Date": None} if kind == "svg" else None, dpi=150)
            written.append(path)
        pyplot.close(figure)
    return written


def _draw_speech(pyplot: Any, rows: Sequence[Row]) -> Any:
    """A column for each way to feed, a picture for each way to run the nodes."""
    feeds, forms = (list(dict.fromkeys(row[name] for row in rows)) for name in ("fed", "contender"))
    figure, grid = pyplot.subplots(
        len(forms), len(feeds), figsize=(13, 2.4 * len(forms)), sharex="col", sharey=True, layout="constrained"
    )
    for row in rows:
        axes, picture = grid[forms.index(row["contender"])][feeds.index(row["fed"])], row["picture"]
        nodes = list(picture["nodes"])
        for place, pieces in enumerate(picture["nodes"].values()):
            bars = [(begin / 1000, (end - begin) / 1000) for begin, end in pieces]
            axes.broken_barh(bars, (place - 0.35, 0.7), color=_COLORS[row["family"]])
        for what, style in (("end", "--"), ("first", ":")):
            axes.axvline(picture[what] / 1000, color="#333333", linestyle=style, linewidth=1)
        axes.set_yticks(range(len(nodes)), nodes)
        axes.set_title(f"{row['contender']}, fed {row['fed']}", fontsize="medium")
        axes.grid(alpha=0.25, axis="x")
    grid[0][0].invert_yaxis()
    for axes in grid[-1]:
        axes.set_xlabel("ms; dashed: the last was fed, dotted: the first audio is out")
    return figure


def _draw(axes: Any, rows: Sequence[Row]) -> None:
    used: dict[str, int] = {}
    for name in dict.fromkeys(row["contender"] for row in rows):
        series = sorted((row for row in rows if row["contender"] == name), key=lambda row: int(row["size"]))
        family = series[0]["family"]
        number = used[family] = used.get(family, -1) + 1
        sizes = [row["size"] for row in series]
        p50, p95, p99 = ([row[figure] / 1000 for row in series] for figure in ("p50", "p95", "p99"))
        color, style = _COLORS[family], _STYLES[number % len(_STYLES)]
        axes.plot(sizes, p50, color=color, linestyle=style, marker="o", markersize=3, label=name)
        if family != "limit":
            axes.fill_between(sizes, p50, p95, color=color, alpha=0.06, linewidth=0)
            axes.plot(sizes, p99, color=color, linestyle=style, linewidth=0.5, alpha=0.6)
    ticks = sorted({row["size"] for row in rows})
    axes.set(xscale="log", yscale="log", xlabel="payload", ylabel="one way, µs")
    axes.set_xticks(ticks, [size_name(size) for size in ticks], rotation=30)
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
