"""What ``remotemedia run`` shows on stderr: live on a terminal, plain lines elsewhere, nothing with --quiet."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from remotemedia.cli._errors import complain
from remotemedia.cli._screen import LiveNodes, PipeConsole, init_line

if TYPE_CHECKING:
    from remotemedia.cli._run_session import Feed, Summary
    from remotemedia.cli._run_sinks import Sink
    from remotemedia.core.multiprocessing import InitProgress

__all__ = ["Screen", "open_screen"]


class Screen:
    """Shows notes alone; what the others override, in the order it is called."""

    def starting(self, node_types: dict[str, str]) -> None:
        """The processes of these nodes are being started."""

    def progress(self, progress: InitProgress) -> None:
        """A node is this far."""

    def started(self) -> None:
        """All nodes are ready, or one has failed."""

    def running(self, summary: Summary) -> None:
        """Feeding begins; the counters in ``summary`` move from now on."""

    def fed(self, feed: Feed) -> None:
        """The input of one node has ended."""

    def note(self, text: str) -> None:
        """Something went wrong, or ends early."""
        complain(text)

    def finished(self, summary: Summary) -> None:
        """All is done."""

    def close(self) -> None:
        """Leave the terminal as it was; called whatever happens."""


class PlainScreen(Screen):
    """Lines without control codes."""

    def __init__(self, console: PipeConsole) -> None:
        self._console = console
        self._began = 0.0

    def starting(self, node_types: dict[str, str]) -> None:
        self._began = time.monotonic()
        self._line("starting one process per node")

    def progress(self, progress: InitProgress) -> None:
        line = init_line(progress, time.monotonic() - self._began)
        if line is not None:
            self._line(line)

    def running(self, summary: Summary) -> None:
        for feed in summary.feeds:
            length = "" if feed.source.total is None else f" ({_amount(feed.source.total, feed.source.unit)})"
            self._line(f"feeding {feed.source.name}{length} to node {feed.node_id}")

    def fed(self, feed: Feed) -> None:
        self._line(_fed_line(feed))

    def finished(self, summary: Summary) -> None:
        for line in _end_lines(summary):
            self._line(line)

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class LiveScreen(LiveNodes, Screen):
    """Bars and counters that move."""

    def starting(self, node_types: dict[str, str]) -> None:
        self._show_nodes(node_types)

    def running(self, summary: Summary) -> None:
        self._show(_Flow(summary))

    def note(self, text: str) -> None:
        self._console.print(Text(text, "yellow"), soft_wrap=True)

    def finished(self, summary: Summary) -> None:
        self.close()
        for line in [*map(_fed_line, summary.feeds), *_end_lines(summary)]:
            self._console.print(Text(line), soft_wrap=True)


@contextmanager
def open_screen(*, quiet: bool, stdout_is_data: bool) -> Iterator[Screen]:
    """The screen that fits."""
    screen = _choose(quiet, stdout_is_data)
    try:
        yield screen
    finally:
        screen.close()


def _choose(quiet: bool, stdout_is_data: bool) -> Screen:
    if quiet:
        return Screen()
    console = PipeConsole(stderr=True)
    # Bars that are drawn again and again would wipe out text that goes to the same terminal.
    mixed = stdout_is_data and PipeConsole().is_terminal
    if console.is_terminal and not console.is_dumb_terminal and not mixed:
        return LiveScreen(console)
    return PlainScreen(PipeConsole(stderr=True, force_terminal=False, color_system=None, width=120))


class _Flow:
    """How much has been fed and has come out, by file; looked at anew at each refresh."""

    def __init__(self, summary: Summary) -> None:
        self._summary = summary

    def __rich__(self) -> Table:
        table = Table.grid(padding=(0, 1))
        for feed in self._summary.feeds:
            total = feed.source.total
            bar = ProgressBar(max(total, 1e-9), min(feed.fed, total), width=30) if total is not None else Text("")
            table.add_row("  in", feed.source.name, bar, Text(_fed(feed), "dim"))
        for sink in self._summary.sinks:
            table.add_row("  out", sink.file, "", Text(_written(sink), "dim"))
        return table


def _fed_line(feed: Feed) -> str:
    dropped = f", {_messages(feed.dropped)} dropped" if feed.dropped else ""
    return f"fed {feed.source.name} to node {feed.node_id}: {_fed(feed)}{dropped}"


def _end_lines(summary: Summary) -> list[str]:
    lines = [f"wrote {sink.file} from node {sink.node_id}: {_written(sink)}" for sink in summary.sinks]
    if summary.unwritten:
        lines.append(f"{_messages(summary.unwritten)} without -O not written")
    if summary.failures:
        lines.append(f"{_messages(summary.failures)} failed")
    count = len(summary.nodes)
    processes = "1 process" if count == 1 else f"{count} processes"
    lines.append(f"{processes} ready in {summary.init_secs:.2f} s, done in {summary.run_secs:.2f} s")
    return lines


def _fed(feed: Feed) -> str:
    return f"{_messages(feed.messages)} ({_amount(feed.fed, feed.source.unit)})"


def _written(sink: Sink) -> str:
    return _messages(sink.messages) + (f" ({_amount(sink.secs, 's')})" if sink.secs else "")


def _messages(count: int) -> str:
    return f"{count} message{'' if count == 1 else 's'}"


def _amount(amount: float, unit: str) -> str:
    return f"{amount:.1f} s" if unit == "s" else f"{amount:.0f} B"
