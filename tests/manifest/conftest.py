"""Node types for manifests: the seeds' ones, which declare nothing, and one that declares everything."""

from __future__ import annotations

import pytest

from remotemedia.core.data import DataType
from remotemedia.core.multiprocessing import MultiprocessNode, Param, register_node


class Base(MultiprocessNode):
    async def initialize(self):
        pass

    async def process(self, data):
        return data

    async def cleanup(self):
        pass


class Free(Base):
    """Declares nothing."""


class Declared(Base):
    """Declares everything."""

    params = {
        "size": Param(int, 4, low=1, high=9),
        "gain": Param(float, 1.0),
        "mode": Param(str, "fast", choices=("fast", "good")),
        "on": Param(bool, False),
        "words": Param(list, []),
        "device": Param(str, None),
        "path": Param(str),
    }
    inputs = {"sound": DataType.AUDIO, "any": None}
    outputs = {"words": DataType.TEXT, "both": (DataType.TEXT, DataType.TENSOR)}


class Sink(Base):
    """Gives nothing."""

    params = {}
    inputs = {"text": DataType.TEXT}
    outputs = {}


@pytest.fixture(scope="session", autouse=True)
def _node_types() -> None:
    for name in ("WhisperNode", "LFM2AudioNode", "VibeVoiceNode", "Free"):
        register_node(name)(Free)
    register_node("Declared")(Declared)
    register_node("Sink")(Sink)
