"""What commands that run a pipeline show of its nodes while they start."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from remotemedia.cli._errors import ReaderGone

if TYPE_CHECKING:
    from remotemedia.core.multiprocessing import InitProgress

__all__ = ["LiveNodes", "NodeTable", "PipeConsole", "init_line"]

_STYLES = {"ready": "green", "failed": "bold red", "starting": "dim"}


class PipeConsole(Console):
    """A console whose reader may leave: ReaderGone."""

    def on_broken_pipe(self) -> None:
        # Rich would exit, from whatever task happens to print.
        self.quiet = True
        raise ReaderGone


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
