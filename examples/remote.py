"""A service and its client: a node that runs elsewhere, and a pipeline of which a part does.

python examples/remote.py
"""

import asyncio
import os

from remotemedia import MultiprocessNode, Pipeline, PipelineClient, RuntimeData, Session, register_node
from remotemedia.service.config import ServiceConfig
from remotemedia.service.server import Service


@register_node("Shout")
class Shout(MultiprocessNode):
    async def initialize(self) -> None:
        """Nothing to load."""

    async def process(self, data: RuntimeData) -> RuntimeData:
        return RuntimeData.text(f"{data.payload}!")

    async def cleanup(self) -> None:
        """Nothing to release."""


async def main() -> None:
    # A service is usually a program of its own, `remotemedia serve`, on another machine.
    async with Service(ServiceConfig(port=0)) as service:
        target = f"localhost:{service.port}"
        there = {"version": "v1", "nodes": [{"id": "shout", "node_type": "Shout"}]}

        async with PipelineClient(target) as client, client.session(there) as session:
            for word in ("hello", "goodbye"):
                await session.send("shout", RuntimeData.text(word))
            await session.end_input()
            async for node_id, data in session.outputs():
                print(f"{node_id} in the service: {data.payload}")

        pipeline = Pipeline().add_node("Shout", "first")
        pipeline.add_node("RemotePipelineNode", "second", {"target": target, "manifest": there})
        pipeline.connect("first", "output", "second", "input")
        async with Session(f"here-{os.getpid()}", pipeline) as local:
            await local.send("first", RuntimeData.text("once more"))
            answer = await local.receive("second")
            assert answer is not None
            print(f"here and there: {answer.payload}")


if __name__ == "__main__":
    asyncio.run(main())
