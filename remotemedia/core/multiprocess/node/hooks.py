"""What the methods of a node that the framework calls may return."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from inspect import isawaitable
from typing import Any

from remotemedia.core.data import RuntimeData

__all__ = ["advice_for", "settled"]


async def settled(given: Any, hook: str) -> None:
    """Awaits what a hook returned, if it is awaitable: hooks may be written with or without ``async``.

    TypeError for a generator, whose code would never run.
    """
    if isawaitable(given):
        given = await given
    if isinstance(given, AsyncGenerator | Generator):
        raise TypeError(f"{hook} returned a generator, whose code never runs: it must not yield")


def advice_for(value: object) -> str:
    """How to make a message of what a node gave instead of one; a clause, or nothing for a message."""
    if isinstance(value, RuntimeData):
        return ""
    from remotemedia.core.wording import maker_for

    return f"; {maker_for(value)}"
