"""Outputs that need not be connected."""

from __future__ import annotations

from typing import Any

import pytest

from remotemedia.core.multiprocessing import Pipeline, Session
from tests.session import turn_nodes  # noqa: F401 - registers its nodes

pytestmark = pytest.mark.usefixtures("leak_check")


def test_an_output_that_need_not_be_connected_is_not_missed(px: Any, caplog: pytest.LogCaptureFixture) -> None:
    pipeline = (
        Pipeline().add_node("turn-two-outputs", "a", {"ports": ["main", "beside", "other"]}).add_node("t-tag", "b")
    )
    pipeline.connect("a", "main", "b", "in")

    async def main() -> None:
        async with Session("s", pipeline) as session:
            await px.send_all(session, "a", ["x", "y"])
            assert await px.collect(session.outputs()) == {"b": ["x>b.in", "y>b.in"]}
            assert session.node_stats()[0].unrouted == 2
            assert session.node_stats()[0].published == 2

    with caplog.at_level("INFO", "remotemedia.node"):
        px.run(main())
    assert "'other' is not connected" in caplog.text and "'beside'" not in caplog.text
