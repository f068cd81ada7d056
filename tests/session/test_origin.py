"""The number that a sender gives a message, and that everything made of it carries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import Pipeline

pytestmark = pytest.mark.usefixtures("leak_check")

LARGEST = 2**64 - 1


def numbered(payload: Any, origin: int) -> RuntimeData:
    data = RuntimeData.text(payload) if isinstance(payload, str) else RuntimeData.tensor(payload)
    data.origin = origin
    return data


def test_whatever_is_made_of_a_message_carries_its_number(px: Any) -> None:
    pipeline = Pipeline().add_node("t-echo", "a").add_node("t-tag", "b").add_node("t-repeat", "c", {"times": 3})
    pipeline.connect("a", "output", "b", "input").connect("a", "output", "c", "input")

    async def main() -> dict[str, list[int]]:
        came: dict[str, list[int]] = {"b": [], "c": []}
        async with px.Session("s", pipeline) as session:
            for origin in (7, 0, LARGEST):
                await session.send("a", numbered("x", origin))
            await session.end_input()
            async for node_id, data in session.outputs():
                came[node_id].append(data.origin)
        return came

    came = px.run(main())
    assert came["b"] == [7, 0, LARGEST]
    assert came["c"][:9] == [7] * 3 + [0] * 3 + [LARGEST] * 3
    assert set(came["c"][9:]) == {LARGEST}, "what finish() gives was made of all, the newest is the last"


def test_a_message_that_is_passed_on_without_a_copy_keeps_its_own(px: Any) -> None:
    async def main() -> list[int]:
        async with px.session("t-echo", "t-echo") as session:
            for origin in (3, 4):
                await session.send("n0", numbered(np.zeros(100_000), origin))
            return [(await session.receive("n1")).origin for _ in range(2)]

    assert px.run(main()) == [3, 4]


@pytest.mark.parametrize("origin", [-1, 2**64, 1.5, "7", None])
def test_no_number(px: Any, origin: Any) -> None:
    async def main() -> None:
        async with px.session("t-echo") as session:
            with pytest.raises(TypeError, match=r"RuntimeData\.origin must be a whole number from 0"):
                await session.send("n0", numbered("x", origin))
            await session.send("n0", numbered("x", 1))
            assert (await session.receive("n0")).origin == 1

    px.run(main())
