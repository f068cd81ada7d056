"""dora: one dataflow with four nodes for each caller, under one daemon; the caller is a node, as a microphone is.

A dataflow each would be more of its own for each caller, but ``dora run`` has a daemon for each dataflow, and so would
every caller: this is the way that costs dora least.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

from bench.capacity.callers import LAST_SECS, Caller, Plan, Row
from bench.capacity.host import collect_as_usual
from bench.capacity.work import STEPS, chunk
from bench.peers.dora import DoraTeam
from bench.workers import Opener

_QUEUE_SIZE = 100
"""Messages; dora drops the oldest of more."""
_SECS_A_CALLER = 3.0
"""To start his four processes beside all others."""


class DoraCaller:
    """The caller's end of a line, in a node of its own."""

    def __init__(self) -> None:
        import pyarrow
        from dora import Node

        self._node = Node()
        self._audio = pyarrow.array(chunk())

    def feed(self, plan: Plan, first: int) -> list[Row]:
        """A try; what this caller has noted."""
        collect_as_usual()
        caller, number = Caller(plan, first), 0
        give_up_ns = caller.due_ns(caller.count) + int(LAST_SECS * 1e9)
        while not caller.gives_up():
            until_ns = caller.due_ns(number) if number < caller.count else give_up_ns
            if (left_ns := until_ns - time.monotonic_ns()) > 0:
                heard = self._next(left_ns / 1e9)
                if heard is not None and caller.heard(heard):
                    break
            elif number < caller.count:
                self._send(number)
                number = caller.sent = number + 1
            else:
                break  # what is missing is counted
        return [caller.result()]

    def first_output_ns(self) -> int:
        """Sends a chunk; when it came out."""
        self._send(0)
        while self._next(None) is None:
            pass
        return time.monotonic_ns()

    def close(self) -> None:
        del self._node

    def _send(self, number: int) -> None:
        self._node.send_output("audio", self._audio, {"number": number})

    def _next(self, secs: float | None) -> int | None:
        event: Any = self._node.next(timeout=secs)
        return int(event["metadata"]["number"]) if event is not None and event["type"] == "INPUT" else None


class DoraCalls(DoraTeam):
    """Callers, each with its nodes. Messages that settle their way first are part of a try's warm-up."""

    # Of shared memory each node has what dora gives it: audio is small.
    environment: ClassVar[dict[str, str]] = {}

    def __init__(self, callers: int, scratch: Path) -> None:
        self.start_secs += _SECS_A_CALLER * callers
        roles: Sequence[Sequence[Opener]] = [[DoraCaller] for _ in range(callers)]
        super().__init__(roles, scratch)

    def wait_ready(self) -> None:
        self._gather()

    def dataflow(self, address: str, nodes: int) -> str:
        lines = ["nodes:"]
        for caller in range(nodes):
            names = [f"{name}{caller}" for name in ("caller", *STEPS, "caller")]
            args = [
                f"bench.peers.dora_node {address} {caller}",
                *(f"bench.capacity.dora_node {name}" for name in STEPS),
            ]
            sources = dict(pairwise(reversed(names)))
            for name, arg in zip(names, args, strict=False):
                lines += [
                    f"  - id: {name}",
                    f"    path: {sys.executable}",
                    f"    args: -m {arg}",
                    "    outputs: [audio]",
                    "    inputs:",
                    "      in:",
                    f"        source: {sources[name]}/audio",
                    f"        queue_size: {_QUEUE_SIZE}",
                ]
        return "\n".join(lines) + "\n"


def open_calls(scratch: Path, callers: int) -> DoraCalls:
    return DoraCalls(callers, scratch)
