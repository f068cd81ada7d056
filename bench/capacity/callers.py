"""Callers: each sends a chunk every 20 ms, at times fixed beforehand, and notes when each of them comes out.

Lateness is from when a chunk was due to be sent, not from when it was sent: who holds up his caller is late, too.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from bench.capacity.work import CHUNK_MS

Row = dict[str, Any]

PERIOD_NS = CHUNK_MS * 1_000_000
LAST_SECS = 2.0
"""How long a caller waits for the rest after its last chunk."""
# A contender that is so far behind does not catch up.
_HOPELESS_NS = 1_000_000_000


@dataclass(frozen=True)
class Plan:
    """One try: when it begins, how many callers there are in all of its processes, and what each sends."""

    begin_ns: int
    callers: int
    warm_chunks: int
    chunks: int
    """Those that count, after those that warm up."""

    @property
    def warm_ns(self) -> int:
        """When the chunks begin that count."""
        return self.begin_ns + self.warm_chunks * PERIOD_NS

    @property
    def end_ns(self) -> int:
        return self.warm_ns + self.chunks * PERIOD_NS


class Line(Protocol):
    """A caller's connection to a contender's pipeline, on an event loop."""

    async def send(self, number: int) -> None:
        """Sends a chunk that bears this number."""

    async def listen(self, heard: Callable[[int], None]) -> None:
        """Gives the number of each chunk that comes out, as it comes, until cancelled."""

    async def hang_up(self) -> None:
        """Ends the pipeline and releases what it had. Nothing drains."""


class Caller:
    """Notes for each chunk when it came.

    Args:
        index: which of the plan's callers; each sends at a moment of its own, spread over the 20 ms.
    """

    def __init__(self, plan: Plan, index: int) -> None:
        self._first_ns = plan.begin_ns + PERIOD_NS * index // plan.callers
        self._warm = plan.warm_chunks
        self.count = plan.warm_chunks + plan.chunks
        self.sent = self.came = 0
        self.hopeless = False
        self._in_order = True
        self._next = 0
        self._at_ns = [0] * self.count

    def due_ns(self, number: int) -> int:
        return self._first_ns + PERIOD_NS * number

    def heard(self, number: int) -> bool:
        """A chunk has come out; whether it was the last one."""
        self._at_ns[number] = time.monotonic_ns()
        self._in_order &= number == self._next
        self._next = number + 1
        self.came += 1
        return self._next == self.count

    def gives_up(self) -> bool:
        """Whether the next chunk to come out is so late that this try has failed."""
        if time.monotonic_ns() - self.due_ns(self._next) > _HOPELESS_NS:
            self.hopeless = True
        return self.hopeless

    def result(self) -> Row:
        """All that were sent and came; of those that count, how many are missing, and how late the others were."""
        counted = list(enumerate(self._at_ns))[self._warm :]
        late_ns = [at_ns - self.due_ns(number) for number, at_ns in counted if at_ns]
        return {
            "sent": self.sent,
            "came": self.came,
            "lost": len(counted) - len(late_ns),
            "in_order": self._in_order,
            "hopeless": self.hopeless,
            "late_ns": late_ns,
        }


class _Hopeless(Exception):
    """Ends a caller's tasks."""


async def call(line: Line, plan: Plan, index: int) -> Row:
    """One caller's part of a try."""
    caller, complete = Caller(plan, index), asyncio.Event()

    def heard(number: int) -> None:
        if caller.heard(number):
            complete.set()

    try:
        async with asyncio.TaskGroup() as group:
            listening = await _listening(group, line, heard)
            await _speak(line.send, caller)
            try:
                async with asyncio.timeout(LAST_SECS):
                    await complete.wait()
            except TimeoutError:
                pass  # what is missing is counted
            listening.cancel()
    except* _Hopeless:
        pass
    return caller.result()


async def _speak(send: Callable[[int], Awaitable[None]], caller: Caller) -> None:
    for number in range(caller.count):
        left_ns = caller.due_ns(number) - time.monotonic_ns()
        if left_ns > 0:
            # Timers of event loops count milliseconds: rounded up, a chunk is not sent before it is due.
            await asyncio.sleep(math.ceil(left_ns / 1e6) / 1e3)
        if caller.gives_up():
            raise _Hopeless
        await send(number)
        caller.sent += 1


async def first_output_ns(line: Line) -> int:
    """Sends one chunk at once; when it came out."""
    came: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as group:
        listening = await _listening(group, line, lambda number: came.set_result(time.monotonic_ns()))
        await line.send(0)
        at_ns = await came
        listening.cancel()
    return at_ns


async def _listening(group: asyncio.TaskGroup, line: Line, heard: Callable[[int], None]) -> asyncio.Task[None]:
    task = group.create_task(line.listen(heard))
    await asyncio.sleep(0)  # it has begun
    return task
