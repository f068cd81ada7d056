"""A contender in a benchmark: a way to send arrays from one process to another, behind one small face.

A message is an array of int64 that carries its number in the first and the last element. "copied" sends a private
array; "loaned" writes the two elements in memory that the contender lends and sends that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.int64]

WORD_BYTES = 8
# The most that contenders with such a setting hold: enough to work in parallel, without gigabytes of 10 MB frames.
_MOST_BYTES_QUEUED = 64_000_000


class Sender(Protocol):
    """The sending end, in its process."""

    def send(self, value: int) -> None:
        """Sends message number ``value``; waits while there is no room."""

    def close(self) -> None: ...


class Receiver(Protocol):
    """The receiving end, in its process."""

    def receive(self) -> Words:
        """The next message, as an array that stays as it is until the next call."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class Setting:
    """What a link is made for."""

    size: int
    tag: str
    """In no other link's."""
    scratch: Path
    """A folder that goes with the run."""

    @property
    def depth(self) -> int:
        """How many messages the link should hold."""
        return max(2, min(256, _MOST_BYTES_QUEUED // self.size))


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Link:
    """One direction. The two openers travel to their processes; ``close`` is called here, after both are gone."""

    open_sender: Callable[[], Sender]
    open_receiver: Callable[[], Receiver]
    close: Callable[[], None] = _nothing


@dataclass(frozen=True)
class Contender:
    """A peer in one of its ways of sending."""

    name: str
    family: str
    modes: frozenset[str]
    link: Callable[[Setting], Link]
    loaned: bool = False
    use_asyncio: bool = False
    team: Callable[..., Any] | None = None
    """What starts its two processes, where ``workers.Team`` cannot: called with roles, scratch folder and CPUs."""


def private_array(size: int) -> Words:
    """What a "copied" sender sends, again and again."""
    return np.zeros(size // WORD_BYTES, np.int64)


def check(array: npt.NDArray[Any], length: int, value: int) -> None:
    """The receiver's work on each message."""
    if array.size != length or array.item(0) != value or array.item(-1) != value:
        raise AssertionError(f"expected message {value} of {length} words, got {array.size}: {array[:1]}..{array[-1:]}")
