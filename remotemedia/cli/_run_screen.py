"""What ``remotemedia run`` shows on stderr: live on a terminal, plain lines elsewhere, nothing with --quiet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from remotemedia.cli._screen import LiveScreen, PlainScreen, Screen, open_console

if TYPE_CHECKING:
    from remotemedia.cli._job import Feed, Sink, Summary

__all__ = ["run_screen"]


def run_screen(*, quiet: bool, stdout_is_data: bool) -> Screen:
    """The screen that fits."""
    if quiet:
        return Screen()
    # Bars that are drawn again and again would wipe out text that goes to the same terminal.
    mixed = stdout_is_data and open_console(stderr=False).is_terminal
    console = open_console(stderr=True, live=not mixed)
    return _LiveRun(console) if console.is_terminal else _PlainRun(console)


class _PlainRun(PlainScreen):
    def running(self, summary: Summary) -> None:
        for feed in summary.job.feeds:
            length = "" if feed.source.total is None else f" ({_amount(feed.source.total, feed.source.unit)})"
            self._line(f"feeding {feed.source.name}{length} to node {feed.node_id}")

    def fed(self, feed: Feed) -> None:
        self._line(_fed_line(feed))

    def finished(self, summary: Summary) -> None:
        for line in _end_lines(summary):
            self._line(line)


class _LiveRun(LiveScreen):
    def running(self, summary: Summary) -> None:
        self._show(_Flow(summary))

    def finished(self, summary: Summary) -> None:
        self.close()
        for line in [*map(_fed_line, summary.job.feeds), *_end_lines(summary)]:
            self._console.print(Text(line), soft_wrap=True)


class _Flow:
    """How much has been fed and has come out, by file; looked at anew at each refresh."""

    def __init__(self, summary: Summary) -> None:
        self._summary = summary

    def __rich__(self) -> Table:
        table = Table.grid(padding=(0, 1))
        for feed in self._summary.job.feeds:
            total = feed.source.total
            bar = ProgressBar(max(total, 1e-9), min(feed.fed, total), width=30) if total is not None else Text("")
            table.add_row("  in", feed.source.name, bar, Text(_fed(feed), "dim"))
        for sink in self._summary.job.sinks:
            table.add_row("  out", sink.file, "", Text(_written(sink), "dim"))
        return table


def _fed_line(feed: Feed) -> str:
    dropped = f", {_messages(feed.dropped)} dropped" if feed.dropped else ""
    return f"fed {feed.source.name} to node {feed.node_id}: {_fed(feed)}{dropped}"


def _end_lines(summary: Summary) -> list[str]:
    lines = [f"wrote {sink.file} from node {sink.node_id}: {_written(sink)}" for sink in summary.job.sinks]
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
