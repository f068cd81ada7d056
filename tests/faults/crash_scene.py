"""What happens on the stage of the crash matrix: a graph, of which one node fails where its scenario says."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import crash_matrix as matrix
from crash_matrix import FULL, LOADING, PROCESSING, RECEIVING, STARTING, STOPPING

from remotemedia.core.multiprocess.session.by_node import complete, connect, launch
from remotemedia.core.multiprocessing import (
    MultiprocessConfig,
    NodeProcessError,
    NodeStatus,
    Pipeline,
    ProcessCrashError,
    Session,
)

HERE = Path(__file__).parent
CAPACITY = 2
EDGES = (
    ("source", "fan-out"),
    ("fan-out", "middle"),
    ("fan-out", "fan-in"),
    ("middle", "fan-in"),
    ("fan-in", "sink"),
)
WAYS = 2
"""How often a message comes to the sink."""
NEXT = dict(reversed(EDGES))
"""Who is the first to get a node's output."""
ROOM_BYTES = 60_000_000
TOO_LITTLE_BYTES = 5_000_000
CONFIG = {"channel_capacity": CAPACITY, "shm_segment_size": 1 << 20, "extra_paths": (str(HERE),)}
MORE_CONFIG = {
    matrix.Late: {"init_timeout_secs": 0.2},
    matrix.Stuck: {"cleanup_grace_period_secs": 0.2},
    matrix.Corrupted: {"cleanup_grace_period_secs": 0.2},
}

SITECUSTOMIZE = """
import sys
if {node_id!r} in sys.orig_argv:
    sys.path.append({here!r})
    import crash_faults
    crash_faults.strike({fault!r}, {notice!r})
"""
"""What an interpreter runs before anything else, if it finds it."""


def neighbours(node_id: str) -> set[str]:
    """A node and those that it shares a channel with."""
    return {node for edge in EDGES if node_id in edge for node in edge}


