"""What an interruption that begins at some nodes leaves: a queue per way through the graph, cut where it was."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

Graph = dict[str, list[str]]
Message = tuple[str, int]
"""The way that a message came, as the names of its nodes, and its number."""


def ways(graph: Graph, name: str) -> list[str]:
    """Every way from a node to a sink, as the names on it."""
    return [name + way for follower in graph[name] for way in ways(graph, follower)] or [name]


class Model:
    """A session's messages, by way through the graph: the test tells it what it sends, receives and cuts."""

    def __init__(self, graph: Graph, folder: Path) -> None:
        self.graph, self.folder = graph, folder
        self.sent: dict[str, list[int]] = {}
        self.received: list[Message] = []
        self.dropped: set[Message] = set()
        self.cuts: list[set[str]] = []

    def send(self, source: str, number: int) -> None:
        self.sent.setdefault(source, []).append(number)

    def diary(self, name: str) -> list[list[str]]:
        path = self.folder / name
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def taken(self, name: str) -> set[Message]:
        return {(line[1], int(line[2])) for line in self.diary(name) if line[0] == "took"}

    def all_messages(self) -> Iterable[Message]:
        for source, numbers in self.sent.items():
            for way in ways(self.graph, source):
                yield from ((way, number) for number in numbers)

    def cut(self, names: Collection[str]) -> None:
        """What these had taken is gone where it is, unless it is out; without names, all that is not out."""
        out = set(self.received)
        taken = {name: self.taken(name) for name in names}
        for way, number in self.all_messages():
            begun = any((way[: way.index(name) + 1], number) in taken[name] for name in names if name in way)
            if (begun or not names) and (way, number) not in out:
                self.dropped.add((way, number))
        self.cuts.append(self.reached(names) if names else set(self.graph))

    def reached(self, names: Collection[str]) -> set[str]:
        found = set(names)
        for name in names:
            found |= self.reached(self.graph[name])
        return found

    def expected(self) -> dict[str, list[int]]:
        """The numbers that come out, by way, in order."""
        found: dict[str, list[int]] = {}
        for way, number in self.all_messages():
            if (way, number) not in self.dropped:
                found.setdefault(way, []).append(number)
        return found

    def came(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for way, number in self.received:
            found.setdefault(way, []).append(number)
        return found

    def at_rest(self, name: str) -> bool:
        """Whether a node's call waits for ever."""
        lines = self.diary(name)
        return bool(lines) and (lines[-1] == ["pauses"] or lines[-1][-1] in ("wait", "cling"))
