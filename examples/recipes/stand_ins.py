"""Nodes that stand for models in the recipes. They take some time for each word, and need nothing installed."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import numpy as np

from remotemedia import DataType, MultiprocessNode, RuntimeData, register_node
from remotemedia.core.multiprocessing import END_OF_TURN


@register_node("StandInRecogniser")
class StandInRecogniser(MultiprocessNode):
    """Gathers the audio of a turn. Its text asks for a number: one for each tenth of a second that was spoken."""

    inputs = {"audio": DataType.AUDIO}
    outputs = {"text": DataType.TEXT}

    def initialize(self) -> None:
        self.seconds = 0.0

    def process(self, data: RuntimeData) -> None:
        self.seconds += len(data.as_numpy()) / data.metadata.sample_rate
        self.hold(data)

    def on_mark(self, mark: RuntimeData) -> Iterator[RuntimeData]:
        if mark.mark == END_OF_TURN and self.seconds:
            self.release()
            yield RuntimeData.text(f"count to {round(self.seconds * 10)}")
            self.seconds = 0.0
        yield mark

    def on_interrupt(self) -> None:
        self.seconds = 0.0


@register_node("StandInLanguageModel")
class StandInLanguageModel(MultiprocessNode):
    """Answers "count to 3" word by word. At any other question it fails."""

    inputs = {"text": DataType.TEXT}
    outputs = {"text": DataType.TEXT}

    async def process(self, data: RuntimeData) -> AsyncIterator[RuntimeData]:
        for number in range(int(data.as_text().removeprefix("count to "))):
            await asyncio.sleep(0.01)
            yield RuntimeData.text(str(number + 1))


@register_node("StandInVoice")
class StandInVoice(MultiprocessNode):
    """Speaks each word: a tenth of a second, in which every sample is the number that the word says."""

    inputs = {"text": DataType.TEXT}
    outputs = {"audio": DataType.AUDIO}

    async def process(self, data: RuntimeData) -> RuntimeData:
        await asyncio.sleep(0.01)
        return RuntimeData.audio(np.full(1_600, int(data.as_text()), np.int16), 16_000)
