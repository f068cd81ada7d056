"""A node's channels by the names of their ports."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

__all__ = ["by_port"]

T = TypeVar("T")


def by_port(channels: Iterable[tuple[str, T]]) -> dict[str, T]:
    """Each under its port, or "output" if that has no name; a second one under ``"port#2"``, and so on."""
    found: dict[str, T] = {}
    for port, channel in channels:
        key, number = port or "output", 2
        while key in found:
            key = f"{port or 'output'}#{number}"
            number += 1
        found[key] = channel
    return found
