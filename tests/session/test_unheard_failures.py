"""A node that raises is not silence: who waits for its output hears of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import NodeProcessError, Pipeline
from tests.session import turn_nodes  # noqa: F401 - registers its nodes

pytestmark = pytest.mark.usefixtures("leak_check")

text = RuntimeData.text


async def heard(session: Any, node_id: str, times: int) -> list[str]:
    """What ``receive`` gives or raises."""
    found = []
    for _ in range(times):
        try:
            data = await session.receive(node_id)
            found.append("end" if data is None else str(data.payload))
        except NodeProcessError as error:
            found.append(f"{error.node_id}: {error.reason}")
    return found


def test_receive_raises_instead_of_waiting(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-echo", "turn-do", "t-echo") as session:
            await session.send("n0", text("fail no good"))
            assert await heard(session, "n2", 1) == ["n1: ValueError: no good"]
            await session.send("n0", text("fine"))
            assert await heard(session, "n2", 1) == ["fine"]

    px.run(main())


def test_each_failure_is_raised_once_also_at_the_end(px: Any) -> None:
    async def main() -> None:
        for _ in range(10):
            async with px.session("turn-do") as session:
                for number in range(5):
                    await session.send("n0", text(f"fail {number}"))
                await session.end_input()
                assert await heard(session, "n0", 7) == [*(f"n0: ValueError: {n}" for n in range(5)), "end", "end"]

    px.run(main())


def test_outputs_do_not_end_as_if_nothing_had_happened(px: Any) -> None:
    async def main() -> None:
        for _ in range(10):
            async with px.session("turn-do", "t-echo") as session:
                for words in ("one", "fail all", "two"):
                    await session.send("n0", text(words))
                await session.end_input()
                came: list[str] = []
                with pytest.raises(NodeProcessError, match="ValueError: all"):
                    async for _, data in session.outputs():
                        came.append(str(data.payload))
                came += [str(data.payload) async for _, data in session.outputs()]
                assert came == ["one", "two"]

    px.run(main())


def test_a_failure_beside_the_way_to_an_output_is_not_its(px: Any) -> None:
    pipeline = Pipeline().add_node("turn-do", "one").add_node("turn-do", "other")

    async def main() -> None:
        async with px.Session("s", pipeline) as session:
            await session.send("one", text("fail mine"))
            await px.until(lambda: session.get_status().nodes["one"].failures == 1)
            with pytest.raises(TimeoutError):
                await session.receive("other", timeout=0.05)
            with pytest.raises(NodeProcessError, match="mine"):
                await session.receive("one")

    px.run(main())


@pytest.mark.parametrize("how", ["report", "callback"])
def test_who_hears_of_failures_otherwise_waits_on(px: Any, how: str) -> None:
    async def main() -> None:
        async with px.session("turn-do") as session:
            failures: list[str] = []
            options: dict[str, Any] = {"on_failure": "report"}
            if how == "callback":
                session.on_error(lambda error: failures.append(error.reason))
                options = {}
            for words in ("fail no", "fine"):
                await session.send("n0", text(words))
            assert (await session.receive("n0", **options)).payload == "fine"
            await session.send("n0", text("fail again"))
            with pytest.raises(NodeProcessError, match=r"ValueError: (no|again)"):
                await session.receive("n0", on_failure="raise")
            await session.end_input()
            assert [data async for data in session.outputs(on_failure="report")] == []
            assert how == "report" or failures == ["ValueError: no", "ValueError: again"]

    px.run(main())


def test_it_wakes_who_waits_already(px: Any) -> None:
    async def main() -> None:
        async with px.session("turn-do") as session:
            waiting = asyncio.create_task(session.receive("n0"))
            await asyncio.sleep(0.02)
            await session.send("n0", text("fail late"))
            with pytest.raises(NodeProcessError, match="late"):
                await waiting
            with pytest.raises(ValueError, match="on_failure is 'quiet'; it may be 'raise' or 'report'"):
                await session.receive("n0", on_failure="quiet")

    px.run(main())
