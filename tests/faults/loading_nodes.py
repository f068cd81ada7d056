"""Nodes that load until the lock on the file ``until`` is free, each in its own way."""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import mmap
from pathlib import Path
from typing import Any

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode, register_node

PAGE = mmap.PAGESIZE
PAGES_PER_WORD = 1 << 16


class Loads(MultiprocessNode):
    """Ready at once, unless ``load`` takes its time."""

    async def initialize(self) -> None:
        if "until" in self.config:
            with Path(self.config["until"]).open() as self.file:
                await self.load()

    async def load(self) -> None:
        pass

    def free(self) -> bool:
        try:
            fcntl.flock(self.file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    async def process(self, data: RuntimeData) -> Any:
        return data

    async def cleanup(self) -> None:
        pass


@register_node("loads-not")
class LoadsNot(Loads):
    pass


@register_node("loads-asleep")
class Sleeps(Loads):
    async def load(self) -> None:
        step = 0
        while not self.free():
            step += 1
            self.report_progress(1 - 1 / step, f"step {step}")
            await asyncio.sleep(0.3)


@register_node("loads-computing")
class Computes(Loads):
    """Pure Python, and never a word: the event loop does not run, no thread of the node does for long."""

    async def load(self) -> None:
        while not self.free():
            sum(range(100_000))


@register_node("loads-in-c")
class SticksInC(Loads):
    """In one call of a C library that does not let go of Python's lock."""

    async def load(self) -> None:
        self.report_progress(0.25, "reading weights")
        ctypes.PyDLL(None).flock(self.file.fileno(), fcntl.LOCK_SH)


@register_node("loads-memory")
class Allocates(Loads):
    """``bytes`` of memory, page by page, over and over."""

    async def load(self) -> None:
        while True:
            with mmap.mmap(-1, self.config["bytes"]) as memory:
                for page in range(len(memory) // PAGE):
                    memory[page * PAGE] = 1
                    if page % PAGES_PER_WORD == 0:
                        if self.free():
                            return
                        self.report_progress(page * PAGE / len(memory), f"{page * PAGE / 1e9:.1f} GB")


@register_node("loads-in-a-thread")
class LoadsInAThread(Loads):
    """The way a well-behaved node loads a model: beside its event loop."""

    async def load(self) -> None:
        await asyncio.to_thread(self.work)

    def work(self) -> None:
        while not self.free():
            self.report_progress(0.5, "half")
            sum(range(1_000_000))


@register_node("loads-in-its-constructor")
class Constructs(Loads):
    """Before there is an event loop."""

    def __init__(self, node_id: str, config: dict[str, Any]) -> None:
        super().__init__(node_id, config)
        with Path(self.config["until"]).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH)
