"""Runs a job: a session that is fed from sources and whose output goes into sinks."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from remotemedia.cli._errors import first_line
from remotemedia.cli._job import Feed, Job, Summary
from remotemedia.cli._run_signals import Stop, terminable
from remotemedia.cli._screen import Screen
from remotemedia.core.multiprocessing import ChannelFullError, MultiprocessError, NodeProcessError, Session

__all__ = ["run_job"]


def run_job(job: Job, screen: Screen, stop: Stop) -> Summary:
    """What came of it. Raises Mistake, MultiprocessError, BrokenPipeError, and what stands for a signal.

    A signal that only ended the input is not raised: the caller does so by ``stop``, when it has told the rest.
    """
    summary = Summary(job)
    try:
        with terminable():
            asyncio.run(_run(summary, screen, stop))
    except (asyncio.CancelledError, BrokenPipeError):
        # Ctrl-C reaches the readers of a pipe as well.
        stop.raise_signal()
        raise
    screen.finished(summary)
    return summary


async def _run(summary: Summary, screen: Screen, stop: Stop) -> None:
    sinks = summary.job.sinks
    with stop.watch():
        await _run_session(summary, screen, stop)
        summary.empty = [sink for sink in sinks if not await sink.finish()]
        for sink in sinks:
            if sink.warning is not None:
                _warn(sink.warning, summary, screen)
        for sink in sinks:
            sink.keep()


async def _run_session(summary: Summary, screen: Screen, stop: Stop) -> None:
    job = summary.job
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
    # The session's calls would also raise it, but none may be under way: stdout is full, and nothing is left to feed.
    session.on_process_crash(fail)
    try:
        screen.starting(summary)
        try:
            await session.initialize(screen.progress)
        finally:
            screen.started()
        await session.start()
        summary.init_secs, summary.pids = summary.secs, session.pids
        screen.running(summary)
        await _feed_and_take(session, summary, screen, stop, failed)
        summary.run_secs = summary.secs - summary.init_secs
    finally:
        await stop.end(session)
    summary.nodes, summary.channels = session.node_stats(), session.channel_stats()
    # What a node says of its last message may arrive after all its output.
    if failed.done():
        raise failed.result()


async def _feed_and_take(
    session: Session, summary: Summary, screen: Screen, stop: Stop, failed: asyncio.Future[MultiprocessError]
) -> None:
    job = summary.job

    async def watch() -> None:
        raise await asyncio.shield(failed)

    try:
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(watch())
            feeding = [group.create_task(_feed(session, feed, summary, screen)) for feed in job.feeds]

            def drain() -> None:
                screen.note("the input ends here, the nodes finish what they have; once more ends them at once")
                for task in feeding:
                    task.cancel()

            if job.drains:
                stop.drain_with(drain)
            async for node_id, data in session.outputs():
                sinks = [sink for sink in job.sinks if sink.node_id == node_id and sink.takes(data.port)]
                for sink in sinks:
                    await sink.take(data)
                summary.unwritten += not sinks
            watching.cancel()
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None


async def _feed(session: Session, feed: Feed, summary: Summary, screen: Screen) -> None:
    """Until all is sent. Whatever ends it, the node's input ends."""
    source, began = feed.source, summary.secs
    try:
        async with aclosing(source.messages()) as messages:
            async for data, fed in messages:
                if summary.job.realtime and source.unit == "s":
                    # A microphone gives a block when its last sample has been spoken.
                    await asyncio.sleep(max(0.0, began + fed - summary.secs))
                try:
                    await session.send(feed.node_id, data)
                    feed.messages += 1
                except ChannelFullError:
                    feed.dropped += 1
                feed.fed = fed
        if source.warning is not None:
            _warn(source.warning, summary, screen)
    finally:
        await session.end_input(feed.node_id)
        screen.fed(feed)


def _warn(text: str, summary: Summary, screen: Screen) -> None:
    summary.warnings.append(text)
    screen.note(text)
