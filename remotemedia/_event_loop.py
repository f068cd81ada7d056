"""Sessions and channels need asyncio's event loop; here is the error where another library's runs."""

from __future__ import annotations

import asyncio

from remotemedia.errors import SessionStateError

__all__ = ["running_loop"]


def running_loop(call: str, error: type[Exception] = SessionStateError) -> asyncio.AbstractEventLoop:
    """The running asyncio event loop; raises ``error`` where there is none, for example under trio."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise error(f"{call} needs an asyncio event loop, and none is running (anyio: backend='asyncio')") from None