class Scene:
    """source → fan-out → middle → fan-in → sink, and fan-out → fan-in; beside them a node where calls are pending."""

    def __init__(self, stage: Any, scenario: Any, folder: Path) -> None:
        self.px, self.stage, self.scenario = stage.px, stage, scenario
        self.victim: str = scenario.position
        self.notice = folder / "notice"
        self.pids: dict[str, int] = {}
        self.calls: list[asyncio.Task[Any]] = []
        self.crashes: list[tuple[int, ProcessCrashError]] = []
        self.failures: list[NodeProcessError] = []
        self._killed_ns: int | None = None
        config = MultiprocessConfig(**CONFIG, **MORE_CONFIG.get(type(scenario.ending), {}))
        self.session = Session("scenario", Pipeline() if self.is_late else self._pipeline(), config, stage.executor)
        self.session.on_process_crash(lambda error: self.crashes.append((time.monotonic_ns(), error)))
        self.session.on_error(self.failures.append)

    def _pipeline(self) -> Pipeline:
        pipeline = Pipeline()
        for node_id in (*matrix.POSITIONS, "quiet") if self.has_calls else matrix.POSITIONS:
            node_type, config, limit_bytes = "crash-node", {}, None
            if node_id == self.victim:
                config = {"fault": self.deed, "at": self.place, "notice": str(self.notice)}
                if self.scenario.fault == "memory limit":
                    limit_bytes = (
                        TOO_LITTLE_BYTES if self.scenario.phase == STARTING else self.stage.private_bytes + ROOM_BYTES
                    )
                elif self.scenario.fault == "exception in import":
                    node_type = "crash-import"
            pipeline.add_node(node_type, node_id, config, memory_limit_bytes=limit_bytes)
        for one, other in EDGES:
            pipeline.connect(one, "output", other, "input").add_input(other)
        return pipeline

    @property
    def has_calls(self) -> bool:
        """Whether calls are pending when it happens, and are to raise."""
        return self.scenario.phase in matrix.RUNNING and isinstance(self.scenario.ending, matrix.Crash)

    @property
    def is_late(self) -> bool:
        return isinstance(self.scenario.ending, matrix.Late)

    @property
    def deed(self) -> str:
        """What of crash_faults the victim does."""
        if self.scenario.fault == "memory limit" and self.place == "signal":
            return "memory limit in C++"
        return "exception" if self.scenario.fault.startswith("exception") else self.scenario.fault

    @property
    def place(self) -> str:
        """Where it does it."""
        places = {STARTING: "sitecustomize", LOADING: "initialize", PROCESSING: "process", STOPPING: "cleanup"}
        return "init" if "__init__" in self.scenario.fault else places.get(self.scenario.phase, "signal")

    def sitecustomize(self) -> str:
        return SITECUSTOMIZE.format(node_id=self.victim, here=str(HERE), fault=self.deed, notice=str(self.notice))

    # --- getting there ---

    async def initialize(self) -> BaseException | None:
        """What initialize() raises. A victim of the loading or starting phase has its fault on the way."""
        if self.is_late:
            await self._launch()
        initialize = partial(complete, self.session) if self.is_late else self.session.initialize
        begun = asyncio.create_task(initialize(lambda progress: self.pids.update(self.session.pids)))
        if self.scenario.phase in (STARTING, LOADING):
            await self._kill_once_there()
        (error,) = await asyncio.gather(begun, return_exceptions=True)
        return error

    async def _launch(self) -> None:
        """Node by node, as ``executor.execute_node`` does: init_timeout_secs begins when the victim is there."""
        pipeline = self._pipeline()
        for node in pipeline.nodes:
            await launch(self.session, node)
        for one, other in EDGES:
            connect(self.session, one, "output", other, "input")
        self.pids = self.session.pids
        await self.px.until(self.struck)

    async def reach_phase(self) -> None:
        """From start() to where the fault is to strike."""
        if self.scenario.phase == RECEIVING:
            await self.flows()
        if self.scenario.phase == FULL:
            await self._fill()
        else:
            await self.px.until(self._is_at_rest)
        if self.has_calls:
            await self._pend()

    def _is_at_rest(self) -> bool:
        fields = self.px.stat(self.pids[self.victim])
        return self._report(self.victim).state is NodeStatus.READY and fields is not None and fields[0] == "S"

    def _report(self, node_id: str) -> Any:
        return self.session.get_status().nodes[node_id]

    async def _fill(self) -> None:
        """Until the victim waits for room: whoever comes after it holds what it has. The sink's output is not read."""
        if self.victim in NEXT:
            await self._hold(NEXT[self.victim])
        for _ in range(CAPACITY + 1):
            await self.session.send("source", self.px.text("filler"))
        await self.px.until(lambda: self._waits_for_room(self.victim))

    def _waits_for_room(self, publisher: str) -> bool:
        return any(s.publisher == publisher and s.blocked_now_secs > 0 for s in self.session.channel_stats())

    async def _hold(self, node_id: str) -> None:
        await self.session.send(node_id, self.px.text("hold"))
        await self.px.until(lambda: self._report(node_id).state is NodeStatus.PROCESSING)

    async def _pend(self) -> None:
        """Has a call of each kind pending."""

        async def keep_sending() -> None:
            while True:
                await self.session.send("quiet", self.px.text("x"))

        await self._hold("quiet")
        waiting = [keep_sending(), self.session.receive("quiet"), self.px.collect(self.session.outputs("quiet"))]
        self.calls = [asyncio.create_task(call) for call in waiting]
        await self.px.until(lambda: self._waits_for_room("session"))

    # --- the fault ---

    async def strike(self) -> None:
        """In a pipeline that runs."""
        if self.scenario.phase == PROCESSING:
            # It would be the first to look at the memory that it spoilt.
            order = "strike and hold" if isinstance(self.scenario.ending, matrix.Corrupted) else "strike"
            await self.session.send(self.victim, self.px.text(order))
            await self._kill_once_there()
        elif self.scenario.fault in matrix.FROM_OUTSIDE:
            await self._kill()
        else:
            os.kill(self.pids[self.victim], signal.SIGUSR1)

    async def stop(self) -> None:
        """With the fault in cleanup(), when it is one of the stopping phase."""
        stopping = asyncio.create_task(self.session.stop())
        if self.scenario.phase == STOPPING:
            await self._kill_once_there()
        await stopping

    async def _kill_once_there(self) -> None:
        if self.scenario.fault in matrix.FROM_OUTSIDE:
            await self.px.until(self.struck)
            await self._kill()

    async def _kill(self) -> None:
        pid = self.pids[self.victim]
        if self.scenario.fault.startswith("SIGSTOP"):
            os.kill(pid, signal.SIGSTOP)
            await self.px.until(lambda: self.px.stopped(pid))
        self._killed_ns = time.monotonic_ns()
        os.kill(pid, signal.SIGKILL)

    def struck(self) -> bool:
        """Whether the victim says that it is there."""
        return self.notice.exists() and self.notice.stat().st_size == 8

    @property
    def detection_ms(self) -> float:
        """From the death, as the killer or the dying saw it, to on_process_crash."""
        died_ns = self._killed_ns or int.from_bytes(self.notice.read_bytes())
        return (self.crashes[0][0] - died_ns) / 1e6

    # --- afterwards ---

    async def flows(self) -> None:
        """A message goes from the source to the sink, on all ways."""
        await self.session.send("source", self.px.text("through"))
        came = 0
        while came < WAYS:
            data = await self.session.receive("sink")
            assert data is not None
            came += data.payload == "through"

    def living(self) -> list[int]:
        """All that lives in the process groups of the nodes."""
        leaders = {str(pid) for pid in self.pids.values()}
        folders = [folder for folder in Path("/proc").iterdir() if folder.name.isdigit()]
        found = [(folder.name, self.px.stat(folder.name)) for folder in folders]
        return [int(pid) for pid, fields in found if fields and fields[2] in leaders and fields[0] not in "ZX"]
