"""Ears and mouth: the first word that is spoken over the answer stops it, and none of these words is lost.

python examples/barge_in.py
"""

import asyncio
from collections.abc import AsyncIterator

from remotemedia import MultiprocessNode, Param, Pipeline, RuntimeData, Session, register_node


@register_node("Ears")
class Ears(MultiprocessNode):
    """Silences the answer when somebody begins to speak. Each message is a word here; "." ends what somebody says.

    They stand in front of the recogniser: the word goes on when the old answer is silent, so its answer is a new one.
    """

    params = {"silences": Param(str, help="node from which on the answer is interrupted")}
    silence = True

    async def process(self, data: RuntimeData) -> RuntimeData:
        if self.silence:
            await self.interrupt(from_node=self.config["silences"])
        self.silence = data.payload == "."
        return data


@register_node("Recogniser")
class Recogniser(MultiprocessNode):
    """Gives what was said once it has ended."""

    def initialize(self) -> None:
        self.words: list[str] = []

    def process(self, data: RuntimeData) -> RuntimeData | None:
        if data.payload != ".":
            self.words.append(str(data.payload))
            return None
        said, self.words = " ".join(self.words), []
        return RuntimeData.text(said)


@register_node("Talker")
class Talker(MultiprocessNode):
    """Answers at length, word by word, as a language model does."""

    async def process(self, data: RuntimeData) -> AsyncIterator[RuntimeData]:
        for number in range(1, 1000):
            await asyncio.sleep(0.01)
            yield RuntimeData.text(f"word {number} about: {data.payload}")


async def say(session: Session, text: str) -> None:
    print("the user:", text)
    for word in text.split():
        await session.send("ears", RuntimeData.text(word))


async def listen(session: Session, about: str) -> None:
    """To the beginning of an answer, past what was on its way of another."""
    heard = 0
    while heard < 3 and (answer := await session.receive("talker")) is not None:
        if str(answer.payload).endswith(about):
            print(answer.payload)
            heard += 1


async def main() -> None:
    pipeline = (
        Pipeline()
        .add_node("Ears", "ears", {"silences": "talker"})
        .add_node("Recogniser", "asr")
        .add_node("Talker", "talker")
        .connect("ears", "output", "asr", "input")
        .connect("asr", "output", "talker", "input")
    )
    async with Session("barge-in", pipeline) as session:
        for text in ("tell me of dinosaurs .", "he was not a cat .", "thank you ."):
            await say(session, text)
            await listen(session, text.removesuffix(" ."))
        await session.interrupt()  # or leaving would wait for the end of the answer


if __name__ == "__main__":
    asyncio.run(main())
