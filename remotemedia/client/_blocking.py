"""The client without ``await``: the same calls, run on an event loop in a thread of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Iterator, Mapping
from concurrent.futures import CancelledError, Future, wait
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

from remotemedia.client._manifest import ConfigSource, PipelineSource
from remotemedia.client._result import ExecutionResult, ServiceVersion
from remotemedia.client._session import RemoteSession
from remotemedia.client._turns import RemoteTurn
from remotemedia.core.data import Payload, RuntimeData
from remotemedia.core.multiprocessing import InitProgress, Interruption, Origin, SessionStatus

if TYPE_CHECKING:
    from remotemedia.client._client import PipelineClient

__all__ = ["BlockingClient", "BlockingSession", "BlockingTurn"]

T = TypeVar("T")


class _LoopThread:
    """An event loop in a thread."""

    def __init__(self) -> None:
        started: Future[asyncio.AbstractEventLoop] = Future()
        # A program that ends without close() need not wait for it.
        self._thread = threading.Thread(target=_live, args=(started,), name="remotemedia client", daemon=True)
        self._thread.start()
        self._loop = started.result()
        self._ending: set[asyncio.Task[None]] = set()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Blocks until it is done; Ctrl-C cancels it, and waits for that. RuntimeError once the thread has ended."""
        future: Future[T] = Future()
        tasks: list[asyncio.Task[T]] = []

        def start() -> None:
            tasks.append(self._loop.create_task(work))
            tasks[0].add_done_callback(partial(_settle, future))

        try:
            self._loop.call_soon_threadsafe(start)
        except RuntimeError:
            work.close()
            raise
        try:
            return future.result()
        except BaseException:
            if not future.done():
                self._loop.call_soon_threadsafe(lambda: tasks[0].cancel())
                wait([future])
            raise

    def end(self, generator: AsyncGenerator[Any]) -> None:
        """Closes it, in a thread that may be any: an iterator that nobody uses any more is collected anywhere."""
        if threading.current_thread() is self._thread:
            task = self._loop.create_task(generator.aclose())
            self._ending.add(task)
            task.add_done_callback(self._ended)
        elif self._thread.is_alive():  # its end has closed what was open there
            self.run(generator.aclose())

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._ending.discard(task)
        if not task.cancelled():
            task.exception()  # it may have been collected, too, and closed for that

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


def _settle(future: Future[T], task: asyncio.Task[T]) -> None:
    if task.cancelled():
        future.set_exception(CancelledError())
    elif (error := task.exception()) is not None:
        future.set_exception(error)
    else:
        future.set_result(task.result())


