"""What commands that run a job show of it: live on a terminal, plain lines elsewhere.

The screens here show how the nodes start; a command's own ones, beside it, add the rest.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from remotemedia.cli._errors import ReaderGone, complain

if TYPE_CHECKING:
    from remotemedia.cli._job import Feed, Summary
    from remotemedia.core.multiprocessing import InitProgress

__all__ = ["LiveScreen", "PlainScreen", "Screen", "open_console"]

_STYLES = {"ready": "green", "failed": "bold red", "starting": "dim"}


class _PipeConsole(Console):
    """A console whose reader may leave: ReaderGone."""

    def on_broken_pipe(self) -> None:
        # Rich would exit, from whatever task happens to print.
        self.quiet = True
        raise ReaderGone


def open_console(*, stderr: bool, live: bool = True) -> Console:
    """For stdout or stderr; it is one of a terminal where bars that move may be shown."""
    console = _PipeConsole(stderr=stderr)
    if live and console.is_terminal and not console.is_dumb_terminal:
        return console
    return _PipeConsole(stderr=stderr, force_terminal=False, color_system=None, width=120)


class Screen:
    """Shows notes alone; what the others override, in the order it is called."""

    def starting(self, summary: Summary) -> None:
        """The processes of the nodes are being started; the counters in ``summary`` move from now on."""

    def progress(self, progress: InitProgress) -> None:
        """A node is this far."""

    def started(self) -> None:
        """All nodes are ready, or one has failed."""

    def running(self, summary: Summary) -> None:
        """Feeding begins."""

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

    # How far a step is, such as "reading NAME, 17 of 63 MB", is said no more often.
    _PAUSE_SECS = 0.5

    def __init__(self, console: Console) -> None:
        self._console = console
        # By node: the step that it was at, and when that was said.
        self._said: dict[str, tuple[str, float]] = {}

    def starting(self, summary: Summary) -> None:
        self._summary = summary
        self._line(summary.job.title)

    def progress(self, progress: InitProgress) -> None:
        # A step without words says nothing new, unless it is the last.
        if progress.status in ("ready", "failed") or (progress.message and self._is_news(progress)):
            said = f"  {progress.message}" if progress.message else ""
            step = f"{progress.status:<10} {progress.progress:4.0%} {self._summary.secs:6.2f} s{said}"
            self._line(f"  {progress.node_id:<9} {step}")

    def _is_news(self, progress: InitProgress) -> bool:
        step, _, how_far = str(progress.message).partition(", ")
        now = time.monotonic()
        last, at = self._said.get(progress.node_id, ("", 0.0))
        if how_far and step == last and now - at < self._PAUSE_SECS:
            return False
        self._said[progress.node_id] = step, now
        return True

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class LiveScreen(Screen):
    """One display that moves after the other; the first is that of the nodes that start."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None

    def starting(self, summary: Summary) -> None:
        self._nodes = _NodeTable(summary)
        self._show(self._nodes)

    def progress(self, progress: InitProgress) -> None:
        self._nodes.note(progress)

    def started(self) -> None:
        self._nodes.stop_clock()
        self.close()

    def note(self, text: str) -> None:
        self._console.print(Text(text, "yellow"), soft_wrap=True)

    def close(self) -> None:
        # What is shown now stays as it is.
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _show(self, content: RenderableType) -> None:
        # Rendered on a thread of its own: the seconds go on while the pipeline keeps this one busy.
        self._live = Live(content, console=self._console, refresh_per_second=12, redirect_stderr=False)
        self._live.start()


class _NodeTable:
    """How far each node is; rendered anew at each refresh."""

    def __init__(self, summary: Summary) -> None:
        self._types = {node.node_id: node.node_type for node in summary.job.pipeline.nodes}
        self._began = summary.began
        self._now = time.monotonic
        start = ("starting", 0.0, "", None)
        self._states: dict[str, tuple[str, float, str, float | None]] = dict.fromkeys(self._types, start)

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
