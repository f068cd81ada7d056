"""Which input of a session something descends from."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Origin"]


class Origin(NamedTuple):
    """One turn of a session.

    Attributes:
        node_id: the input node at which it began.
        number: counts the turns of the session, from 1.
    """

    node_id: str
    number: int
