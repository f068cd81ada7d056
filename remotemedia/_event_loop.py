"""The one event loop that sessions and channels know: what is said where another library's runs."""

from __future__ import annotations

import asyncio

from remotemedia.errors import SessionStateError

__all__ = ["running_loop"]


def running_loop(call: str, error: type[Exception] = SessionStateError) -> asyncio.AbstractEventLoop:
    """asyncio's; ``error`` where none runs, such as under trio."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise error(f"{call} needs an asyncio event loop, and none is running (anyio: backend='asyncio')") from None
