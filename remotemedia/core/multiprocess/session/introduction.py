"""What a node's process is told: its class and config when it is there, its channels as soon as there are any."""

from __future__ import annotations

from typing import Any

from remotemedia.core.multiprocess.classes.reference import describe_class
from remotemedia.core.multiprocess.classes.registry import lookup_node
from remotemedia.core.multiprocess.graph.pipeline import NodeConfig
from remotemedia.core.multiprocess.session.wiring import Wiring
from remotemedia.core.multiprocess.values.config import MultiprocessConfig
from remotemedia.errors import PipelineError

__all__ = ["Introductions"]

Words = tuple[dict[str, Any], list[int]]


class Introductions:
    """One session's. The messages come with descriptors, which are the caller's to close.

    It knows no session: the event loop knows it through the supervisor, and must not keep a dropped session alive.
    """

    def __init__(self, config: MultiprocessConfig) -> None:
        self._config = config
        self._hellos: dict[str, dict[str, Any]] = {}
        self._wiring: Wiring | None = None

    def add(self, node: NodeConfig) -> None:
        """PipelineError when the node's class cannot be described to another process."""
        try:
            described = describe_class(lookup_node(node.node_type))
        except PipelineError as error:
            raise PipelineError(f"node {node.node_id!r}: {error}") from None
        self._hellos[node.node_id] = {
            "type": "hello",
            "class": described,
            "config": node.config,
            "extra_paths": list(self._config.extra_paths),
            "use_uvloop": self._config.use_uvloop,
        }

    def wire(self, wiring: Wiring) -> None:
        """From now on there are channels to be handed over."""
        self._wiring = wiring

    def hello(self, node_id: str) -> Words:
        """The first message to a node; with its channels where there are any. OSError without descriptors."""
        hello = self._hellos[node_id]
        channels = self.channels(node_id)
        if channels is None:
            return {**hello, "handover": None}, []
        return {**hello, "handover": channels[0]["handover"]}, channels[1]

    def channels(self, node_id: str) -> Words | None:
        """The message with a node's channels, or None while there are none. OSError without descriptors."""
        if self._wiring is None:
            return None
        handover, fds = self._wiring.handover(node_id)
        return {"type": "connect", "handover": handover.to_json()}, fds

    def forget(self) -> None:
        """Everybody has been told everything."""
        self._hellos.clear()
        self._wiring = None
