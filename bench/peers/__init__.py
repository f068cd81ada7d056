"""The contenders, a file for each library. A library is imported in the processes that use it, not here."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from bench.contender import Contender

# Family, and the module it needs.
FAMILIES = {
    "remotemedia": "remotemedia",
    "iceoryx2": "iceoryx2",
    "zmq": "zmq",
    "faster_fifo": "faster_fifo",
    "pipe": "multiprocessing",
    "queue": "multiprocessing",
    "shared_memory": "multiprocessing",
    "dora": "dora",
}
_MODULES = {"remotemedia": "remotemedia_"}


def installed(family: str) -> bool:
    """Whether its library is there."""
    return find_spec(FAMILIES[family]) is not None


def contenders(family: str) -> tuple[Contender, ...]:
    """A family's ways of sending."""
    found: tuple[Contender, ...] = import_module(f"bench.peers.{_MODULES.get(family, family)}").CONTENDERS
    return found
