"""What does a pipeline of ours cost while nothing happens, and while little does?

Context switches and CPU time of its node processes: idle for two seconds, then with 100 messages a second.
"""

from __future__ import annotations

from functools import partial

from bench.modes.pipeline import NODES
from bench.run import Run
from bench.workers import ContenderFailed, Team

MODE = "idle"
_SIZE = 3_840_000
_HZ = 100


def measure(run: Run) -> None:
    from bench.peers.remotemedia_session import SessionEnd

    if not run.has("remotemedia"):
        return
    load_secs = 1.0 if run.quick else 5.0
    run.say("idle: a pipeline at rest, then with 100 messages a second")
    team = Team([[partial(SessionEnd, NODES, False)]], [None])
    try:
        team.wait_ready()
        idle = team.play((SessionEnd.observe_idle, (2.0,)))[0]
        load = team.play((SessionEnd.observe_load, (_SIZE, _HZ, load_secs)))[0]
    except ContenderFailed as error:
        run.failed("remotemedia", "idle", error)
        return
    finally:
        team.close()
    for what, size, seen in (("idle", 0, idle), (f"{_HZ} messages/s", _SIZE, load)):
        cpu_pct = 100 * seen["cpu_ns"] / 1e9 / seen["secs"] / seen["nodes"]
        found = {"count": seen["nodes"], "switches": seen["switches"], "cpu_pct": round(cpu_pct, 3)}
        run.add(MODE, size, None, what, found, family="remotemedia", secs=round(seen["secs"], 2))
