"""What the demo shows: live on a terminal, plain lines elsewhere, little with --quiet."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from remotemedia.cli._errors import ReaderGone

if TYPE_CHECKING:
    from remotemedia.cli._demo_run import Summary
    from remotemedia.core.multiprocessing import ChannelStats, InitProgress, NodeStats

__all__ = ["Screen", "open_screen"]

_LABEL_WIDTH = 9
_STYLES = {"ready": "green", "failed": "bold red", "starting": "dim"}


class PipeConsole(Console):
    """A console whose reader may leave: ReaderGone."""

    def on_broken_pipe(self) -> None:
        # Rich would exit, from whatever task happens to print.
        self.quiet = True
        raise ReaderGone


class Screen:
    """Shows nothing; what the others override, in the order it is called."""

    def starting(self, title: str, node_types: dict[str, str]) -> None:
        """The processes of these nodes are being started."""

    def progress(self, progress: InitProgress) -> None:
        """A node is this far."""

    def started(self) -> None:
        """All nodes are ready, or one has failed."""

    def listening(self, total_secs: float | None) -> None:
        """Feeding begins; the total is given if it is known."""

    def fed(self, secs: float) -> None:
        """So much of it has been fed."""

    def partial(self, text: str) -> None:
        """The words of an utterance so far."""

    def heard(self, text: str) -> None:
        """The words of an utterance."""

    def replied(self, text: str) -> None:
        """The answer to it."""

    def finished(self, summary: Summary) -> None:
        """All is done."""

    def close(self) -> None:
        """Leave the terminal as it was; called whatever happens."""


class QuietScreen(Screen):
    """What was heard, the reply, and where the answer is."""

    def heard(self, text: str) -> None:
        print(f"heard: {text}", flush=True)

    def replied(self, text: str) -> None:
        print(f"reply: {text}", flush=True)

    def finished(self, summary: Summary) -> None:
        if summary.answer_path is not None:
            print(f"answer: {summary.answer_path}", flush=True)


class PlainScreen(Screen):
    """Lines without control codes, for files and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = 0.0
        self._fed_secs = 0.0

    def starting(self, title: str, node_types: dict[str, str]) -> None:
        self._began = time.monotonic()
        self._line(title)

    def progress(self, progress: InitProgress) -> None:
        line = init_line(progress, time.monotonic() - self._began)
        if line is not None:
            self._line(line)

    def listening(self, total_secs: float | None) -> None:
        self._line("feeding speech" if total_secs is None else f"feeding {total_secs:.1f} s of speech")

    def fed(self, secs: float) -> None:
        self._fed_secs = secs

    def partial(self, text: str) -> None:
        shown = text if len(text) <= 90 else f"...{text[-87:]}"
        self._line(f"  {self._fed_secs:5.1f} s  hearing {shown}")

    def heard(self, text: str) -> None:
        self._line(f"  {self._fed_secs:5.1f} s  heard   {text}")

    def replied(self, text: str) -> None:
        self._line(f"  {self._fed_secs:5.1f} s  reply   {text}")

    def finished(self, summary: Summary) -> None:
        _print_summary(self._console, summary, None)

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class NodeTable:
    """How far each node is; rendered anew at each refresh."""

    def __init__(self, node_types: dict[str, str]) -> None:
        self._types = node_types
        self._began = time.monotonic()
        self._now = time.monotonic
        start = ("starting", 0.0, "", None)
        self._states: dict[str, tuple[str, float, str, float | None]] = dict.fromkeys(node_types, start)

    def note(self, progress: InitProgress) -> None:
        """A node is this far."""
        ended = time.monotonic() if progress.status in ("ready", "failed") else None
        message = (progress.message or "").partition("\n")[0]
        self._states[progress.node_id] = (progress.status, progress.progress, message, ended)

    def stop_clock(self) -> None:
        """All are ready, or one has failed."""
        now = time.monotonic()
        self._now = lambda: now

    def __rich__(self) -> Table:
        table = Table.grid(padding=(0, 1))
        for _ in range(4):
            table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        for node_id, (status, fraction, message, ended) in list(self._states.items()):
            style = _STYLES.get(status, "yellow")
            table.add_row(
                f"  {node_id}",
                Text(self._types[node_id], "dim"),
                ProgressBar(1.0, fraction, width=10, complete_style=style, finished_style=style),
                Text(status, style),
                f"{(ended or self._now()) - self._began:.2f} s",
                Text(message, "dim"),
            )
        return table


class LiveNodes:
    """One display after the other on a terminal; the first is that of the nodes that start."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None

    def _show_nodes(self, node_types: dict[str, str]) -> None:
        self._nodes = NodeTable(node_types)
        self._show(self._nodes)

    def progress(self, progress: InitProgress) -> None:
        """A node is this far."""
        self._nodes.note(progress)

    def started(self) -> None:
        """All are ready."""
        self._nodes.stop_clock()
        self.close()

    def close(self) -> None:
        """What is shown now stays as it is."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _show(self, content: RenderableType) -> None:
        # Rendered on a thread of its own: the seconds go on while the pipeline keeps this one busy.
        self._live = Live(content, console=self._console, refresh_per_second=12, redirect_stderr=False)
        self._live.start()


def init_line(progress: InitProgress, elapsed_secs: float) -> str | None:
    """A step of a node as a line without control codes; None for a step that says nothing new."""
    if not progress.message and progress.status not in ("ready", "failed"):
        return None
    said = f"  {progress.message}" if progress.message else ""
    return f"  {progress.node_id:<9} {progress.status:<10} {progress.progress:4.0%} {elapsed_secs:6.2f} s{said}"


