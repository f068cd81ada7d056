"""Nobody takes, so nobody makes: what is under way has a bound, and nothing of it is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from remotemedia.client import PipelineClient
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import Pipeline

pytestmark = pytest.mark.usefixtures("leak_check")

MANY = 1000
BYTES = 200_000  # so that what is on its way through sockets and windows is a small part of all


async def asked_about(client: PipelineClient) -> None:
    """Time enough for whoever is not held up to go on: so many calls went there and back on the same connection."""
    for _ in range(200):
        await client.version()


@pytest.mark.parametrize("node", ["t-echo", "t-do"])
def test_a_sender_waits(px: Any, service: Any, node: str) -> None:
    """Whether it is that nobody reads, or that a node has stopped."""
    sent = 0

    async def send(session: Any) -> None:
        nonlocal sent
        for number in range(MANY):
            await session.send("n0", RuntimeData.tensor(np.full(BYTES, number % 251, np.uint8)))
            sent += 1
        await session.end_input()

    async def main() -> None:
        async with (
            PipelineClient(service.target) as client,
            client.session(px.chain(node), {"channel_capacity": 2}) as session,
        ):
            if node == "t-do":
                await session.send("n0", RuntimeData.text("wait"))
            sending = asyncio.create_task(send(session))
            await service.until("blocked", bool)
            await asked_about(client)
            assert 2 <= sent < MANY // 2
            if node == "t-do":
                sending.cancel()
                await asyncio.wait({sending})
                data = await session.receive("n0")
                assert data is not None and data.payload == "wait", "who gives up sending does not end the call"
                return
            came = [data.as_numpy()[-1] async for _, data in session.outputs()]
            assert came == [number % 251 for number in range(MANY)]

    px.run(main())


def test_outputs_that_nobody_takes_wait_there(px: Any, service: Any) -> None:
    times = 200_000

    async def main() -> None:
        async with PipelineClient(service.target) as client, client.session(px.chain("t-emit", "t-echo")) as session:
            await session.send("n0", RuntimeData.text(f"a {times}"))
            await service.until("blocked", bool)
            await asked_about(client)
            assert service.ask("handled") < times // 2
            for number in range(5000):
                data = await session.receive("n1")
                assert data is not None and data.payload == f"a.{number}"

    px.run(main())


def test_outputs_of_one_node_wait_while_another_is_read(px: Any, service: Any) -> None:
    """As many as are kept here; they are all there when their turn comes."""
    pipeline = Pipeline().add_node("t-echo", "a").add_node("t-echo", "b")

    async def main() -> None:
        async with PipelineClient(service.target) as client, client.session(pipeline) as session:
            for number in range(90):
                await session.send("b", RuntimeData.text(f"{number}"))
            await session.send("a", RuntimeData.text("first"))
            data = await session.receive("a")
            assert data is not None and data.payload == "first"
            await session.end_input()
            assert await session.receive("a") is None
            assert [data.payload async for _, data in session.outputs("b")] == [f"{number}" for number in range(90)]

    px.run(main())
