"""One run: its contenders, its CPUs, its length, and its results."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from bench.contender import Contender, Link, Setting
from bench.limits import Limits
from bench.workers import ContenderFailed, Task, Team

Row = dict[str, Any]
_NUMBERS = itertools.count()


class Player(Protocol):
    """A contender that takes turns."""

    name: str

    def play(self) -> None: ...


@dataclass
class Run:
    sizes: Sequence[int]
    contenders: Sequence[Contender]
    cpus: tuple[int | None, int | None]
    limits: Limits
    scratch: Path
    say: Callable[[str], None]
    quick: bool
    alone: bool = False
    """Whether one mode was asked for: it may take its time."""
    rows: list[Row] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def turns(self) -> int:
        return 2 if self.quick else 8

    def playing(self, mode: str) -> list[Contender]:
        return [contender for contender in self.contenders if mode in contender.modes]

    def has(self, family: str) -> bool:
        return any(contender.family == family for contender in self.contenders)

    def setting(self, size: int) -> Setting:
        return Setting(size, f"{os.getpid()}-{next(_NUMBERS)}", self.scratch)

    def failed(self, name: str, where: str, error: object) -> None:
        self.failures.append(f"{name} ({where}): {error}")

    def alternate(self, players: Sequence[Player], where: str) -> None:
        """Each plays a short turn, then each another, so that whatever else the machine does meets all alike."""
        left = list(players)
        for turn in range(self.turns):
            for player in list(left):
                self.say(f"{where}, turn {turn + 1} of {self.turns}: {player.name}")
                try:
                    player.play()
                except ContenderFailed as error:
                    left.remove(player)
                    self.failed(player.name, where, error)

    def add(self, mode: str, size: int, contender: Contender | None, name: str, figures: Row, **more: Any) -> None:
        """A row of results; without a contender, of the machine's limit."""
        self.rows.append(
            {
                "mode": mode,
                "size": size,
                "contender": name,
                "family": contender.family if contender else "limit",
                "loaned": contender.loaned if contender else None,
                "asyncio": contender.use_asyncio if contender else None,
                **more,
                **figures,
            }
        )


class Pair:
    """Two processes of one contender, with a link from the first to the second, and one back if both ask."""

    def __init__(self, run: Run, contender: Contender, size: int, *, both_ways: bool) -> None:
        self.contender = contender
        self.name = contender.name
        self._links: list[Link] = []
        self._team: Team | None = None
        try:
            for _ in range(1 + both_ways):
                self._links.append(contender.link(run.setting(size)))
            there, *back = self._links
            roles = [
                [there.open_sender, *(link.open_receiver for link in back)],
                [there.open_receiver, *(link.open_sender for link in back)],
            ]
            start = contender.team
            self._team = Team(roles, run.cpus) if start is None else start(roles, run.scratch, run.cpus)
        except BaseException:
            self.close()
            raise

    def wait_ready(self) -> None:
        assert self._team is not None
        self._team.wait_ready()

    def ask(self, first: Task, second: Task) -> list[Any]:
        """One task for each side; their results."""
        assert self._team is not None
        return self._team.play(first, second)

    def dismiss(self) -> None:
        if self._team is not None:
            self._team.dismiss()

    def close(self) -> None:
        if self._team is not None:
            self._team.close()
        for link in self._links:
            with suppress(OSError):
                link.close()


@contextmanager
def pairs(run: Run, mode: str, size: int, where: str, *, both_ways: bool) -> Iterator[list[Pair]]:
    """A pair of fresh processes for every contender of the mode. They start side by side, and end whatever happens."""
    started: list[Pair] = []
    run.say(f"{where}: starting")
    try:
        for contender in run.playing(mode):
            try:
                started.append(Pair(run, contender, size, both_ways=both_ways))
            except Exception as error:
                run.failed(contender.name, where, error)
        ready = []
        for pair in started:
            try:
                pair.wait_ready()
                ready.append(pair)
            except ContenderFailed as error:
                run.failed(pair.name, where, error)
        yield ready
    finally:
        for pair in started:
            pair.dismiss()
        for pair in started:
            pair.close()


def figures(samples: Sequence[float]) -> Row:
    """The summary of a series of times in nanoseconds."""
    values = np.asarray(samples, np.float64)
    p50, p95, p99 = np.percentile(values, (50, 95, 99))
    found = {"min": values.min(), "p50": p50, "p95": p95, "p99": p99, "max": values.max(), "mean": values.mean()}
    return {"count": len(values), **{name: round(float(value), 1) for name, value in found.items()}}
