"""What Ctrl-C and SIGTERM do to a command that runs a pipeline: drain first, kill when asked again."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from remotemedia.cli._errors import Terminated
from remotemedia.core.multiprocessing import Session

__all__ = ["Stop", "terminable"]


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM raises Terminated, as Ctrl-C raises KeyboardInterrupt, while no event loop takes them."""

    def terminate(number: int, frame: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Stop:
    """The first signal ends the input, or the start when nothing is fed yet; the second ends everything at once."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._killed = False
        self._drain: Callable[[], object] | None = None

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Signals are taken from here on, for the current task."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        # A shell's background job starts with SIGINT ignored, and stays so.
        numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]
        for number in numbers:
            loop.add_signal_handler(number, self._on_signal, number, task)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def drain_with(self, drain: Callable[[], object]) -> None:
        """From here on the first signal calls ``drain``."""
        self._drain = drain

    def _on_signal(self, number: int, task: asyncio.Task[object]) -> None:
        first, self.signal = self.signal is None, self.signal or number
        if first and self._drain is not None:
            self._drain()
        elif first:
            task.cancel()
        else:
            self._killed = True
            # Not at once: two cancellations before the task takes its next step are one.
            asyncio.get_running_loop().call_soon(task.cancel)

    async def end(self, session: Session) -> None:
        """Cleans up: gracefully, unless the second signal has come. CancelledError if it comes meanwhile."""
        cancelled = False
        cleaning = asyncio.ensure_future(session.cleanup())
        if self._killed:
            await asyncio.sleep(0)  # a task that is cancelled before its first step does nothing at all
            cleaning.cancel()
        while not cleaning.done():
            try:
                await asyncio.wait({cleaning})
            except asyncio.CancelledError:
                cancelled = True
                cleaning.cancel()
        if not cleaning.cancelled():
            cleaning.result()
        if cancelled:  # else what comes next would keep the output
            raise asyncio.CancelledError

    def raise_signal(self) -> None:
        """KeyboardInterrupt or Terminated, if there was a signal."""
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        if self.signal is not None:
            raise Terminated
