"""What ``remotemedia run`` does: a session that is fed from files and whose output goes into files."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import ExitStack, aclosing
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from remotemedia.cli._errors import EXIT_DONE, EXIT_NOTHING_CAME, complain, first_line
from remotemedia.cli._run_plan import plan_inputs, plan_outputs
from remotemedia.cli._run_signals import Stop, terminable
from remotemedia.cli._run_sinks import Sink
from remotemedia.cli._run_sources import Source, open_source
from remotemedia.core.multiprocessing import (
    ChannelFullError,
    ChannelStats,
    MultiprocessConfig,
    MultiprocessError,
    NodeProcessError,
    NodeStats,
    Pipeline,
    Session,
)

if TYPE_CHECKING:
    from remotemedia.cli._run_screen import Screen

__all__ = ["Feed", "Job", "Summary", "run_job"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the user asked for."""

    pipeline: Pipeline
    config: MultiprocessConfig
    session_id: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    input_format: str = "auto"
    whole_text: bool = False
    chunk_ms: int = 100
    realtime: bool = False
    keep_going: bool = False


class Feed:
    """One ``-i`` on its way into a node.

    Attributes:
        messages: how many have been sent.
        fed: how much, in the unit of its source.
        dropped: how many found the channel full, where ``enable_backpressure`` is off.
    """

    def __init__(self, node_id: str, source: Source) -> None:
        self.node_id = node_id
        self.source = source
        self.messages = 0
        self.fed = 0.0
        self.dropped = 0

    async def run(self, session: Session, screen: Screen, summary: Summary, *, realtime: bool) -> None:
        """Until all is sent. Whatever ends it, the node's input ends."""
        began = time.monotonic()
        try:
            async with aclosing(self.source.messages()) as messages:
                async for data, self.fed in messages:
                    if realtime and self.source.unit == "s":
                        # A microphone gives a block when its last sample has been spoken.
                        await asyncio.sleep(max(0.0, began + self.fed - time.monotonic()))
                    try:
                        await session.send(self.node_id, data)
                        self.messages += 1
                    except ChannelFullError:
                        self.dropped += 1
            if self.source.warning is not None:
                summary.warn(self.source.warning, screen)
        finally:
            await session.end_input(self.node_id)
            screen.fed(self)


@dataclass
class Summary:
    """What came of it."""

    session_id: str
    feeds: list[Feed] = field(default_factory=list)
    sinks: list[Sink] = field(default_factory=list)
    unwritten: int = 0
    failures: int = 0
    warnings: list[str] = field(default_factory=list)
    init_secs: float = 0.0
    run_secs: float = 0.0
    pids: dict[str, int] = field(default_factory=dict)
    nodes: list[NodeStats] = field(default_factory=list)
    channels: list[ChannelStats] = field(default_factory=list)

    def warn(self, text: str, screen: Screen) -> None:
        """Adds a warning; the run goes on."""
        self.warnings.append(text)
        screen.note(text)

    def to_json(self) -> str:
        """For ``--json``."""
        content: dict[str, Any] = {
            "session_id": self.session_id,
            "inputs": [
                {
                    "node_id": feed.node_id,
                    "file": feed.source.name,
                    "messages": feed.messages,
                    "secs": round(feed.fed, 6) if feed.source.unit == "s" else None,
                    "dropped": feed.dropped,
                }
                for feed in self.feeds
            ],
            "outputs": [
                {
                    "node_id": sink.node_id,
                    "port": sink.port,
                    "file": sink.file,
                    "messages": sink.messages,
                    "secs": round(sink.secs, 6) or None,
                }
                for sink in self.sinks
            ],
            "unwritten_messages": self.unwritten,
            "failed_messages": self.failures,
            "warnings": self.warnings,
            "init_secs": self.init_secs,
            "run_secs": self.run_secs,
            "nodes": [asdict(node) | {"pid": self.pids[node.node_id]} for node in self.nodes],
            "channels": [asdict(channel) for channel in self.channels],
        }
        return json.dumps(content, indent=2)


