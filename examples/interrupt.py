"""Barge-in: the user speaks while the answer is still coming, and the old answer stops at once.

python examples/interrupt.py
"""

import asyncio
from collections.abc import AsyncIterator

from remotemedia import MultiprocessConfig, MultiprocessNode, Pipeline, RuntimeData, Session, register_node


@register_node("Talker")
class Talker(MultiprocessNode):
    """Answers word by word, as a language model does."""

    async def initialize(self) -> None:
        """Nothing to load."""

    async def process(self, data: RuntimeData) -> AsyncIterator[RuntimeData]:
        words = str(data.payload).split()
        for number in range(1, len(words) + 1):
            await asyncio.sleep(0.01)
            yield RuntimeData.text(f"word {number} about {words[0]}")

    async def cleanup(self) -> None:
        """Nothing to release."""


@register_node("Voice")
class Voice(MultiprocessNode):
    """Stands for a speech synthesizer: takes its time for each word."""

    async def initialize(self) -> None:
        """Nothing to load."""

    async def process(self, data: RuntimeData) -> RuntimeData:
        await asyncio.sleep(0.02)
        return data

    async def cleanup(self) -> None:
        """Nothing to release."""


async def main() -> None:
    pipeline = (
        Pipeline().add_node("Talker", "talker").add_node("Voice", "voice").connect("talker", "output", "voice", "input")
    )
    async with Session("interrupt", pipeline, MultiprocessConfig(channel_capacity=8)) as session:
        await session.send("talker", RuntimeData.text("dinosaurs" + " and so on" * 1000))
        for _ in range(3):
            word = await session.receive("voice")
            assert word is not None
            print(word.payload)

        print("the user: wait!")
        await session.interrupt()  # returns when every node has dropped the old turn

        await session.send("talker", RuntimeData.text("cats please"))
        await session.end_input()
        async for _, word in session.outputs():
            print(word.payload)


if __name__ == "__main__":
    asyncio.run(main())
