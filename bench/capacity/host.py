"""A worker's process with callers of one contender, on one event loop."""

from __future__ import annotations

import asyncio
import gc
import time
from importlib import import_module
from importlib.util import find_spec

from bench.capacity.callers import Line, Plan, Row, call, first_output_ns


class Host:
    """Opens a line for each of ``callers``; a contender says how."""

    def __init__(self, callers: int) -> None:
        self._opened = 0
        self._lines: list[Line] = []
        # For everybody, where it is installed: ours uses it in its nodes anyway.
        factory = import_module("uvloop").new_event_loop if find_spec("uvloop") else None
        self._runner = asyncio.Runner(loop_factory=factory)
        try:
            self._runner.run(self._open(callers))
        except BaseException:
            self.close()
            raise

    def feed(self, plan: Plan, first: int) -> list[Row]:
        """A try: the callers of this process are the plan's from ``first`` on; what each has noted."""
        collect_as_usual()
        return self._runner.run(self._feed(plan, first))

    def start_ns(self) -> int:
        """How long until one more caller hears its first chunk. It hangs up."""
        collect_as_usual()
        return self._runner.run(self._start_ns())

    def first_output_ns(self) -> int:
        """Sends a chunk for the first caller; when it came out."""
        return self._runner.run(first_output_ns(self._lines[0]))

    def close(self) -> None:
        try:
            self._runner.run(self._close())
        finally:
            self._runner.close()
        self._lines.clear()
        gc.unfreeze()
        gc.collect()  # else soxr finds its objects in cycles when the process ends, and says that they leaked

    async def set_up(self) -> None:
        """What all lines share."""

    async def line(self, number: int) -> Line:
        """A new line, with a number that no other one has; chunks may be sent at once."""
        raise NotImplementedError

    async def tear_down(self) -> None:
        """Whatever is left, when the lines are gone."""

    async def _open(self, callers: int) -> None:
        await self.set_up()
        for _ in range(callers):
            self._lines.append(await self._line())

    async def _line(self) -> Line:
        self._opened += 1
        return await self.line(self._opened)

    async def _feed(self, plan: Plan, first: int) -> list[Row]:
        return await asyncio.gather(*(call(line, plan, first + n) for n, line in enumerate(self._lines)))

    async def _start_ns(self) -> int:
        begin_ns = time.monotonic_ns()
        line = await self._line()
        try:
            return await first_output_ns(line) - begin_ns
        finally:
            await line.hang_up()

    async def _close(self) -> None:
        try:
            await asyncio.gather(*(line.hang_up() for line in self._lines))
        finally:
            await self.tear_down()


def collect_as_usual() -> None:
    """Workers of the other benchmarks collect no garbage; servers do, and it is a part of how late they are."""
    gc.unfreeze()
    gc.enable()
