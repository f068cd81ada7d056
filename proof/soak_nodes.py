"""The node of a soak: checks its input, keeps some of it for a while, and passes it on in one way or another."""

from __future__ import annotations

import asyncio
import ctypes
import random
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import numpy as np

from proof.soak_content import CONTENTS, Content
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode, register_node

MOST_HELD = 2


class Held:
    """Messages kept for a while, let go in any order, and then still what they were."""

    def __init__(self, content: Content, chance: random.Random, where: str) -> None:
        self._content = content
        self._chance = chance
        self._where = where
        self._messages: list[RuntimeData] = []

    def keep_for_a_while(self, data: RuntimeData) -> None:
        self._messages.append(data)
        while len(self._messages) > self._chance.randrange(MOST_HELD + 1):
            self._let_go(self._chance.randrange(len(self._messages)))

    def let_all_go(self) -> None:
        while self._messages:
            self._let_go(-1)

    def _let_go(self, index: int) -> None:
        self._content.check(self._messages.pop(index), f"{self._where}, which had held it for a while")


@register_node("soak-relay")
class Relay(MultiprocessNode):
    """Config: ``content`` and its ``seed``, ``chance`` of this node's own, ``plant`` (a bug), ``plant_at`` (its
    message), ``pauses`` (how likely one is after a message)."""

    async def initialize(self) -> None:
        self._content = CONTENTS[self.config.get("content", "any")](self.config["seed"])
        self._chance = random.Random(self.config["chance"])
        self._held = Held(self._content, self._chance, self.node_id)
        self._pauses = self.config.get("pauses", 0.01)
        self._plant = self.config.get("plant")

    async def process(self, data: RuntimeData) -> RuntimeData | None:
        number = self._content.check(data, self.node_id)
        if self._chance.random() < self._pauses:
            await asyncio.sleep(self._chance.random() * 0.01)
        if self._plant in ("flip", "lose") and number >= self.config["plant_at"] and data.size:
            return self._planted(data)
        way = self._chance.randrange(4)
        if way == 0 or not isinstance(data.payload, np.ndarray):
            self._held.keep_for_a_while(data)
            return data
        if way == 1:
            made = replace(data, payload=data.payload.copy())
        elif way == 2:
            made = replace(data, payload=self.loan(data.payload.shape, data.payload.dtype))
            np.copyto(made.as_numpy(), data.payload)
        else:
            # In place where nobody else looks; a reader that looks all the same sees the zeros.
            array = data.as_numpy(writable=True)
            array[...] = np.zeros((), array.dtype)
            array[...] = self._content.message(number).as_numpy()
            made = replace(data, payload=array)
        return made

    async def on_interrupt(self) -> None:
        self._held.let_all_go()

    async def finish(self) -> None:
        self._held.let_all_go()

    async def cleanup(self) -> None:
        """Nothing: messages still held go with the process."""

    def _planted(self, data: RuntimeData) -> RuntimeData | None:
        plant, self._plant = self._plant, None
        if plant == "lose":
            return None
        if isinstance(data.payload, str):
            return replace(data, payload=chr(ord(data.payload[0]) ^ 1) + data.payload[1:])
        raw = bytearray(data.as_numpy().tobytes())
        raw[len(raw) // 2] ^= 1
        if isinstance(data.payload, np.ndarray):
            return replace(data, payload=np.frombuffer(raw, data.payload.dtype).reshape(data.payload.shape))
        return replace(data, payload=bytes(raw))


@register_node("soak-generator")
class Generator(Relay):
    """Gives every message ``times`` times, and lets others run in between."""

    async def process(self, data: RuntimeData) -> AsyncIterator[RuntimeData | None]:  # type: ignore[override]
        for _ in range(self.config["times"]):
            yield await super().process(data)
            await asyncio.sleep(0)


@register_node("soak-blocker")
class Blocker(Relay):
    """Does not let go of its process while it works: it waits, computes, or sticks in C with Python's lock held."""

    async def process(self, data: RuntimeData) -> RuntimeData | None:
        secs = self._chance.random() * 0.002
        way = self._chance.randrange(3)
        if way == 0:
            time.sleep(secs)  # noqa: ASYNC251  that is the point
        elif way == 1:
            until = time.perf_counter() + secs
            while time.perf_counter() < until:
                pass
        else:
            ctypes.PyDLL(None).usleep(int(secs * 1e6))
        return await super().process(data)
