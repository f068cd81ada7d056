"""Watching a descriptor on an event loop of which a forked child may run a copy."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

__all__ = ["watch"]


def watch(loop: asyncio.AbstractEventLoop, fd: int, callback: Callable[[], object]) -> None:
    """``loop.add_reader``, for this process alone.

    A forked child that runs a turn of its copy, if only to end its tasks, would read its parent's data.
    """
    owner_pid = os.getpid()

    def readable() -> None:
        if os.getpid() == owner_pid:
            callback()

    loop.add_reader(fd, readable)
