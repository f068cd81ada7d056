"""A node that writes to what it received, past numpy's flag: others read what was sent, and its crash says why."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import MultiprocessConfig, Pipeline, ProcessCrashError, Session

pytestmark = [
    pytest.mark.usefixtures("leak_check"),
    pytest.mark.promise(
        "memory pressure",
        "a node that writes to a received payload changes nothing that others read; its crash says what to use instead",
        "arrays and bytes, written to by pointer from C code and numpy, in a thread, beside a handler of its own",
    ),
]

WROTE = "it wrote to a received payload, which is read-only; as_numpy(writable=True) returns an array"


@pytest.fixture(autouse=True)
def _nodes(beside: Callable[[str], Any]) -> None:
    beside("read_only_nodes")


def pipeline(**scribble: Any) -> Pipeline:
    """What ``in`` passes on goes to one that writes to it and to one that sums it up."""
    graph = Pipeline().add_node("ro-pass", "in").add_node("ro-scribble", "scribble", scribble)
    graph.add_node("ro-sum", "sum")
    return graph.connect("in", "out", "scribble", "in").connect("in", "out", "sum", "in")


async def crash(payload: Any, **scribble: Any) -> ProcessCrashError:
    async with Session("s", pipeline(**scribble), MultiprocessConfig()) as session:
        await session.send("in", RuntimeData.tensor(payload))
        with pytest.raises(ProcessCrashError) as raised:
            await session.receive("scribble")
    assert (raised.value.node_id, raised.value.signal) == ("scribble", signal.SIGSEGV)
    return raised.value


@pytest.mark.parametrize("how", ["numpy", "thread"])
@pytest.mark.parametrize("payload", [np.ones(5000, np.uint8), b"\1" * 5000], ids=["array", "bytes"])
def test_the_writer_crashes_and_is_told_why(px: Any, ledger: Any, how: str, payload: Any) -> None:
    async def main() -> None:
        error = await crash(payload, how=how)
        assert error.reason.startswith(WROTE)
        assert any("Segmentation fault" in line for line in error.stderr_tail)  # and where, as before
        ledger.count("write")

    px.run(main())


@pytest.mark.parametrize("how", ["elsewhere", "kill", "child"])
def test_another_segmentation_fault_is_not_blamed_on_a_payload(px: Any, how: str) -> None:
    """Also where a child that the node forked has died of writing to one."""

    async def main() -> None:
        assert (await crash(np.ones(5000, np.uint8), how=how)).reason == ""

    px.run(main())


def test_a_handler_of_the_nodes_own_is_no_obstacle(px: Any, ledger: Any) -> None:
    async def main() -> None:
        assert (await crash(np.ones(5000, np.uint8), how="numpy", faulthandler=True)).reason.startswith(WROTE)
        ledger.count("write")

    px.run(main())


def test_the_other_branch_reads_what_was_sent(px: Any, ledger: Any) -> None:
    """as_numpy(writable=True) is the way: a copy while the other branch reads, in place when it has let go."""

    async def main() -> None:
        async with Session("s", pipeline(how="writable")) as session:
            for number in range(50):
                await session.send("in", RuntimeData.tensor(np.full(5000, number, np.uint8)))
                got = await session.receive("sum")
                assert got is not None and got.payload == str(5000 * number)
                await session.receive("scribble")
                ledger.count("write")

    px.run(main())
