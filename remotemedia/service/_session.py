"""What a unary call and a stream have in common: a session, from its start to its end, whatever ends it."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import remotemedia_v1_pb2 as pb

from remotemedia.core.data import AudioMetadata, DataType, RuntimeData
from remotemedia.core.multiprocessing import (
    InitProgress,
    MultiprocessConfig,
    MultiprocessExecutor,
    Pipeline,
    Session,
)
from remotemedia.errors import NodeInitializationError, NodeProcessError, ResourceLimitError
from remotemedia.service._call import Call
from remotemedia.service._manifests import BadRequest, SessionPlan, session_plan
from remotemedia.service.config import ServiceConfig
from remotemedia.wire.buffers import data_of, json_as_text

__all__ = [
    "OpenSession",
    "Shared",
    "Stopping",
    "at_most",
    "check_input_node",
    "check_output_node",
    "input_data",
    "open_session",
    "run_until_first_failure",
]


_logger = logging.getLogger("remotemedia.service")

T = TypeVar("T")


class Stopping(Exception):
    """The service ends the calls that still run."""


class Shared:
    """What all calls share.

    Attributes:
        service_config: how the service runs.
        session_config: how sessions run, where a manifest says nothing.
        executor: of all sessions.
        ending: done when whatever still runs has to end.
        interruptible: for each session of a stream its client, and what interrupts it.
    """

    def __init__(self, service_config: ServiceConfig, session_config: MultiprocessConfig) -> None:
        self.service_config = service_config
        self.session_config = session_config
        self.executor = MultiprocessExecutor(session_config)
        self.ending: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.interruptible: dict[str, tuple[str, Callable[[pb.InterruptRequest], Awaitable[None]]]] = {}

    def plan(self, manifest: pb.PipelineManifest, limits: pb.ResourceLimits) -> SessionPlan:
        """See ``session_plan``."""
        return session_plan(manifest, limits, self.session_config, self.service_config)


@dataclass
class OpenSession:
    """A session at work.

    Attributes:
        session: the session.
        failed: has an exception as soon as ``process()`` of a node raised.
        graceful: whether the nodes may finish what they do when the session ends.
    """

    session: Session
    failed: asyncio.Future[NoReturn]
    graceful: bool = False

    def raise_error(self) -> None:
        """What ``process()`` or ``finish()`` of a node raised, once the session has ended: no word of it is missing."""
        if self.failed.done():
            self.failed.result()


@asynccontextmanager
async def open_session(
    shared: Shared, plan: SessionPlan, call: Call, progress: Callable[[InitProgress], None] | None = None
) -> AsyncIterator[OpenSession]:
    """A running session of its own for a call; all of its processes are gone when the block has ended.

    Unless the block sets ``graceful``, nothing that is under way is waited for. Cancelled, the block ends at once, and
    the processes all the same.
    """
    call.take_processes(len(plan.pipeline.nodes))
    call.session_id = str(uuid.uuid4())
    session = Session(call.session_id, plan.pipeline, plan.config, shared.executor)
    running = OpenSession(session, asyncio.get_running_loop().create_future())

    def fail(error: NodeProcessError) -> None:
        if not running.failed.done():
            running.failed.set_exception(error)
            running.failed.exception()  # perhaps nobody else asks
            _log(session, error)

    session.on_error(fail)
    try:
        await run_until_first_failure(shared, _start(session, progress))
        yield running
    except NodeInitializationError as error:
        _log(session, error)
        raise
    finally:
        await _end(shared, session, abort=not running.graceful)


def _log(session: Session, error: NodeInitializationError | NodeProcessError) -> None:
    """Logs it for the author of the node: the client also gets the error, but need not pass it on."""
    extra = {"session_id": session.session_id, "node_id": error.node_id}
    said = str(error).partition("\n")[0]
    _logger.error("session %r: %s\n%s", session.session_id, said, error.remote_traceback.rstrip(), extra=extra)


async def _start(session: Session, progress: Callable[[InitProgress], None] | None) -> None:
    await session.initialize(progress)
    await session.start()


async def _end(shared: Shared, session: Session, *, abort: bool) -> None:
    """Ends the session although the call is cancelled: its place is free when its processes are gone.

    A session that ends gracefully, for as long as the client's settings say, is killed when the call is cancelled or
    all have to end.
    """
    task = asyncio.ensure_future(session.cleanup(abort=abort))
    hurry: set[asyncio.Future[None]] = set() if abort else {shared.ending}
    cancelled = False
    while not task.done():
        try:
            done, _ = await asyncio.wait({task, *hurry}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            cancelled, done = True, hurry
        if hurry & done and not task.done():
            task.cancel()
            hurry = set()
    if cancelled:
        raise asyncio.CancelledError
    if not task.cancelled():
        task.result()


async def run_until_first_failure(
    shared: Shared, work: Coroutine[Any, Any, T], *beside: Coroutine[Any, Any, Any], failed: Any = None
) -> T:
    """The result of ``work``, with ``beside`` running next to it; the first to raise ends all of it.

    Raises that error, the one of ``failed`` (a future), or Stopping when the service ends. ``beside`` may be done
    earlier, and is cancelled when ``work`` is done.
    """
    main = asyncio.ensure_future(work)
    tasks: set[asyncio.Task[Any]] = {main, *map(asyncio.ensure_future, beside)}
    signs = {shared.ending, failed} - {None}
    try:
        while not main.done():
            done, _ = await asyncio.wait((tasks | signs) - _finished(tasks), return_when=asyncio.FIRST_COMPLETED)
            if shared.ending in done:
                raise Stopping
            for future in done:
                future.result()
        return main.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def at_most(secs: float | None, who: str) -> AsyncIterator[None]:
    """ResourceLimitError for a block that takes longer; 0 or None: no limit. ``who`` names its owner."""
    limit = asyncio.timeout(secs or None)
    try:
        async with limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise ResourceLimitError(f"not done within the {secs:g} s that {who}") from None


def _finished(tasks: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    return {task for task in tasks if task.done() and not task.cancelled() and task.exception() is None}


def input_data(
    buffer: pb.DataBuffer,
    payloads: Sequence[memoryview],
    target: tuple[Pipeline, str, str],
    what: str,
    limits: pb.ResourceLimits,
) -> RuntimeData:
    """The data for a node of a pipeline, on a port or on "", its only one.

    Where that takes TEXT and not JSON, JSON arrives as TEXT. BadRequest when they are none, ResourceLimitError when
    they are too long.
    """
    pipeline, node_id, port = target
    try:
        data = data_of(buffer, payloads)
    except ValueError as error:
        raise BadRequest(f"{what}: {error}", node_id) from None
    if data.type is DataType.JSON:
        takes = pipeline.input_types(node_id, port)
        if takes is not None and DataType.TEXT in takes and DataType.JSON not in takes:
            data = json_as_text(data)
    _check_size(data, limits, what)
    return data


def _check_size(data: RuntimeData, limits: pb.ResourceLimits, what: str) -> None:
    """ResourceLimitError for more samples than the client itself allowed."""
    samples = data.as_numpy().size if isinstance(data.metadata, AudioMetadata) else 0
    if limits.max_audio_samples and samples > limits.max_audio_samples:
        raise ResourceLimitError(f"{what} has {samples} samples; max_audio_samples is {limits.max_audio_samples}")


def check_input_node(pipeline: Pipeline, node_id: str, what: str) -> None:
    """BadRequest for a node that takes no input, or is none."""
    if node_id not in pipeline.input_nodes:
        raise _no_such_end(pipeline, node_id, what, "takes no input", f"input nodes are: {_few(pipeline.input_nodes)}")


def check_output_node(pipeline: Pipeline, node_id: str, what: str) -> None:
    """BadRequest for a node whose output nobody gets, or is none."""
    if node_id not in pipeline.output_nodes:
        known = f"output nodes are: {_few(pipeline.output_nodes)}"
        raise _no_such_end(pipeline, node_id, what, "is not an output node", known)


def _no_such_end(pipeline: Pipeline, node_id: str, what: str, wrong: str, known: str) -> BadRequest:
    there = wrong if node_id in pipeline.node_ids else "is not in the pipeline"
    return BadRequest(f"{what}: node {node_id!r} {there}; the {known}", node_id)


def _few(node_ids: Sequence[str]) -> str:
    return ", ".join(map(repr, node_ids))
