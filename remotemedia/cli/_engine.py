"""Loads what the commands run on, with Ctrl-C held back meanwhile."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

__all__ = ["load_engine"]


def load_engine() -> None:
    """Imports the engine, and numpy with it. KeyboardInterrupt once it is loaded, if Ctrl-C came meanwhile."""
    with _interrupted_later():
        from remotemedia.core.multiprocessing import Session  # noqa: F401


@contextlib.contextmanager
def _interrupted_later() -> Iterator[None]:
    """C modules take an interruption during their import for a fault, and print their own tracebacks.

    A second Ctrl-C ends the program at once.
    """
    if threading.current_thread() is not threading.main_thread() or (
        signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield
        return
    came = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal came
        if came:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        came = True

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if came:
        raise KeyboardInterrupt
