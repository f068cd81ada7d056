"""Which fault strikes in which phase at which place of the graph, and how that has to end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

STARTING, LOADING, IDLE, PROCESSING, FULL, RECEIVING, STOPPING = PHASES = (
    "starting",  # the interpreter: before remotemedia, and before the orchestrator has heard of it
    "loading",
    "idle",  # never had a message
    "processing",
    "blocked on a full channel",
    "blocked in receive",  # has had some
    "stopping",
)
RUNNING = (IDLE, PROCESSING, FULL, RECEIVING)
POSITIONS = ("source", "fan-out", "middle", "fan-in", "sink")


# --- how it ends. While stopping, a crash is an ending that is logged, and Refused or Failed a complaint in the log.


@dataclass(frozen=True)
class Crash:
    """ProcessCrashError for whoever calls or waits, with ``says`` in its text; or what is said of another crash."""

    code: int
    signal: int | None = None
    says: str = ""
    other: Crash | None = None

    def ways(self) -> dict[tuple[int, int | None], str]:
        """What may be said, by exit code and signal."""
        others = {} if self.other is None else self.other.ways()
        return {(self.code, self.signal): self.says, **others}


@dataclass(frozen=True)
class Refused:
    """NodeInitializationError."""

    says: str


@dataclass(frozen=True)
class Failed:
    """NodeProcessError for one message; the pipeline goes on."""

    says: str


@dataclass(frozen=True)
class Complaint:
    """A text in the node's log; the pipeline stops as usual."""

    says: str


@dataclass(frozen=True)
class Late:
    """InitializationTimeout with the node and its state."""


@dataclass(frozen=True)
class Stuck:
    """The others are as before; ``stop`` ends the node when its grace is over."""


@dataclass(frozen=True)
class Corrupted:
    """Whoever looks at that memory says so and reads nothing through it: ChannelCorruptedError, or exit code 4."""


@dataclass(frozen=True)
class Nothing:
    """Everything goes on."""


Ending: TypeAlias = Crash | Refused | Failed | Complaint | Late | Stuck | Corrupted | Nothing


def always(ending: Ending) -> dict[str, Ending]:
    return dict.fromkeys(PHASES, ending)


WEIGHTS = "ValueError: no such weights"
LIMIT = "memory limit of "
DESERTED = Crash(137, 9, "it had closed its control socket")

ENDINGS: dict[str, dict[str, Ending]] = {
    "SIGKILL": always(Crash(137, 9)),
    "SIGSTOP, then SIGKILL": always(Crash(137, 9)),
    "SIGSEGV": always(Crash(139, 11)),
    "SIGABRT": always(Crash(134, 6)),
    "os._exit": always(Crash(7)),
    "C++ exception": always(Crash(134, 6, "what():  no such tensor")),
    "grandchild left": always(Crash(7)),
    "fork": always(Nothing()),
    # Without remotemedia there is nothing yet that closes its control socket on exec.
    "exec": {**always(DESERTED), STARTING: Late(), STOPPING: Stuck()},
    "endless loop with the GIL": {**always(Stuck()), STARTING: Late(), LOADING: Late()},
    # Where no code of the node's own is on the stack to catch a MemoryError, it is a library that does without.
    "memory limit": {
        **always(Crash(134, 6, LIMIT)),
        STARTING: Refused(LIMIT),
        LOADING: Refused(LIMIT),
        PROCESSING: Failed(LIMIT),
        STOPPING: Complaint("MemoryError"),
    },
    "closed descriptors": {
        **always(Crash(134, 6, other=Crash(1))),  # uvloop aborts, asyncio raises
        STARTING: replace(DESERTED, other=Crash(2, None, "there is no control socket")),
    },
    "scribbled memory": dict.fromkeys((*RUNNING, STOPPING), Corrupted()),
    "exception in import": {LOADING: Refused("ImportError: no such library")},
    "exception in __init__": {LOADING: Refused(WEIGHTS)},
    "exception in initialize": {LOADING: Refused(WEIGHTS)},
    "exception in process": {PROCESSING: Failed(WEIGHTS)},
    "exception in cleanup": {STOPPING: Complaint(WEIGHTS)},
}
"""By fault and phase. What is not here makes no sense: see WHY_NOT."""

WHY_NOT = {
    "scribbled memory": "a node that is not connected has no shared memory",
    "exception in import": "that is a part of loading",
    "exception in __init__": "that is a part of loading",
    "exception in initialize": "that is a part of loading",
    "exception in process": "that is processing",
    "exception in cleanup": "that is stopping",
}

FROM_OUTSIDE = ("SIGKILL", "SIGSTOP, then SIGKILL")
"""Who is to die of these is killed, wherever it is."""


@dataclass(frozen=True)
class Scenario:
    fault: str
    phase: str
    position: str

    @property
    def ending(self) -> Ending:
        return ENDINGS[self.fault][self.phase]

    @property
    def pairs(self) -> set[tuple[str, str]]:
        return {(self.fault, self.phase), (self.fault, self.position), (self.phase, self.position)}

    def __str__(self) -> str:
        return f"{self.fault}, {self.phase}, {self.position}"


def everything() -> list[Scenario]:
    return [Scenario(f, p, x) for f, phases in ENDINGS.items() for p in phases for x in POSITIONS]


def sample() -> list[Scenario]:
    """Every pair of a fault, a phase and a position; every position of what has one phase, or of what depends on it."""
    faults = list(ENDINGS)
    whole = {("SIGKILL", FULL), ("SIGKILL", PROCESSING), ("scribbled memory", PROCESSING)}

    def chosen(s: Scenario) -> bool:
        diagonal = faults.index(s.fault) + PHASES.index(s.phase) + POSITIONS.index(s.position)
        return diagonal % len(POSITIONS) == 0 or len(ENDINGS[s.fault]) == 1 or (s.fault, s.phase) in whole

    return list(filter(chosen, everything()))
