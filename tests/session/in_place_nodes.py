"""Node classes that pass payloads on in each of the ways there are, and one that writes to what it gets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import numpy as np

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode, register_node


class Node(MultiprocessNode):
    async def initialize(self) -> None: ...

    async def cleanup(self) -> None: ...


@register_node("in-place-pass")
class Pass(Node):
    async def process(self, data: RuntimeData) -> Any:
        return data


@register_node("in-place-pass-at-once")
class PassAtOnce(Node):
    async def process(self, data: RuntimeData) -> Any:
        return {"out": data}


@register_node("in-place-loan")
class Loan(Node):
    async def process(self, data: RuntimeData) -> Any:
        loan = self.loan(data.payload.shape, data.payload.dtype)
        loan[:] = data.payload
        return RuntimeData.tensor(loan)


@register_node("in-place-yield")
class Yield(Node):
    async def process(self, data: RuntimeData) -> AsyncIterator[RuntimeData]:
        given = [data]
        del data
        yield given.pop()


@register_node("in-place-emit")
class Emit(Node):
    async def process(self, data: RuntimeData) -> None:
        emitting = self.emit(data)
        del data
        await emitting


@register_node("in-place-keep")
class Keep(Node):
    async def process(self, data: RuntimeData) -> Any:
        self.kept = data
        return data


@register_node("in-place-write")
class Write(Node):
    """Says whether it could write in place, and what it saw."""

    async def process(self, data: RuntimeData) -> Any:
        seen = float(data.payload.sum())
        mine = data.as_numpy(writable=True)
        mine += 1
        return RuntimeData.tensor(np.array([mine.base is data.payload.base, seen]))
