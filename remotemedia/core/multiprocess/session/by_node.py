"""A session built node by node, for the executor: each process starts at once, the channels come last."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from remotemedia._event_loop import running_loop
from remotemedia.core.multiprocess.classes.reference import stop_if_loading
from remotemedia.core.multiprocess.graph.pipeline import NodeConfig, Pipeline
from remotemedia.core.multiprocess.session.interpreters import interpreter_of
from remotemedia.core.multiprocess.session.status import SessionStatus
from remotemedia.core.multiprocess.values.progress import InitProgress
from remotemedia.errors import PipelineError, SessionStateError

if TYPE_CHECKING:
    from remotemedia.core.multiprocess.session.session import Session

__all__ = ["complete", "connect", "launch"]


async def launch(session: Session, node: NodeConfig) -> int:
    """Adds ``node`` to the pipeline and starts its process, before ``complete``; its pid.

    The process loads its node and waits for its channels. For ``MultiprocessExecutor.execute_node``. Raises
    PipelineError, ResourceLimitError or ProcessSpawnError for this node alone, the session's failure otherwise.
    """
    stop_if_loading()
    session._in("execute_node()", SessionStatus.CREATED, SessionStatus.INITIALIZING)
    running_loop("execute_node()")
    _refuse_late(session, "execute_node()")
    supervisor, pipeline = session._supervisor, session.pipeline
    if supervisor is not None and supervisor.failure is not None:
        await supervisor.raise_failure()
    session._check_limits(len(pipeline.nodes) + 1)
    pipeline.add_node(
        node.node_type,
        node.node_id,
        node.config,
        memory_limit_bytes=node.memory_limit_bytes,
        python=node.python,
        env=node.env,
        retries=node.retries,
        failure_marks=node.failure_marks,
    )
    added = pipeline.nodes[-1]
    try:
        session._introductions.add(added)
        _refuse_wrong(pipeline, "nodes[")
        interpreter = await interpreter_of(node, session.config, len(pipeline.nodes), lambda progress: None)
        # While an environment was made, other nodes may have been launched, and the session started or ended.
        session._in("execute_node()", SessionStatus.CREATED, SessionStatus.INITIALIZING)
        _refuse_late(session, "execute_node()")
        return (session._supervisor or session._open()).spawn(added, interpreter)
    except BaseException:
        pipeline.nodes.remove(added)
        raise


def connect(session: Session, from_node: str, from_port: str, to_node: str, to_port: str) -> None:
    """Adds a connection between nodes that were launched, before ``complete``. PipelineError for a wrong name, and
    for what would make a graph that cannot run; then it is not part of the session."""
    session._in("connect_nodes()", SessionStatus.INITIALIZING)
    _refuse_late(session, "connect_nodes()")
    pipeline = session.pipeline
    for node_id in (from_node, to_node):
        if node_id not in pipeline.node_ids:
            choices = ", ".join(pipeline.node_ids)
            raise PipelineError(f"there is no node {node_id!r} to connect; the nodes are: {choices}")
    pipeline.connect(from_node, from_port, to_node, to_port)
    try:
        _refuse_wrong(pipeline, "connections[")
    except PipelineError:
        pipeline.connections.pop()
        raise


async def complete(session: Session, progress_callback: Callable[[InitProgress], None] | None = None) -> None:
    """Gives the nodes that were launched their channels; returns when every one is ready. Raises like
    ``Session.initialize``."""
    session._in("start_session()", SessionStatus.INITIALIZING)
    _refuse_late(session, "start_session()")
    supervisor = session._supervisor
    assert supervisor is not None
    if supervisor.failure is not None:
        await supervisor.raise_failure()
    session.pipeline.validate()
    async with session._becoming_ready(progress_callback):
        await session._connect(supervisor)


def _refuse_late(session: Session, call: str) -> None:
    # The channels are made for the graph as it is then; in a session that failed, report the failure.
    if session._wiring is not None and not session._over():
        raise SessionStateError(f"{call} comes too late: session {session.session_id!r} is being started already")


def _refuse_wrong(pipeline: Pipeline, part: str) -> None:
    # The earlier parts were right, so the newest is wrong.
    for problem in pipeline.find_problems():
        if problem.place.startswith(part):
            raise PipelineError(problem.message)
