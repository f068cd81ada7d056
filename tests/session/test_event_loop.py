"""Which event loop a node runs on, and that the data do not care."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import MultiprocessConfig, Pipeline, Session

pytestmark = pytest.mark.usefixtures("leak_check")


@pytest.mark.parametrize(("use_uvloop", "module"), [(True, "uvloop"), (False, "asyncio.unix_events")])
def test_nodes_run_on_uvloop_unless_told_not_to(px: Any, use_uvloop: bool, module: str) -> None:
    pipeline = Pipeline().add_node("t-loop", "a").add_node("t-echo", "b").connect("a", "output", "b", "input")

    async def main() -> None:
        async with Session("s", pipeline, MultiprocessConfig(use_uvloop=use_uvloop, channel_capacity=2)) as session:
            array = np.arange(10)
            for _ in range(20):
                await session.send("a", RuntimeData.tensor(array))
                got = await session.receive("b")
                assert got is not None
                assert got.metadata == {"loop": module}
                assert (got.payload == array).all()
            await session.interrupt()
            await session.end_input()
            assert await session.receive("b") is None

    px.run(main())


@pytest.mark.parametrize("value", [None, 1, "yes"])
def test_the_switch_is_a_bool(value: Any) -> None:
    with pytest.raises(TypeError, match="use_uvloop must be True or False"):
        MultiprocessConfig(use_uvloop=value)