def run_job(job: Job, screen: Screen, *, as_json: bool) -> int:
    """The exit code. Raises Mistake, MultiprocessError, BrokenPipeError, and what stands for a signal."""
    stop, summary = Stop(), Summary(job.session_id)
    try:
        with terminable(), ExitStack() as resources:
            # Here and not on the event loop, which would not hear of signals while a named pipe waits to be opened.
            _open_files(job, summary, resources)
            empty = asyncio.run(_run(job, summary, screen, stop))
    except (asyncio.CancelledError, BrokenPipeError):
        # Ctrl-C reaches the readers of a pipe as well.
        stop.raise_signal()
        raise
    screen.finished(summary)
    if as_json:
        print(summary.to_json(), flush=True)
    for sink in empty:
        complain(f"no audio came out of node {sink.node_id!r}, so {sink.file} was not written")
    stop.raise_signal()
    return EXIT_NOTHING_CAME if empty else EXIT_DONE


def _open_files(job: Job, summary: Summary, resources: ExitStack) -> None:
    inputs = plan_inputs(job.pipeline, job.inputs)
    for node_id, port, file in plan_outputs(job.pipeline, job.outputs, list(inputs.values())):
        sink = Sink(file, node_id, port)
        summary.sinks.append(sink)
        resources.callback(sink.close)
        sink.open()
    for node_id, file in inputs.items():
        source = open_source(file, job.input_format, chunk_ms=job.chunk_ms, whole_text=job.whole_text)
        resources.callback(source.close)
        summary.feeds.append(Feed(node_id, source))


async def _run(job: Job, summary: Summary, screen: Screen, stop: Stop) -> list[Sink]:
    """The sinks that should be audio and got none."""
    with stop.watch():
        await _run_session(job, screen, stop, summary)
        empty = [sink for sink in summary.sinks if not await sink.finish()]
        for sink in summary.sinks:
            if sink.warning is not None:
                summary.warn(sink.warning, screen)
        for sink in summary.sinks:
            sink.keep()
        return empty


async def _run_session(job: Job, screen: Screen, stop: Stop, summary: Summary) -> None:
    session = Session(job.session_id, job.pipeline, job.config)
    failed: asyncio.Future[MultiprocessError] = asyncio.get_running_loop().create_future()

    def fail(error: MultiprocessError) -> None:
        if not failed.done():
            failed.set_result(error)

    def on_error(error: NodeProcessError) -> None:
        summary.failures += 1
        if job.keep_going:
            screen.note(first_line(error))
        else:
            fail(error)

    session.on_error(on_error)
    # The session's calls would raise it too, but none may be under way: stdout is full, and nothing is left to feed.
    session.on_process_crash(fail)
    try:
        began = time.monotonic()
        screen.starting({node.node_id: node.node_type for node in job.pipeline.nodes})
        try:
            await session.initialize(screen.progress)
        finally:
            screen.started()
        await session.start()
        summary.init_secs, summary.pids = time.monotonic() - began, session.pids
        screen.running(summary)
        began = time.monotonic()
        await _feed_and_write(job, session, stop, screen, summary, failed)
        summary.run_secs = time.monotonic() - began
    finally:
        await stop.end(session)
    summary.nodes, summary.channels = session.node_stats(), session.channel_stats()
    # What a node says of its last message may arrive after all its output.
    if failed.done():
        raise failed.result()


async def _feed_and_write(
    job: Job,
    session: Session,
    stop: Stop,
    screen: Screen,
    summary: Summary,
    failed: asyncio.Future[MultiprocessError],
) -> None:
    async def watch() -> None:
        raise await asyncio.shield(failed)

    try:
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(watch())
            feeding = [
                group.create_task(feed.run(session, screen, summary, realtime=job.realtime)) for feed in summary.feeds
            ]

            def drain() -> None:
                screen.note("the input ends here, the nodes finish what they have; once more ends them at once")
                for task in feeding:
                    task.cancel()

            stop.drain_with(drain)
            async for node_id, data in session.outputs():
                sinks = [sink for sink in summary.sinks if sink.node_id == node_id and sink.takes(data.port)]
                for sink in sinks:
                    await sink.take(data)
                summary.unwritten += not sinks
            watching.cancel()
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None
