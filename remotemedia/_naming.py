"""How places, addresses and ports of nodes are named, and which names errors offer instead of a wrong one."""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterable

from remotemedia.errors import PipelineError

__all__ = ["authority", "few", "nearest", "node_and_port", "nodes_named", "offer", "place", "unknown_key"]

_PLAIN = re.compile(r"[\w$-]+")
_MOST_OFFERED = 40


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


def node_and_port(end: str, node_ids: Container[str]) -> tuple[str, str]:
    """Node and port of ``"node.port"``; port "" if it has none. Ids may have dots: the longest that is one wins.

    All of it is the node where no part of it is one of ``node_ids``, or nothing follows the dot.
    """
    node_id, port = end, ""
    while node_id and node_id not in node_ids:
        node_id = node_id.rpartition(".")[0]
        port = end[len(node_id) + 1 :]
    return (node_id, port) if node_id and (port or node_id == end) else (end, "")


def offer(wrong: object, known: Iterable[str], what: str) -> str:
    """``did you mean 'a' or 'b'?`` where names are near, else the names there are: ``WHAT: 'a', 'b'``."""
    known = list(known)
    # difflib tells capitals apart; people do not.
    folded = {name.lower(): name for name in known}
    near = nearest(str(wrong), known) or [folded[name] for name in nearest(str(wrong).lower(), folded)]
    if near:
        return "did you mean " + " or ".join(map(repr, near)) + "?"
    return f"{what}: " + (", ".join(few([*map(repr, known)], _MOST_OFFERED)) or "none")


def unknown_key(key: object, known: Iterable[str], what: str = "key") -> str:
    """What is said of a key that is not one of ``known``."""
    return f"there is no {what} {key!r} here; {offer(key, known, f'the {what}s are')}"


def nearest(wrong: str, known: Iterable[str], cutoff: float = 0.6) -> list[str]:
    """The names, at most three, that ``wrong`` may be a typo of; the nearest first."""
    import difflib  # here: no node's process needs it

    return difflib.get_close_matches(wrong, list(known), n=3, cutoff=cutoff)


def few(names: list[str], most: int) -> list[str]:
    """The first of many names, and how many more there are."""
    # Each of a thousand problems with a thousand names in it is more than anybody reads, or has memory for.
    return names if len(names) <= most else [*names[:most], f"({len(names) - most} more)"]


def nodes_named(from_node: str | Collection[str] | None) -> list[str]:
    """The nodes that ``from_node`` names; none for None, which is everything. PipelineError if it is empty."""
    if from_node is None:
        return []
    named = [from_node] if isinstance(from_node, str) else list(dict.fromkeys(from_node))
    if not named:
        raise PipelineError("interrupt(): from_node is empty; without from_node everything is interrupted")
    return named
