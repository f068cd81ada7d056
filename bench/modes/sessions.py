"""Do ten sessions at once pass on what a single one does, as fast, and does one that crashes touch the others?

Three nodes in a row, under one executor with all others, get 100 ms of 48 kHz stereo audio ten times a second. The
sessions get theirs at moments of their own. A hop is the time from one node having its input to the next having it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

from bench.run import Row, Run, figures
from bench.workers import ContenderFailed, Team

MODE = "sessions"
SESSIONS = 10
NODES = 3
HZ = 10
SIZE = 38_400
_WARM_UP = 5


def seen(streams: Sequence[Row], chosen: Callable[[int], bool] = lambda sent_ns: True) -> Row:
    """Figures of the messages that were sent at chosen times."""
    messages = lost = 0
    hop_ns: list[float] = []
    for stream in streams:
        numbers = [number for number, sent_ns in enumerate(stream["sent_ns"]) if chosen(sent_ns)]
        missing = set(numbers).difference(stream["came"])
        messages += len(numbers)
        lost += len(missing)
        if len(stream["came"]) == len(stream["sent_ns"]):  # else a node's times do not say which message's they are
            for before, after in pairwise(stream["at_ns"]):
                hop_ns += [after[number] - before[number] for number in numbers]
    if not hop_ns:
        raise ContenderFailed(f"{lost} of {messages} messages lost")
    return {"sessions": len(streams), "messages": messages, "lost": lost, **figures(hop_ns)}


def measure(run: Run) -> None:
    from bench.peers.remotemedia_sessions import SessionsEnd

    if not run.has("remotemedia"):
        return
    secs = 2 if run.quick else 60 if run.alone else 15
    kill_secs = 2 if run.quick else 10
    team = Team([[partial(SessionsEnd, NODES)]], [None])
    team.task_secs = secs

    def add(what: str, found: Row, **more: object) -> None:
        run.add(MODE, SIZE, None, what, found, hz=HZ, family="remotemedia", **more)

    def feed(name: str, how: Callable[..., Row], secs: float) -> Row:
        run.say(f"sessions: {name}, {secs:g} s")
        found: Row = team.play((how, (SIZE, HZ, round(secs * HZ))))[0]
        for error in {stream["error"] for stream in found["streams"]} - {None}:
            run.failed("remotemedia", f"sessions, {name}", error)
        return found

    try:
        team.wait_ready()
        for sessions, name in ((1, "one session"), (SESSIONS, f"{SESSIONS} sessions")):
            run.say(f"sessions: starting {sessions}")
            team.play((SessionsEnd.grow, (sessions,)))
            feed(f"{name}, to warm up", SessionsEnd.feed, _WARM_UP / HZ)
            found = feed(name, SessionsEnd.feed, secs)
            cpu_pct = 100 * found["cpu_ns"] / 1e9 / found["secs"] / (sessions * NODES)
            memory_mb = [round(mb, 1) for mb in found["memory_mb"]]
            more = {"secs": secs, "cpu_pct": round(cpu_pct, 3), "memory_mb": memory_mb}
            add(name, seen(found["streams"]), **more)
        found = feed("a node is killed", SessionsEnd.feed_and_kill, kill_secs)
        killed_ns = found["killed_ns"]
        add("others, before a kill", seen(found["streams"], lambda ns: ns < killed_ns), secs=kill_secs / 2)
        add("others, after it", seen(found["streams"], lambda ns: ns >= killed_ns), secs=kill_secs / 2)
    except ContenderFailed as error:
        run.failed("remotemedia", MODE, error)
    except BaseException:
        team.kill()  # not after a minute
        raise
    finally:
        team.close()
