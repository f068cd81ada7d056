"""Loading what the commands run on, so that Ctrl-C comes before or after it."""

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
    """Modules in C take an interruption in the midst of their import for a fault, and print tracebacks of their own.

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
