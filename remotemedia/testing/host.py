"""A host for one node in the test's own process: real channels and the real node loop, without a process.

What a node meets here is what it meets in a session: read-only payloads in shared memory, backpressure, interruptions.
What it does not meet: a process and an interpreter of its own, so a crash of the node is a crash of the test.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from traceback import clear_frames
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocess.channel.handover import Attached, attach
from remotemedia.core.multiprocess.channel.subscriber import Subscriber
from remotemedia.core.multiprocess.graph.pipeline import Pipeline
from remotemedia.core.multiprocess.node.hooks import settled
from remotemedia.core.multiprocess.node.node import MultiprocessNode, NodeStatus
from remotemedia.core.multiprocess.node.retrying import RetryingLoop
from remotemedia.core.multiprocess.session.wiring import Wiring
from remotemedia.core.multiprocess.values.config import MultiprocessConfig
from remotemedia.core.multiprocess.values.interruption import Heard, Interruption
from remotemedia.core.multiprocess.values.protocol import FromNode, InterruptAsked, Interrupted, Progress
from remotemedia.errors import SessionStateError

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["NodeHost", "run_node"]


class NodeHost:
    """``async with NodeHost(node) as host:`` runs a node on this event loop, from ``initialize()`` to ``cleanup()``.

    Args:
        node: the node, made as the framework makes it: ``MyNode("id", {...})``. Its type need not be registered.
        config: the settings that count for one node: ``channel_capacity`` and ``shm_segment_size``.
        retries, failure_marks: as in ``Pipeline.add_node``.

    What the node's code raises is raised here with its own traceback: by ``async with`` if it is ``initialize()`` or
    ``cleanup()``, else once by the next call of ``feed``, ``receive``, ``interrupt`` or ``finish``. As in a session, a
    failed message is only that; the node goes on.

    Attributes:
        node: the node.
        progress: what it reported with ``report_progress``, as (fraction, message).
        failures: what its calls raised so far, in order.
        retried: what they raised for messages that the node then got again.
        interruptions: the node ids that each call of its ``interrupt()`` named; the call returns at once, because the
            host runs no other nodes.
    """

    def __init__(
        self,
        node: MultiprocessNode,
        config: MultiprocessConfig | None = None,
        *,
        retries: int = 0,
        failure_marks: bool = False,
    ) -> None:
        self.node = node
        self.progress: list[tuple[float, str | None]] = []
        self.failures: list[BaseException] = []
        self.retried: list[BaseException] = []
        self.interruptions: list[list[str]] = []
        self._config = config or MultiprocessConfig(spin_us=0, shm_segment_size=64 * 1024 * 1024)
        self._graph = _OneNode(node, retries, failure_marks)
        self._unraised: list[BaseException] = []
        self._kept: list[RuntimeData] = []
        self._handled = 0
        self._sent = 0
        self._acknowledged: set[int] = set()
        self._resources = AsyncExitStack()
        self._loop: _Loop | None = None
        self._wired: Wiring | None = None
        self._work: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._loop is not None:
            raise SessionStateError("a NodeHost runs its node once: make another node, and another host")
        node, self._loop = self.node, _Loop(self)
        async with AsyncExitStack() as undo:
            self._wired = Wiring("test", self._graph, self._config)
            undo.callback(self._wired.close)
            node._status = NodeStatus.INITIALIZING
            await settled(node.initialize(), "initialize()")
            undo.push_async_callback(self._clean_up)
            channels = attach(*self._wired.handover(node.node_id))
            undo.callback(_detach, channels)
            self._wired.release_originals()
            self._loop.connect(channels, backpressure=True, spin_us=0)
            node._status = NodeStatus.READY
            self._work = asyncio.create_task(self._run(), name=f"node {node.node_id}")
            undo.push_async_callback(self._end)
            self._resources = undo.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._resources.__aexit__(kind, error, trace)

    # --- what a test does ---

    async def send(self, data: RuntimeData | object, port: str = "") -> None:
        """Sends one message to an input port, as ``Session.send`` does: plain values too. Waits while the node is busy
        and its channel full."""
        wired = self._running()
        node_id = self.node.node_id
        if port:
            port = self._graph.input_port_meant(node_id, port)
        message = self._graph.as_message(node_id, data, port)
        self._sent += 1
        await wired.inputs[node_id].publish_async(message, epoch=wired.segment.epoch, port=port)

    async def receive(self, timeout: float | None = None) -> RuntimeData | None:
        """The node's next output; ``port`` says which. None once the node has finished.

        TimeoutError after ``timeout`` seconds.
        """
        async with asyncio.timeout(timeout):
            while True:
                self._raise()
                if self._kept:
                    return self._kept.pop(0)
                output = self._outputs().try_receive()
                if output is not None or self._outputs().ended:
                    return output
                await self._wait(lambda: False)

    async def feed(self, data: RuntimeData | object, port: str = "") -> list[RuntimeData]:
        """Sends one message and gives everything that the node put out until it had handled it.

        A node that never stops putting out never has: use ``send``, ``receive`` and ``interrupt``.
        """
        await self.send(data, port)
        due = self._sent
        await self._gather(lambda: self._handled >= due)
        return self._take_kept()

    async def interrupt(self, heard: Mapping[str, Heard] | None = None) -> None:
        """What ``Session.interrupt`` does: what is under way is dropped. Returns when the node has acknowledged it.

        ``heard`` is for the report that the node's ``on_interrupt(report)`` gets.
        """
        wired = self._running()
        assert self._loop is not None
        epoch = wired.segment.cut()
        wired.skip_stale()
        self._sent = self._handled  # what is queued is dropped unseen
        self._kept.clear()
        self._loop.interrupt(Interruption(epoch, 0, heard or {}))
        await self._gather(lambda: epoch in self._acknowledged)
        wired.skip_stale()
        self._kept.clear()
        self._sent = self._handled

    async def finish(self) -> list[RuntimeData]:
        """Ends the input and gives what the node puts out until it has finished."""
        self._running().inputs[self.node.node_id].close()
        await self._gather(lambda: False)
        return self._take_kept()

    # --- what the node's loop tells ---

    def _hear(self, message: FromNode) -> None:
        if isinstance(message, Progress):
            self.progress.append((message.progress, message.message))
        elif isinstance(message, Interrupted):
            self._acknowledged.add(message.epoch)
        elif isinstance(message, InterruptAsked):
            assert self._loop is not None
            self.interruptions.append(message.from_nodes)
            self._loop.asking.answer(message.number, "")
        self._wake()

    def _fail(self, error: BaseException) -> None:
        self.failures.append(error)
        self._unraised.append(error)
        self._wake()

    def _has_handled(self) -> None:
        self._handled += 1
        self._wake()

    # --- inside ---

    async def _run(self) -> None:
        try:
            await settled(self.node.run(), "run()")
        except Exception as error:
            self._fail(error)
        finally:
            self._wake()

    async def _end(self) -> None:
        assert self._work is not None and self._loop is not None
        if not self._work.done():
            self._loop.abort()
            self._work.cancel()
            await asyncio.wait([self._work])
        if not self._work.cancelled():
            self._work.result()

    async def _clean_up(self) -> None:
        self.node._status = NodeStatus.STOPPING
        await settled(self.node.cleanup(), "cleanup()")
        self.node._status = NodeStatus.STOPPED

    def _running(self) -> Wiring:
        if self._wired is None or self._work is None:
            raise SessionStateError("a NodeHost runs its node inside `async with NodeHost(...) as host:`")
        return self._wired

    def _outputs(self) -> Subscriber:
        return self._running().outputs[self.node.node_id]

    async def _gather(self, enough: Callable[[], bool]) -> None:
        """Keeps what the node puts out until it is enough, or the node has ended; raises what the node raises."""
        assert self._work is not None
        while True:
            while (output := self._outputs().try_receive()) is not None:
                self._kept.append(output)
            self._raise()
            if enough() or self._work.done():
                return
            if self._outputs().ended:
                await asyncio.wait([self._work])
            else:
                await self._wait(enough)

    def _take_kept(self) -> list[RuntimeData]:
        outputs, self._kept = self._kept, []
        return outputs

    async def _wait(self, enough: Callable[[], bool]) -> None:
        """Until there is output, a failure, the end, or what the caller waits for."""
        wired, outputs, work = self._running(), self._outputs(), self._work
        assert work is not None
        await wired.doorbell.wait(lambda: bool(self._unraised) or enough() or outputs.ready() or work.done())

    def _wake(self) -> None:
        if self._wired is not None:
            self._wired.doorbell.wake()

    def _raise(self) -> None:
        if self._unraised:
            raise self._unraised.pop(0)


def run_node(node: MultiprocessNode, messages: Iterable[RuntimeData | object] = ()) -> list[RuntimeData]:
    """A node's whole life on these messages, on an event loop of its own: everything it put out, in order.

    Raises what the node's code raises first. Not for a running event loop: there use NodeHost.
    """

    async def live() -> list[RuntimeData]:
        async with NodeHost(node) as host:
            outputs = [output for message in messages for output in await host.feed(message)]
            return outputs + await host.finish()

    return asyncio.run(live())


class _Loop(RetryingLoop):
    """The node's own loop; errors reach the host as they were raised, and nothing that blocks waits for the test."""

    def __init__(self, host: NodeHost) -> None:
        own = host._graph.nodes[0]
        super().__init__(host.node, host._hear, retries=own.retries, failure_marks=own.failure_marks)
        self._host = host

    async def _handle(self, subscriber: Subscriber) -> None:
        try:
            await super()._handle(subscriber)
        finally:
            self._host._has_handled()

    def _report_failure(self, error: BaseException, sequence: int, port: str) -> None:
        self._host._fail(error)

    def _report_retry(self, error: BaseException, sequence: int, port: str) -> None:
        clear_frames(error.__traceback__)  # in a session the error is gone by now, and the payloads in its frames
        self._host.retried.append(error)

    def loan(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        from remotemedia.core.multiprocess.channel.form import FORM

        if self._channels is None:
            raise RuntimeError("loan() works once the node is connected, not in initialize()")
        array = self._channels.segment.try_loan(shape, dtype, FORM)
        if array is None:  # the node would wait for the test, and the test for the node
            raise RuntimeError("payload memory is full: drop outputs, or give NodeHost a config with more")
        return array


class _OneNode(Pipeline):
    """The graph of one node, whose class is at hand."""

    def __init__(self, node: MultiprocessNode, retries: int, failure_marks: bool) -> None:
        super().__init__()
        self._class = type(node)
        self.add_node("test", node.node_id, retries=retries, failure_marks=failure_marks)

    def _class_of(self, node_id: str) -> type[MultiprocessNode]:
        return self._class


def _detach(channels: Attached) -> None:
    """What the end of a node's process would give back."""
    for subscriber in channels.inputs:
        subscriber.close()
    for output in channels.outputs:
        output.publisher.close()
    channels.doorbell.close()
    channels.segment.close()
    channels.cuts.close()
