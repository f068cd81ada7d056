"""How long until a session of five nodes runs, and what of it is Python's and numpy's?

Five interpreters that import numpy are what five processes need at least: a node has both. They are started side by
side, as the nodes are, and take turns with the session. The steps of its nodes come from the executor's events; the
ones before are those of interpreters that end at once, without tidying up.
"""

from __future__ import annotations

from functools import partial

from bench.run import Run, figures
from bench.workers import ContenderFailed, Team

MODE = "start"
NODES = 5
_END = "import os; os._exit(0)"
INTERPRETERS = {
    "import numpy": "import numpy",
    "interpreter": _END,
    "numpy": f"import numpy; {_END}",
    "asyncio": f"import numpy, asyncio; {_END}",
}


def measure(run: Run) -> None:
    from bench.peers.remotemedia_start import StartEnd

    if not run.has("remotemedia"):
        return
    turns = 3 if run.quick else 10
    taken: dict[str, list[float]] = {}
    team = Team([[partial(StartEnd, NODES)]], [None])
    try:
        team.wait_ready()
        for turn in range(turns + 1):
            run.say(f"start of {NODES} processes, turn {turn} of {turns}")
            found = {name: team.play((StartEnd.interpreters, (code,)))[0] for name, code in INTERPRETERS.items()}
            found |= team.play((StartEnd.session, ()))[0]
            if turn:  # the first one finds the disk's cache as it happens to be
                for name, ns in found.items():
                    taken.setdefault(name, []).append(ns)
    except ContenderFailed as error:
        run.failed("remotemedia", MODE, error)
        return
    finally:
        team.close()
    for name, times in taken.items():
        family = "limit" if name in INTERPRETERS else "remotemedia"
        run.add(MODE, 0, None, name, figures(times), family=family)
