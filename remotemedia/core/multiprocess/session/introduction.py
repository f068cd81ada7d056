"""How a node's process learns what it is: its class and config when it is there, its channels once there are any."""

from __future__ import annotations

from remotemedia.core.multiprocess.classes.reference import describe_class
from remotemedia.core.multiprocess.classes.registry import lookup_node
from remotemedia.core.multiprocess.graph.pipeline import NodeConfig
from remotemedia.core.multiprocess.session.wiring import Wiring
from remotemedia.core.multiprocess.values.config import MultiprocessConfig
from remotemedia.core.multiprocess.values.protocol import Connect, Hello
from remotemedia.errors import PipelineError

__all__ = ["Introductions"]


class Introductions:
    """One session's. The messages come with descriptors, which are the caller's to close.

    It knows no session: the event loop knows it through the supervisor, and must not keep a dropped session alive.
    """

    def __init__(self, config: MultiprocessConfig) -> None:
        self._config = config
        self._hellos: dict[str, Hello] = {}
        self._wiring: Wiring | None = None

    def add(self, node: NodeConfig) -> None:
        """PipelineError when the node's class cannot be described to another process."""
        try:
            described = describe_class(lookup_node(node.node_type))
        except PipelineError as error:
            raise PipelineError(f"node {node.node_id!r}: {error}") from None
        self._hellos[node.node_id] = Hello(
            described,
            node.config,
            list(self._config.extra_paths),
            self._config.use_uvloop,
            retries=node.retries,
            failure_marks=node.failure_marks,
        )

    def wire(self, wiring: Wiring) -> None:
        """From now on there are channels to be handed over."""
        self._wiring = wiring

    def hello(self, node_id: str) -> tuple[Hello, list[int]]:
        """The first message to a node; with its channels where there are any. OSError without descriptors."""
        hello = self._hellos[node_id]
        channels = self.channels(node_id)
        if channels is None:
            return hello, []
        connect, fds = channels
        return hello._replace(handover=connect.handover), fds

    def channels(self, node_id: str) -> tuple[Connect, list[int]] | None:
        """The message with a node's channels, or None while there are none. OSError without descriptors."""
        if self._wiring is None:
            return None
        handover, fds = self._wiring.handover(node_id)
        return Connect(handover.to_json()), fds

    def forget(self) -> None:
        """Every node knows everything."""
        self._hellos.clear()
        self._wiring = None
