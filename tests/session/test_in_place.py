"""as_numpy(writable=True) in a node: in place whenever no other process holds the payload, however soon it asks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import MultiprocessConfig, Pipeline, Session

pytestmark = pytest.mark.usefixtures("leak_check", "in_place_nodes")

MESSAGES = 200


async def answers(kind: str, **settings: Any) -> list[list[float]]:
    pipeline = Pipeline().add_node(kind, "first").add_node("in-place-write", "last")
    pipeline.connect("first", "out", "last", "in")
    async with Session("s", pipeline, MultiprocessConfig(**settings)) as session:
        given = []
        for number in range(MESSAGES):
            await session.send("first", RuntimeData.tensor(np.full(2000, number, np.float32)))
            if number >= 3:
                given.append(await session.receive("last"))
        given += [await session.receive("last") for _ in range(3)]
        return [list(data.payload) for data in given if data is not None]


@pytest.mark.parametrize("kind", ["pass", "pass-at-once", "loan", "yield", "emit"])
@pytest.mark.parametrize("capacity", [1, 64])
def test_the_next_node_is_the_only_holder_of_what_is_passed_on(px: Any, kind: str, capacity: int) -> None:
    async def main() -> None:
        got = await answers(f"in-place-{kind}", channel_capacity=capacity)
        assert got == [[1.0, 2000.0 * number] for number in range(MESSAGES)]

    px.run(main())


def test_what_a_node_keeps_is_copied(px: Any) -> None:
    async def main() -> None:
        got = await answers("in-place-keep", channel_capacity=1)
        assert [seen for _, seen in got] == [2000.0 * number for number in range(MESSAGES)]
        assert got[-1][0] == 0.0  # the last one is still kept

    px.run(main())


def test_a_message_that_is_staged_goes_before_what_comes_next(px: Any) -> None:
    """Two outputs, one of them full: the other's reader gets its message all the same."""

    async def main() -> None:
        pipeline = Pipeline().add_node("in-place-pass", "first").add_node("in-place-pass", "a")
        pipeline.add_node("in-place-pass", "b").connect("first", "out", "a", "in").connect("first", "out", "b", "in")
        async with Session("s", pipeline, MultiprocessConfig(channel_capacity=1)) as session:
            for number in range(6):  # nobody reads b: two messages for it are on the way, the third waits
                await session.send("first", RuntimeData.tensor(np.array([number])))
                got = await session.receive("a")
                assert got is not None and got.payload[0] == number
                if number >= 3:
                    await session.receive("b")

    px.run(main())
