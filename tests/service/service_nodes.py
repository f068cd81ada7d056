"""Node classes for tests of the service, beside those of tests of sessions. Node processes load it by its path."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np

from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode, register_node


class Base(MultiprocessNode):
    async def initialize(self) -> None:
        pass

    async def process(self, data: RuntimeData) -> Any:
        return data

    async def cleanup(self) -> None:
        pass


@register_node("t-fails-at-the-end")
class FailsAtTheEnd(Base):
    async def finish(self) -> Any:
        raise ValueError("out of ideas at the end")


@register_node("t-twice")
class Twice(Base):
    """All that comes, twice."""

    async def process(self, data: RuntimeData) -> Any:
        yield data
        yield data


@register_node("t-two-inputs")
class TwoInputs(Base):
    """Says which input a text came in by."""

    inputs = {"left": DataType.TEXT, "right": DataType.TEXT}

    async def process(self, data: RuntimeData) -> Any:
        return RuntimeData.text(f"{data.payload} by {data.port}")


@register_node("t-flood")
class Flood(Base):
    """Arrays of as many bytes as a text says, as many as its config says or without end; each is full of its number."""

    async def process(self, data: RuntimeData) -> Any:
        size = int(data.payload)
        for number in itertools.islice(itertools.count(), self.config.get("times")):
            yield RuntimeData.tensor(np.full(size, number % 251, np.uint8))


@register_node("t-see")
class See(Base):
    """Says what it was given: type, dtype, shape and metadata."""

    async def process(self, data: RuntimeData) -> Any:
        payload = data.payload
        dtype = payload.dtype.name if isinstance(payload, np.ndarray) else type(payload).__name__
        shape = payload.shape if isinstance(payload, np.ndarray) else [len(payload)]
        return RuntimeData.text(json.dumps([data.type.value, dtype, shape, data.metadata], default=str))


@register_node("t-see-text")
class SeeText(See):
    inputs = {"in": DataType.TEXT}


@register_node("t-see-words")
class SeeWords(See):
    inputs = {"in": (DataType.TEXT, DataType.JSON)}


@register_node("t-tell")
class Tell(Base):
    """Says at the end what its params are."""

    async def finish(self) -> Any:
        return RuntimeData.text(json.dumps(self.config))


@register_node("t-half")
class Half(Base):
    """Says and raises half of a character, which no UTF-8 has."""

    async def initialize(self) -> None:
        self.report_progress(0.5, "half: \ud83d")

    async def process(self, data: RuntimeData) -> Any:
        raise ValueError("half: \ud83d")


@register_node("t-holds")
class Holds(MultiprocessNode):
    """Passes messages on, and says that it keeps them until the end of its input."""

    def process(self, data: RuntimeData) -> RuntimeData:
        self.hold(data)
        return data