def _live(started: Future[asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner() as runner:  # it also ends what was begun there, such as outputs() that nobody read to the end
        loop = runner.get_loop()
        started.set_result(loop)
        loop.run_forever()


class BlockingClient:
    """What ``with PipelineClient(...)`` gives: its calls, blocking. From any thread, even where an event loop runs."""

    def __init__(self, client: PipelineClient) -> None:
        self._client = client
        self._thread = _LoopThread()
        try:
            self._thread.run(client.__aenter__())
        except BaseException:
            self._thread.close()
            raise

    def close(self) -> None:
        """Ends the connection and the thread; ``with`` does it."""
        try:
            self._thread.run(self._client.__aexit__(None, None, None))
        finally:
            self._thread.close()

    @contextmanager
    def session(
        self,
        pipeline: PipelineSource,
        config: ConfigSource = None,
        on_progress: Callable[[InitProgress], None] | None = None,
    ) -> Iterator[BlockingSession]:
        """See ``PipelineClient.session``; for ``with``. ``on_progress`` is called in the client's thread."""
        session = self._client.session(pipeline, config, on_progress)
        self._thread.run(session.__aenter__())
        try:
            yield BlockingSession(session, self._thread)
        finally:
            self._thread.run(session.__aexit__(None, None, None))

    def execute(
        self,
        pipeline: PipelineSource,
        inputs: Mapping[str, RuntimeData | Payload] | None = None,
        *,
        config: ConfigSource = None,
        timeout_secs: float | None = None,
    ) -> ExecutionResult:
        """See ``PipelineClient.execute``."""
        return self._thread.run(self._client.execute(pipeline, inputs, config=config, timeout_secs=timeout_secs))

    def version(self) -> ServiceVersion:
        """See ``PipelineClient.version``."""
        return self._thread.run(self._client.version())


class BlockingSession:
    """A RemoteSession whose calls block."""

    def __init__(self, session: RemoteSession, thread: _LoopThread) -> None:
        self._session = session
        self._thread = thread

    @property
    def session_id(self) -> str:
        """See ``RemoteSession.session_id``."""
        return self._session.session_id

    @property
    def status(self) -> SessionStatus:
        """See ``RemoteSession.status``."""
        return self._session.status

    def send(self, node_id: str, data: RuntimeData | Payload, port: str = "") -> None:
        """See ``RemoteSession.send``."""
        self._thread.run(self._session.send(node_id, data, port))

    def receive(self, node_id: str, timeout: float | None = None) -> RuntimeData | None:
        """See ``RemoteSession.receive``."""
        return self._thread.run(self._session.receive(node_id, timeout))

    def outputs(self, *node_ids: str) -> Iterator[tuple[str, RuntimeData]]:
        """See ``RemoteSession.outputs``."""
        return _each(self._session.outputs(*node_ids), self._thread)

    def end_input(self, node_id: str | None = None) -> None:
        """See ``RemoteSession.end_input``."""
        self._thread.run(self._session.end_input(node_id))

    def turn(self, node_id: str, *, own_outputs: bool = True) -> BlockingTurn:
        """See ``RemoteSession.turn``."""

        async def begin() -> RemoteTurn:
            return self._session.turn(node_id, own_outputs=own_outputs)

        return BlockingTurn(self._thread.run(begin()), self._thread)

    def ask(self, node_id: str, data: RuntimeData | Payload, port: str = "") -> Iterator[RuntimeData]:
        """See ``RemoteSession.ask``."""
        return _each(self._session.ask(node_id, data, port), self._thread)

    def played(self, node_id: str, *, sequence: int | None = None, secs: float | None = None) -> None:
        """See ``RemoteSession.played``."""
        self._thread.run(self._session.played(node_id, sequence=sequence, secs=secs))

    def interrupt(self, *, from_node: str | Collection[str] | None = None, drop_queued: bool = False) -> Interruption:
        """See ``RemoteSession.interrupt``."""
        return self._thread.run(self._session.interrupt(from_node=from_node, drop_queued=drop_queued))


class BlockingTurn:
    """A RemoteTurn whose calls block; for ``with``."""

    def __init__(self, turn: RemoteTurn, thread: _LoopThread) -> None:
        self._turn = turn
        self._thread = thread

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._thread.run(self._turn.__aexit__(*error))

    @property
    def origin(self) -> Origin:
        """See ``RemoteTurn.origin``."""
        return self._turn.origin

    @property
    def is_over(self) -> bool:
        """See ``RemoteTurn.is_over``."""
        return self._turn.is_over

    def send(self, data: RuntimeData | Payload, port: str = "", *, node_id: str | None = None) -> None:
        """See ``RemoteTurn.send``."""
        self._thread.run(self._turn.send(data, port, node_id=node_id))

    def end(self) -> None:
        """See ``RemoteTurn.end``."""
        self._thread.run(self._turn.end())

    def give_up(self) -> None:
        """See ``RemoteTurn.give_up``."""

        async def give_up() -> None:
            self._turn.give_up()

        self._thread.run(give_up())

    def outputs(self) -> Iterator[tuple[str, RuntimeData]]:
        """See ``RemoteTurn.outputs``."""
        return _each(self._turn.outputs(), self._thread)

    def done(self) -> None:
        """See ``RemoteTurn.done``."""
        self._thread.run(self._turn.done())


def _each(found: AsyncGenerator[T], thread: _LoopThread) -> Iterator[T]:
    """Its items, each waited for in the calling thread; left before its end, it is closed."""
    try:
        while (item := thread.run(_next(found))) is not None:
            yield item
    finally:
        thread.end(found)


async def _next(found: AsyncGenerator[T]) -> T | None:
    return await anext(found, None)
