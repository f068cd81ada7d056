"""Nodes for tests of ``remotemedia run``. Their processes load this file by its path: it imports little."""

import asyncio
import os
import resource

import numpy as np

from remotemedia.core.data import AudioMetadata, DataType, RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode, register_node


class Base(MultiprocessNode):
    async def initialize(self):
        pass

    async def process(self, data):
        return data

    async def cleanup(self):
        pass


@register_node("run-echo")
class Echo(Base):
    pass


@register_node("run-double")
class Double(Base):
    async def process(self, data):
        return RuntimeData.audio(data.as_numpy() * 2, data.metadata.sample_rate, data.metadata.channels)


@register_node("run-do")
class Do(Base):
    """What a text says; with ``fifo`` in its config, "hold" waits until somebody writes to that."""

    async def process(self, data):
        if data.payload == "raise":
            raise ValueError("as it was told")
        if data.payload == "die":
            os._exit(7)
        if data.payload == "hold":
            with open(self.config["fifo"]) as fifo:  # noqa: PTH123
                fifo.read()
        return data


@register_node("run-finish")
class Finish(Base):
    async def finish(self):
        raise ValueError("at the very end")


@register_node("run-stubborn")
class Stubborn(Base):
    """Loads until somebody writes to the pipe, and hears nothing meanwhile."""

    async def initialize(self):
        with open(self.config["fifo"]) as fifo:  # noqa: PTH123
            fifo.read()


@register_node("run-loading")
class Loading(Base):
    """Says that it loads and never is ready, but listens."""

    async def initialize(self):
        self.report_progress(0.5, "holding")
        await asyncio.Event().wait()


@register_node("run-leaving")
class Leaving(Base):
    """Has all its output out, and is not done until somebody writes to the pipe."""

    async def cleanup(self):
        with open(self.config["fifo"]) as fifo:  # noqa: PTH123
            fifo.read()


@register_node("run-json")
class Json(Base):
    """The number of entries of a JSON value, and the value."""

    inputs = {"value": DataType.JSON}
    outputs = {"counted": DataType.JSON}

    async def process(self, data):
        value = data.as_json()
        return data.like([len(value), value])


@register_node("run-ports")
class Ports(Base):
    """Letters on one port, their number on another."""

    async def process(self, data):
        return {"letters": data, "number": RuntimeData.text(str(len(data.payload)))}


ZEROS = np.zeros(100, np.float32)
KINDS = {
    "text": lambda: RuntimeData.text("text"),
    "audio": lambda: RuntimeData.audio(ZEROS, 8000),
    "other rate": lambda: RuntimeData.audio(ZEROS, 16000),
    "stereo": lambda: RuntimeData.audio(np.zeros((100, 2), np.float32), 8000, 2),
    "int16": lambda: RuntimeData.audio(np.arange(100, dtype=np.int16), 8000),
    "float16": lambda: RuntimeData.audio(np.zeros(100, np.float16), 8000),
    "wrong channels": lambda: RuntimeData.audio(ZEROS, 8000, 2),
    "scalar": lambda: RuntimeData(DataType.AUDIO, np.zeros((), np.float32), metadata=AudioMetadata(8000, 1, "f32")),
    "no rate": lambda: RuntimeData(DataType.AUDIO, ZEROS),
    "rate 0": lambda: RuntimeData(DataType.AUDIO, ZEROS, metadata=AudioMetadata(0, 1, "f32")),
    "end": lambda: RuntimeData.audio(np.empty(0, np.float32), 8000),
    "tensor": lambda: RuntimeData.tensor(ZEROS),
    "not numbers": lambda: RuntimeData.audio(np.array([np.nan, 0.5, np.inf, -np.inf, 2, -2], np.float32), 8000),
    "float64 not numbers": lambda: RuntimeData.audio(np.array([[np.nan, 0.5], [1e300, -np.inf]]), 8000, 2),
    "great rate": lambda: RuntimeData.audio(ZEROS, 2**32 - 1),
    "json": lambda: RuntimeData(DataType.JSON, '{"a":\r\n ["ü", "\u2028"]}\n'),
    "surrogate": lambda: RuntimeData.text("\ud800"),
}


@register_node("run-full")
class Full(Base):
    """Noise, too much of it for a file of the process that started this one."""

    async def process(self, data):
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.prlimit(os.getppid(), resource.RLIMIT_FSIZE, (10_000, hard))
        return RuntimeData.audio(np.random.default_rng(0).uniform(-1, 1, 40_000).astype(np.float32), 8000)


@register_node("run-kinds")
class Kinds(Base):
    async def process(self, data):
        return KINDS[data.payload]()
