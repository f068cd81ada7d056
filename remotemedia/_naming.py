"""How a place in a file or on the network is named, and which names errors offer instead of a wrong one."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["authority", "offer", "place"]

_PLAIN = re.compile(r"[\w$-]+")


def place(*steps: str | int) -> str:
    """The way to a value, key by key: ``nodes[2].params.chunk_size``; other keys than words as ``["a key"]``."""
    text = ""
    for step in steps:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _PLAIN.fullmatch(step):
            text += f".{step}" if text else step
        else:
            text += f"[{step!r}]"
    return text


def authority(host: str, port: int) -> str:
    """``HOST:PORT`` as in a URL: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def offer(wrong: object, known: Iterable[str], what: str) -> str:
    """``did you mean 'a' or 'b'?`` where names are near, else all of them: ``WHAT: 'a', 'b'``."""
    import difflib  # here: no node's process needs it

    known = list(known)
    near = difflib.get_close_matches(str(wrong), known, n=3)
    if not near:
        # difflib tells capitals apart; people do not.
        folded = {name.lower(): name for name in known}
        near = [folded[name] for name in difflib.get_close_matches(str(wrong).lower(), folded, n=3)]
    if near:
        return "did you mean " + " or ".join(map(repr, near)) + "?"
    return f"{what}: " + (", ".join(map(repr, known)) or "none")
