"""Node types for manifests: the seeds' ones, which declare nothing, and one that declares everything."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from remotemedia.core.data import DataType
from remotemedia.core.multiprocess.classes import registry
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


@pytest.fixture(scope="module", autouse=True)
def _node_types() -> Iterator[None]:
    """Only here: other tests of the same run have stand-ins of their own under these names."""
    types: dict[str, type[MultiprocessNode]] = dict.fromkeys(
        ("WhisperNode", "LFM2AudioNode", "VibeVoiceNode", "Free"), Free
    )
    types |= {"Declared": Declared, "Sink": Sink}
    others = {name: registry._nodes.pop(name) for name in types if name in registry._nodes}
    for name, cls in types.items():
        register_node(name)(cls)
    yield
    for name in types:
        del registry._nodes[name]
    registry._nodes.update(others)
