"""A node that loads nothing of its own: starting it costs what starting any node costs."""

from __future__ import annotations

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode, register_node


@register_node("bench-light")
class Light(MultiprocessNode):
    """Passes on its input."""

    async def initialize(self) -> None:
        """Nothing to load."""

    async def process(self, data: RuntimeData) -> RuntimeData:
        return data

    async def cleanup(self) -> None:
        """Nothing to release."""
