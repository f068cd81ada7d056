"""10 MB from node to node: how long a hop takes, alone and on a machine that has more to do than it can."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.multiprocessing import Pipeline, Session

pytestmark = [pytest.mark.usefixtures("leak_check"), pytest.mark.watchdog(300)]

ALONE = pytest.mark.promise(
    "SC-003",
    "10 MB that need not be copied are in the next node less than 1 ms after a node gave them on, at p95",
    "10 MB through five nodes 50 times a second, checked in 64 places in each: passed on, loaned anew, written in "
    "place, to three nodes at once; and copied",
)
OVERLOADED = pytest.mark.promise(
    "SC-003",
    "the same on a machine that has more to do than it can",
    "the same beside a process per core that computes and one that copies memory. A byte through a pipe between two "
    "bare processes shows how soon the kernel lets run what it has woken",
)

SIZE_BYTES = 10_000_000
HZ = 50
WARM_UP = 5

COMPUTES = "say('on')\nwhile True:\n    sum(range(10000))"
COPIES_MEMORY = """
a, b = bytearray(64_000_000), bytes(64_000_000)
say("on")
while True:
    a[:] = b
"""
BARE_HOP = """
import struct, time

def told():  # a copy of this process, and the pipe it hears from
    here, there = os.pipe()
    if os.fork():
        return there
    ctypes.CDLL(None).prctl(1, 9)  # dies with whoever started it
    for _ in range(count):
        (left_ns,) = struct.unpack("q", os.read(here, 8))
        say(time.monotonic_ns() - left_ns)
    os._exit(0)

count = int(sys.argv[1])
there = told()
for _ in range(count):
    time.sleep(1 / 50)
    os.write(there, struct.pack("q", time.monotonic_ns()))
os.wait()
"""


def chain(node_type: str) -> Pipeline:
    writes = node_type != "f-forward"
    pipeline = Pipeline()
    for number in range(5):
        pipeline.add_node(node_type, f"n{number}", {"steps": number * writes})
        if number:
            pipeline.connect(f"n{number - 1}", "out", f"n{number}", "in")
    return pipeline


def fan_out() -> Pipeline:
    """One to three, and the three to one: each message arrives there three times."""
    pipeline = Pipeline()
    for number in range(5):
        pipeline.add_node("f-forward", f"n{number}", {"steps": 0})
    for middle in ("n1", "n2", "n3"):
        pipeline.connect("n0", "out", middle, "in").connect(middle, "out", "n4", f"from {middle}")
    return pipeline


WAYS: dict[str, Callable[[], Pipeline]] = {
    "passed on": lambda: chain("f-forward"),
    "loaned": lambda: chain("f-loan"),
    "in place": lambda: chain("f-in-place"),
    "to three": fan_out,
    "copied": lambda: chain("f-copy"),
}
QUICK_WAYS, OTHER_WAYS = ("passed on", "loaned"), ("in place", "to three", "copied")


@pytest.fixture
def overload(child_python: Any) -> Callable[[], None]:
    """Gives every core, and the memory, more to do than they can."""

    def start() -> None:
        scripts = [COMPUTES] * len(os.sched_getaffinity(0)) + [COPIES_MEMORY]
        for child in [child_python(script) for script in scripts]:
            child.expect("on")

    return start


@pytest.mark.parametrize("way", WAYS)
@ALONE
def test_a_hop(px: Any, beside: Any, ledger: Any, scale: Any, way: str) -> None:
    px.run(hops(beside("speed_nodes"), ledger, way, scale(25, 400)), patience_secs=scale(60, 200))


@pytest.mark.parametrize("way", [*QUICK_WAYS, *(pytest.param(way, marks=pytest.mark.long) for way in OTHER_WAYS)])
@OVERLOADED
def test_a_hop_of_many(px: Any, beside: Any, ledger: Any, scale: Any, overload: Any, way: str) -> None:
    overload()
    px.run(hops(beside("speed_nodes"), ledger, way, scale(25, 400)), patience_secs=scale(60, 200))


@pytest.mark.parametrize("many", [pytest.param(False, marks=ALONE), pytest.param(True, marks=OVERLOADED)])
def test_the_kernel(child_python: Any, overload: Any, ledger: Any, scale: Any, many: bool) -> None:
    if many:
        overload()
    count = scale(25, 400)
    pair = child_python(BARE_HOP, str(count))
    ledger.took("a byte through a pipe, ms", *(pair.hear()[0] / 1e6 for _ in range(count)))
    assert pair.wait() == 0


async def hops(nodes: Any, ledger: Any, way: str, count: int) -> None:
    """A pipeline, ``count`` messages after those that find new memory, and what the ledger gets of it."""
    pipeline, numbers = WAYS[way](), range(WARM_UP, WARM_UP + count)
    async with Session("s", pipeline) as session:
        await stream(session, nodes, range(numbers.stop))
        copied_bytes = sum(stats.bytes_copied for stats in session.channel_stats())
        said = await told(session)
    edges = [(edge.from_node, edge.to_node) for edge in pipeline.connections]
    if way == "to three":
        edges = edges[::2]  # where they meet again, one waits for the other
    took_ms = [ms for edge in edges for ms in hops_ms(said, *edge, numbers)]
    # What is written in place is a copy where the sender was interrupted before it let go of its own reference.
    ledger.took(f"{way}, ms", *took_ms, p95_at_most=None if way in ("copied", "in place") else 1.0)
    ledger.count("hops", len(took_ms))
    all_bytes = 5 * numbers.stop * SIZE_BYTES
    if way == "in place":  # where the sender still looks at it, a copy is written
        ledger.took("of those in place, written in a copy, %", 100 * copied_bytes / all_bytes)
    else:
        assert copied_bytes == (all_bytes if way == "copied" else 0)


async def stream(session: Session, nodes: Any, numbers: range) -> None:
    """Sends each when it is due and the one before is out."""
    copies = sum(edge.to_node == "n4" for edge in session.pipeline.connections)
    steps = session.pipeline.nodes[-1].config["steps"]
    steps += steps > 0  # its own
    due_secs = time.monotonic()
    for number in numbers:
        due_secs += 1 / HZ
        await asyncio.sleep(max(0.0, due_secs - time.monotonic()))
        words = await session.loan(SIZE_BYTES // 4, np.int32)
        nodes.fill(words, number)
        data: RuntimeData | None = RuntimeData.tensor(words)
        del words
        await session.send("n0", data)
        for _ in range(copies):
            del data
            data = await session.receive("n4")
            assert data is not None and data.type is DataType.TENSOR
            assert nodes.number_of(data.as_numpy(), steps) == number


async def told(session: Session) -> dict[str, Any]:
    """What each node says at the end."""
    await session.end_input()
    said = {}
    while (data := await session.receive("n4")) is not None:
        stamps = json.loads(data.payload)
        said[stamps["node"]] = stamps
    return said


def hops_ms(said: dict[str, Any], sender: str, receiver: str, numbers: range) -> list[float]:
    """From the one having given each message on to the other having it."""
    left, came = dict(said[sender]["left"]), dict(said[receiver]["came"])
    assert list(left) == list(came) == [*range(len(came))]
    return [(came[number] - left[number]) / 1e6 for number in numbers]
