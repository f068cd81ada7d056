"""Ours: sessions, a process per node; and the same nodes called one after the other in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise

import bench.capacity.nodes  # noqa: F401  (registers them)
from bench.capacity.callers import Line
from bench.capacity.host import Host
from bench.capacity.work import IN_RATE, STEPS, chunk, load_libraries
from bench.peers.remotemedia_session import CONFIG
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import (
    MultiprocessConfig,
    MultiprocessExecutor,
    MultiprocessNode,
    Pipeline,
    Session,
    lookup_node,
)


def front_end() -> Pipeline:
    pipeline = Pipeline()
    for name in STEPS:
        pipeline.add_node(f"capacity-{name}", name)
    for before, after in pairwise(STEPS):
        pipeline.connect(before, "out", after, "in")
    return pipeline


class SessionsHost(Host):
    """A session for each caller, all under one executor, as a server has them. ``config`` is for variants."""

    def __init__(self, callers: int, config: MultiprocessConfig = CONFIG) -> None:
        self._executor = MultiprocessExecutor(config)
        super().__init__(callers)

    async def line(self, number: int) -> Line:
        return _SessionLine(self._executor, await self._executor.create_session(f"caller{number}", front_end()))

    async def tear_down(self) -> None:
        await self._executor.shutdown(abort=True)


class _SessionLine:
    def __init__(self, executor: MultiprocessExecutor, session: Session) -> None:
        self._executor, self._session = executor, session
        self._samples = chunk()

    async def send(self, number: int) -> None:
        await self._session.send(STEPS[0], RuntimeData.audio(self._samples, IN_RATE, timestamp=float(number)))

    async def listen(self, heard: Callable[[int], None]) -> None:
        while (data := await self._session.receive(STEPS[-1])) is not None:
            heard(int(data.timestamp))

    async def hang_up(self) -> None:
        await self._executor.terminate_session(self._session.session_id, abort=True)


class DirectHost(Host):
    """The nodes of all callers in this process: no ring, no session, an ``await`` from node to node."""

    async def set_up(self) -> None:
        load_libraries()

    async def line(self, number: int) -> Line:
        nodes = [lookup_node(f"capacity-{name}")(name, {}) for name in STEPS]
        for node in nodes:
            await node.initialize()
        return _DirectLine(nodes)


class _DirectLine:
    def __init__(self, nodes: list[MultiprocessNode]) -> None:
        self._nodes = nodes
        self._samples = chunk()
        self._heard: Callable[[int], None] | None = None

    async def send(self, number: int) -> None:
        data = RuntimeData.audio(self._samples, IN_RATE, timestamp=float(number))
        for node in self._nodes:
            # All of ours are coroutines that return a message.
            data = await node.process(data)  # type: ignore[misc]
        assert self._heard is not None
        self._heard(int(data.timestamp))

    async def listen(self, heard: Callable[[int], None]) -> None:
        self._heard = heard
        await asyncio.Event().wait()

    async def hang_up(self) -> None:
        for node in self._nodes:
            await node.cleanup()


class CallersAlone(Host):
    """Nobody works: what comes is what was sent. The cost of the callers themselves, which all of the above have."""

    async def line(self, number: int) -> Line:
        return _DirectLine([])
