"""A language model that can be asked what it remembers."""

from __future__ import annotations

from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.multiprocessing import register_node
from remotemedia.nodes import LlamaNode

__all__ = ["NODE_TYPE", "RecallingNode"]

NODE_TYPE = "t-recalling"


@register_node(NODE_TYPE)
class RecallingNode(LlamaNode):
    """At the mark "recall" its conversation goes out, as JSON."""

    outputs = {**LlamaNode.outputs, "recalled": DataType.JSON}
    optional_outputs = ("recalled",)

    async def on_mark(self, mark: RuntimeData) -> RuntimeData | dict[str, RuntimeData] | None:  # type: ignore[override]
        """A mark as LlamaNode takes it, or "recall"."""
        if mark.mark == "recall":
            return {"recalled": RuntimeData.json(self._dialogue.messages())}
        return await super().on_mark(mark)
