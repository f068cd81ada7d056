"""MultiprocessNode: what a user writes, and the states it goes through."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Collection, Coroutine, Generator, Iterator, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from remotemedia.core.multiprocess.node.declaration import Param, Ports, completed

if TYPE_CHECKING:
    import numpy.typing as npt

    from remotemedia.core.data import RuntimeData
    from remotemedia.core.multiprocess.channel.publisher import Publisher
    from remotemedia.core.multiprocess.channel.subscriber import Subscriber
    from remotemedia.core.multiprocess.node.held import Held
    from remotemedia.core.multiprocess.node.loop import NodeLoop

__all__ = ["MultiprocessNode", "NodeStatus", "Nothing", "Output"]

Output: TypeAlias = "RuntimeData | dict[str, RuntimeData] | None"
"""What ``process()`` may return, or yield: data for every output port, data by port, or nothing."""

_Result: TypeAlias = "Output | AsyncIterator[Output] | Iterator[Output]"

_Done: TypeAlias = Any
"""What a type checker sees as the result of a hook without a result: it may be written with or without ``async``, and
``await super().initialize()`` works either way."""


class NodeStatus(Enum):
    """State of a node."""

    IDLE = "idle"
    INITIALIZING = "initializing"
    READY = "ready"
    PROCESSING = "processing"
    ERROR = "error"
    STOPPING = "stopping"
    STOPPED = "stopped"


class MultiprocessNode(ABC):
    """Base class of nodes; each instance lives in a process of its own, with its own event loop and GIL.

    ``process()`` is what a node must have; ``register_node`` supplies an ``initialize()`` and a ``cleanup()`` that do
    nothing where a class has none. Every method that the framework calls may be written with ``async`` or without. One
    without holds up the node's event loop while it runs: its progress, its interruption and its stop wait for it.

    A class may declare what it takes and gives; pipelines and manifests are then checked against it before anything
    starts, and ``remotemedia nodes show`` prints it. None, as here, means: not declared, not checked.

    Attributes:
        params: what may be in the config, as a dict of Param by key. ``config`` then has the defaults filled in, and a
            config that does not fit is a ValueError that names the key.
        requirements: what pip has to install for this class, such as ``("faster-whisper>=1.1,<2",)``. Where this
            program's Python does not have it, and nobody named another for the node, an environment is made of it.
        inputs, outputs: the ports by name, with the DataType that passes, a tuple of several, or None for any.
        optional_outputs: declared outputs that need not be connected: what goes there is then dropped without a word.
        port_aliases: declared ports by other names that connections and ``Session.send`` may use for them. Messages
            always bear the declared name.
        node_id: the id given in ``Pipeline.add_node``.
        config: the dict given in ``Pipeline.add_node`` (JSON values).
        input_channels, output_channels: the channels of this node by port name; a second channel on the same port
            is found under ``"port#2"`` and so on. The framework reads and writes them; a node seldom needs to.
    """

    params: ClassVar[Mapping[str, Param] | None] = None
    requirements: ClassVar[tuple[str, ...]] = ()
    inputs: ClassVar[Ports | None] = None
    outputs: ClassVar[Ports | None] = None
    optional_outputs: ClassVar[tuple[str, ...]] = ()
    port_aliases: ClassVar[Mapping[str, str]] = {}

    def __init__(self, node_id: str, config: dict[str, Any]) -> None:
        kinds: tuple[type, type] = type(node_id), type(config)
        if not issubclass(kinds[0], str) or not issubclass(kinds[1], Mapping):
            given = f"({kinds[0].__name__}, {kinds[1].__name__})"
            raise TypeError(f"super().__init__(node_id, config) takes a str and a dict, in this order, not {given}")
        self.node_id = node_id
        declared = type(self).params
        self.config = config if declared is None else completed(declared, config, type(self).__name__)
        self.input_channels: dict[str, Subscriber] = {}
        self.output_channels: dict[str, Publisher] = {}
        self._status = NodeStatus.IDLE
        self._relays_ends = False  # marks of ends of turns come back to it from elsewhere, and then it passes them on
        self._node_loop: NodeLoop | None = None  # not "_loop": nodes use that name for their asyncio loop

    @property
    def status(self) -> NodeStatus:
        """The state the node is in."""
        return self._status

    # No "async" here and below: that lets type checkers accept plain functions, coroutines and generators.
    @abstractmethod
    def initialize(self) -> _Done:
        """Load models and resources; ``async`` or not. The session is ready when this has returned in every node."""
        return Nothing()

    @abstractmethod
    def process(self, data: RuntimeData) -> _Result | Awaitable[_Result]:
        """Handle one message; ``data.port`` says which input it came in on.

        Write it as ``async def``, or as ``def`` where it awaits nothing. Return RuntimeData (it goes to every output),
        None, or a dict by output port; or make it a generator, async or not, that yields any of these. An exception
        fails this message only.
        """

    @abstractmethod
    def cleanup(self) -> _Done:
        """Release resources; called once before the process ends, unless it is killed."""
        return Nothing()

    def finish(self) -> _Result | Awaitable[_Result]:
        """Called once after the last message of all inputs; write it like ``process``, without the argument."""
        return Nothing()

    def on_mark(self, mark: RuntimeData) -> _Result | Awaitable[_Result]:
        """Handle a mark, such as the end of a turn: ``mark.mark`` is its name. Write it like ``process``.

        It comes in order with the data. A node without this method passes marks on. One that has it passes on what it
        returns or yields: ``yield mark`` last lets the next node know, too.
        """
        return mark

    def on_interrupt(self) -> _Done:
        """Called when an interruption has reached this node: forget what was gathered for the turn that it ended.

        If it began at a node, that is what came from there; what came by other branches goes on.

        It may also be written as ``on_interrupt(self, report)``. The report is an Interruption, whose ``heard`` says of
        each output of the session what had been delivered and what had been played: see ``Session.played``. Then it is
        called once for each interruption.
        """
        return Nothing()

    def report_progress(self, fraction: float, message: str | None = None) -> None:
        """Tell the user how far ``initialize()`` is: a fraction from 0 to 1 and a few words. Does not block."""
        if self._node_loop is not None:
            self._node_loop.report_progress(fraction, message)

    def hold(self, data: RuntimeData) -> Held:
        """Says that this node keeps ``data``, or what it makes of it, past this call: its turn does not end meanwhile.

        ``data`` is the message that ``process()`` was given, during that call. What an interruption cuts off is
        released by itself, and so is the rest at the end of the stream, for what ``finish()`` gives.

        Returns what ``release`` and ``emit`` take for it. RuntimeError outside a call; in a node that does not run,
        as in a test that calls ``process()``, it holds nothing.
        """
        if self._node_loop is None:
            return _held_by_nobody()
        return self._node_loop.hold()

    def release(self, *held: Held) -> None:
        """Ends what ``hold`` returned; without arguments, all that the node holds.

        In a call, do it before you give what is made of the data: what the call gives from then on is of its turn, too,
        and the turn does not end before the call. Elsewhere the turn may end at once.
        """
        if self._node_loop is not None:
            self._node_loop.release(held)

    async def emit(self, output: Output, *, of: Held | None = None) -> None:
        """Sends what ``process()`` might have returned, from a task of the node's own.

        ``of`` is what it is made of, from ``hold``: then it belongs to that turn, and an interruption drops it if it
        drops that. Without it, it belongs to no turn.

        Waits while a channel is full. After an interruption the next node never sees it, nor what is emitted until
        ``on_interrupt()`` was called. It keeps its own ``origin``. When nobody listens any more it goes nowhere. To
        come out before the end of the stream it must be emitted before ``finish()`` returns. RuntimeError before the
        node is connected: start such tasks in ``run()``, not in ``initialize()``, and end them in ``cleanup()``.
        ValueError once ``of`` was released.
        """
        if self._node_loop is None:
            raise RuntimeError("emit() works in a running node")
        emitting = self._node_loop.emit(output, of)
        del output  # see NodeLoop._commit
        await emitting

    async def interrupt(self, *, from_node: str | Collection[str], drop_queued: bool = False) -> None:
        """Asks the session for ``session.interrupt(from_node=..., drop_queued=...)``; returns when that is done.

        So ears can silence the mouth: name the node in a param of this one. PipelineError for a node that the pipeline
        does not have, for one whose interruption would reach this node, and when the session is ending. RuntimeError
        before the node is connected.
        """
        if self._node_loop is None:
            raise RuntimeError("interrupt() works in a running node")
        from_nodes = [from_node] if isinstance(from_node, str) else list(from_node)
        await self._node_loop.ask_interrupt(from_nodes, drop_queued)

    def loan(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """A writable array in shared memory; returning it from ``process()`` moves no bytes.

        Its contents are undefined. Once published it becomes read-only; do not write through other views of it that
        you made before. Blocks (the whole node) while the pool has
        no room; PayloadError when it never could.
        """
        if self._node_loop is None:
            raise RuntimeError("loan() works in a running node; outside one, use numpy.empty()")
        return self._node_loop.loan(shape, dtype)

    async def run(self) -> None:
        """Main loop: receive, ``process()``, publish, until all inputs have ended. The framework calls it.

        A node with tasks of its own overrides it: starts them, and awaits ``super().run()``.
        """
        if self._node_loop is None:
            raise RuntimeError("run() is called by the framework, in the node's own process")
        await self._node_loop.run()


def _held_by_nobody() -> Held:
    from remotemedia.core.multiprocess.node.held import Held

    return Held()


class Nothing(Coroutine[Any, Any, None]):
    """The result of a hook that does nothing: a coroutine that does not warn if nobody awaits it.

    So ``def initialize(self): super().initialize()`` works as well as with ``async`` and ``await``.
    """

    def send(self, value: Any) -> Any:
        raise StopIteration

    def throw(self, *error: Any) -> Any:
        raise error[0]

    def close(self) -> None:
        pass

    def __await__(self) -> Generator[Any, Any, None]:
        yield from ()
