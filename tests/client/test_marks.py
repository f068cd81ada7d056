"""Marks through a remote session and a RemotePipelineNode: as through a local one."""

from __future__ import annotations

from typing import Any

import pytest

from remotemedia.client import PipelineClient
from remotemedia.core.data import AudioMetadata, RuntimeData
from remotemedia.core.marks import end_of_utterance
from remotemedia.core.multiprocessing import Pipeline

pytestmark = pytest.mark.usefixtures("leak_check")

MARKS = [
    RuntimeData.control("end_of_turn", timestamp=1.25),
    end_of_utterance(AudioMetadata(8_000, 1, "f32"), timestamp=2.5),
    RuntimeData.control("mine", {"a": [None, "ü"]}, timestamp=3.0),
]


def described(data: RuntimeData) -> tuple[Any, ...]:
    return data.type, data.metadata, data.timestamp, data.size, data.origin


async def through(session: Any, into: str) -> list[tuple[Any, ...]]:
    for number, mark in enumerate(MARKS, 1):
        mark.origin = number
        await session.send(into, mark)
    await session.end_input()
    return [described(data) async for _, data in session.outputs()]


def test_a_remote_session_gives_them_as_they_are(px: Any, service: Any) -> None:
    async def main() -> list[tuple[Any, ...]]:
        async with PipelineClient(service.target) as client, client.session(px.chain("t-marks")) as session:
            return await through(session, "n0")

    assert px.run(main()) == [described(mark) for mark in MARKS]


def test_a_remote_pipeline_passes_them_on(px: Any, service: Any) -> None:
    manifest = {
        "version": "v1",
        "metadata": {"name": "there"},
        "nodes": [{"id": "n", "node_type": "t-marks"}],
        "connections": [],
    }
    pipeline = Pipeline().add_node("RemotePipelineNode", "r", {"target": service.target, "manifest": manifest})

    async def main() -> list[tuple[Any, ...]]:
        async with px.Session("s", pipeline) as session:
            return await through(session, "r")

    assert px.run(main()) == [described(mark) for mark in MARKS]
