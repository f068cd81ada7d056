"""The smallest pipeline: a node of your own, in a process of its own.

python examples/echo.py
"""

import asyncio
import os

from remotemedia import MultiprocessNode, Pipeline, RuntimeData, Session, register_node


@register_node("Echo")
class Echo(MultiprocessNode):
    async def initialize(self) -> None:
        """Models are loaded here."""

    async def process(self, data: RuntimeData) -> RuntimeData:
        return RuntimeData.text(f"process {os.getpid()} heard: {data.payload}")

    async def cleanup(self) -> None:
        """And let go here."""


async def main() -> None:
    print(f"process {os.getpid()} asks")
    async with Session("echo", Pipeline().add_node("Echo", "echo")) as session:
        for word in ("hello", "goodbye"):
            await session.send("echo", RuntimeData.text(word))
        await session.end_input()
        while (answer := await session.receive("echo")) is not None:
            print(answer.payload)


if __name__ == "__main__":
    asyncio.run(main())