class LiveScreen(LiveNodes, Screen):
    """Tables and bars that change while things happen."""

    def starting(self, title: str, node_types: dict[str, str]) -> None:
        self._console.print(Text(title, "bold"))
        self._show_nodes(node_types)

    def listening(self, total_secs: float | None) -> None:
        self._console.print(Text("\nlistening", "bold"))
        self._hearing = _Hearing(total_secs)
        self._show(self._hearing)

    def fed(self, secs: float) -> None:
        self._hearing.fed_secs = secs

    def partial(self, text: str) -> None:
        self._hearing.partial = text

    def heard(self, text: str) -> None:
        self._hearing.partial = ""
        self._console.print(_labelled("heard", text, "bold"))

    def replied(self, text: str) -> None:
        self._console.print(_labelled("reply", text, "cyan"))

    def finished(self, summary: Summary) -> None:
        self.close()
        _print_summary(self._console, summary, box.SIMPLE_HEAD)


@contextmanager
def open_screen(*, quiet: bool, as_json: bool) -> Iterator[Screen]:
    """The screen that fits; with ``as_json`` stdout is left alone."""
    screen = _choose(quiet, as_json)
    try:
        yield screen
    finally:
        screen.close()


def _choose(quiet: bool, as_json: bool) -> Screen:
    if quiet:
        return Screen() if as_json else QuietScreen()
    console = PipeConsole(stderr=as_json)
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveScreen(console)
    stream = sys.stderr if as_json else sys.stdout
    return PlainScreen(PipeConsole(file=stream, force_terminal=False, color_system=None, width=120))


# --- live parts --------------------------------------------------------------------------------------------------


class _Hearing:
    """The words so far on one line, above how much has been fed."""

    def __init__(self, total_secs: float | None) -> None:
        self._total_secs = total_secs
        self.fed_secs = 0.0
        self.partial = ""

    def __rich_console__(self, console: Console, _options: object) -> Iterator[RenderableType]:
        bar = Table.grid(padding=(0, 1))
        total = self.fed_secs if self._total_secs is None else max(self._total_secs, self.fed_secs)
        of_total = "" if self._total_secs is None else f" of {total:.1f}"
        bar.add_row(
            _label("fed"),
            ProgressBar(total or 1.0, self.fed_secs, width=30),
            Text(f"{self.fed_secs:.1f}{of_total} s", "dim"),
        )
        if self.partial:
            yield Group(_one_line("hearing", self.partial, console.width), bar)
        else:
            yield bar


def _label(label: str) -> Text:
    return Text(f"  {label:<{_LABEL_WIDTH}}"[: _LABEL_WIDTH + 1], "dim")


def _labelled(label: str, text: str, style: str) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_row(_label(label), Text(text, style))
    return table


def _one_line(label: str, text: str, width: int) -> Table:
    room = max(10, width - _LABEL_WIDTH - 4)
    # The last words are the new ones.
    shown = text if len(text) <= room else f"…{text[-room + 1 :]}"
    table = _labelled(label, shown, "italic")
    table.columns[1].no_wrap = True
    return table


# --- the end -----------------------------------------------------------------------------------------------------


def _print_summary(console: Console, summary: Summary, lines: box.Box | None) -> None:
    if not lines:
        console.print()
    for table in (_node_table(summary.nodes, summary.pids, lines), _channel_table(summary.channels, lines)):
        console.print(table)
        if not lines:
            console.print()
    speed = summary.audio_secs / summary.run_secs if summary.run_secs else 0.0
    _fact(console, f"{len(summary.nodes)} processes ready in {summary.init_secs:.2f} s")
    _fact(
        console, f"{summary.audio_secs:.1f} s of speech answered in {summary.run_secs:.2f} s ({speed:.1f}x real time)"
    )
    if summary.answer_path is not None:
        _fact(console, f"answer: {summary.answer_path} ({summary.answer_secs:.1f} s)", "bold green")


def _fact(console: Console, text: str, style: str = "") -> None:
    console.print(Text(f"  {text}" if console.is_terminal else text, style), soft_wrap=True)


def _node_table(nodes: list[NodeStats], pids: dict[str, int], lines: box.Box | None) -> Table:
    table = _table(lines, "node", "pid", "messages", "busy", "mean latency", "p95 below")
    for node in nodes:
        table.add_row(
            node.node_id,
            str(pids.get(node.node_id, "")),
            str(node.messages),
            _duration(node.busy_secs),
            _duration(node.latency_mean_secs),
            _duration(node.latency_p95_secs),
        )
    return table


def _channel_table(channels: list[ChannelStats], lines: box.Box | None) -> Table:
    table = _table(lines, "channel", "messages", "bytes", "copied", "most/room", "blocked")
    for channel in channels:
        table.add_row(
            channel.name,
            str(channel.message_count),
            _size(channel.bytes_transferred),
            _size(channel.bytes_copied),
            f"{channel.high_water_mark}/{channel.capacity}",
            _duration(channel.blocked_secs),
        )
    return table


def _table(lines: box.Box | None, first: str, *others: str) -> Table:
    table = Table(box=lines, pad_edge=lines is not None, header_style="bold", padding=(0, 2, 0, 0) if lines else (0, 1))
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _duration(secs: float) -> str:
    if secs >= 1:
        return f"{secs:.2f} s"
    milliseconds = secs * 1000
    return f"{milliseconds:.0f} ms" if milliseconds >= 100 else f"{milliseconds:.2f} ms"


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
