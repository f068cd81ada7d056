"""What the demo shows: live on a terminal, plain lines elsewhere, little with --quiet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from remotemedia.cli._screen import LiveScreen, PlainScreen, Screen, open_console

if TYPE_CHECKING:
    from remotemedia.cli._demo_stages import Stages
    from remotemedia.cli._job import Feed, Summary

__all__ = ["DemoScreen", "demo_screens"]

_LABEL_WIDTH = 9
_MOST_TURNS, _TURN_CHARS = 3, 24


class DemoScreen(Screen):
    """Shows nothing of what is said; what the others override.

    Attributes:
        stages: what is shown of them at the end; None: nothing.
    """

    stages: Stages | None = None

    def partial(self, text: str) -> None:
        """The words of an utterance so far."""

    def heard(self, text: str) -> None:
        """The words of an utterance."""

    def replied(self, text: str) -> None:
        """The answer to it."""


def demo_screens(*, quiet: bool, as_json: bool) -> tuple[Screen, DemoScreen]:
    """For the making of the question, of which only the start is shown, and for the rest.

    With ``as_json`` stdout is left alone.
    """
    if quiet:
        return Screen(), DemoScreen() if as_json else _QuietDemo()
    console = open_console(stderr=as_json)
    if console.is_terminal:
        return _LiveStart(console), _LiveDemo(console)
    return PlainScreen(console), _PlainDemo(console)


class _QuietDemo(DemoScreen):
    """What was heard, the reply, and where the answer is."""

    def heard(self, text: str) -> None:
        print(f"heard: {text}", flush=True)

    def replied(self, text: str) -> None:
        print(f"reply: {text}", flush=True)

    def finished(self, summary: Summary) -> None:
        for sink in summary.job.sinks:
            if sink.secs:
                print(f"answer: {sink.file}", flush=True)


class _PlainDemo(PlainScreen, DemoScreen):
    def running(self, summary: Summary) -> None:
        (self._feed,) = summary.job.feeds
        total = self._feed.source.total
        self._line("feeding speech" if total is None else f"feeding {total:.1f} s of speech")

    def partial(self, text: str) -> None:
        self._say("hearing", text if len(text) <= 90 else f"...{text[-87:]}")

    def heard(self, text: str) -> None:
        self._say("heard", text)

    def replied(self, text: str) -> None:
        self._say("reply", text)

    def finished(self, summary: Summary) -> None:
        _print_summary(self._console, summary, None, self.stages)

    def _say(self, label: str, text: str) -> None:
        self._line(f"  {self._feed.fed:5.1f} s  {label:<7} {text}")


class _LiveStart(LiveScreen):
    def starting(self, summary: Summary) -> None:
        self._console.print(Text(summary.job.title, "bold"))
        super().starting(summary)


class _LiveDemo(_LiveStart, DemoScreen):
    def running(self, summary: Summary) -> None:
        self._console.print(Text("\nlistening", "bold"))
        self._hearing = _Hearing(summary.job.feeds[0])
        self._show(self._hearing)

    def partial(self, text: str) -> None:
        self._hearing.partial = text

    def heard(self, text: str) -> None:
        self._hearing.partial = ""
        self._console.print(_labelled("heard", text, "bold"))

    def replied(self, text: str) -> None:
        self._console.print(_labelled("reply", text, "cyan"))

    def finished(self, summary: Summary) -> None:
        self.close()
        _print_summary(self._console, summary, box.SIMPLE_HEAD, self.stages)


class _Hearing:
    """The words so far on one line, above how much has been fed."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self.partial = ""

    def __rich_console__(self, console: Console, _options: object) -> Iterator[RenderableType]:
        bar = Table.grid(padding=(0, 1))
        fed, known = self._feed.fed, self._feed.source.total
        total = max(known or 0.0, fed)
        amount = f"{fed:.1f} s" if known is None else f"{fed:.1f} of {total:.1f} s"
        bar.add_row(_label("fed"), ProgressBar(total or 1.0, fed, width=30), Text(amount, "dim"))
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


def _print_summary(console: Console, summary: Summary, lines: box.Box | None, stages: Stages | None) -> None:
    if not lines:
        console.print()
    tables = [_node_table(summary, lines), _channel_table(summary, lines)]
    if stages is not None and stages.turns:
        tables.append(_stage_table(stages, lines))
    for table in tables:
        console.print(table)
        if not lines:
            console.print()
    fed = summary.job.feeds[0].fed
    speed = fed / summary.run_secs if summary.run_secs else 0.0
    _fact(console, f"{len(summary.nodes)} processes ready in {summary.init_secs:.2f} s")
    _fact(console, f"{fed:.1f} s of speech answered in {summary.run_secs:.2f} s ({speed:.1f}x real time)")
    for sink in summary.job.sinks:
        if sink.secs:
            _fact(console, f"answer: {sink.file} ({sink.secs:.1f} s)", "bold green")


def _fact(console: Console, text: str, style: str = "") -> None:
    console.print(Text(f"  {text}" if console.is_terminal else text, style), soft_wrap=True)


def _node_table(summary: Summary, lines: box.Box | None) -> Table:
    table = _table(lines, "node", "pid", "messages", "busy", "latency\np50/p95", "first output\np50/p95")
    for node in summary.nodes:
        latency = _durations(node.latency_p50_secs, node.latency_p95_secs)
        first = _durations(node.first_output_p50_secs, node.first_output_p95_secs) if node.first_outputs else "-"
        pid, messages = str(summary.pids[node.node_id]), str(node.messages)
        table.add_row(node.node_id, pid, messages, _duration(node.busy_secs), latency, first)
    return table


def _stage_table(stages: Stages, lines: box.Box | None) -> Table:
    from remotemedia.cli._demo_stages import STAGES

    turns = stages.turns[:_MOST_TURNS]
    reached = {stage: name for stage, name in STAGES.items() if any(stage in turn.secs for turn in turns)}
    table = _table(lines, "from the end of speech to", *(_short(turn.heard) for turn in turns))
    for stage, name in reached.items():
        table.add_row(name, *(_duration(turn.secs[stage]) if stage in turn.secs else "-" for turn in turns))
    return table


def _short(text: str) -> str:
    return text if len(text) <= _TURN_CHARS else f"{text[: _TURN_CHARS - 3]}..."


def _durations(*secs: float) -> str:
    return "/".join(map(_duration, secs))


def _channel_table(summary: Summary, lines: box.Box | None) -> Table:
    table = _table(lines, "channel", "messages", "bytes", "copied", "most/room", "blocked")
    for channel in summary.channels:
        sizes = map(_size, (channel.bytes_transferred, channel.bytes_copied))
        most = f"{channel.high_water_mark}/{channel.capacity}"
        table.add_row(channel.name, str(channel.message_count), *sizes, most, _duration(channel.blocked_secs))
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
    return f"{milliseconds:.{0 if milliseconds >= 99.95 else 1 if milliseconds >= 9.995 else 2}f} ms"


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
