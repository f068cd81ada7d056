"""What ``remotemedia run`` does: a job whose sources and sinks are the files that the user named."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from remotemedia.cli._errors import EXIT_DONE, EXIT_NOTHING_CAME, complain
from remotemedia.cli._job import Feed, Job, Sink, Summary
from remotemedia.cli._run_plan import plan_inputs, plan_outputs
from remotemedia.cli._run_session import run_job
from remotemedia.cli._run_signals import Stop, terminable
from remotemedia.cli._run_sinks import FileSink
from remotemedia.cli._run_sources import open_source
from remotemedia.cli._screen import Screen
from remotemedia.core.data import DataType
from remotemedia.core.multiprocessing import MultiprocessConfig, Pipeline

__all__ = ["RunRequest", "run_files"]


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What the user asked for."""

    pipeline: Pipeline
    config: MultiprocessConfig
    session_id: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    input_format: str
    whole_text: bool
    chunk_ms: int
    realtime: bool
    keep_going: bool


def run_files(request: RunRequest, screen: Screen, *, as_json: bool) -> int:
    """The exit code. Raises Mistake, MultiprocessError, BrokenPipeError, and the exception that stands for a signal."""
    stop = Stop()
    with terminable(), ExitStack() as resources:
        # Here and not on the event loop, which would not hear of signals while a named pipe waits to be opened.
        feeds, sinks = _open(request, resources)
        job = Job(
            pipeline=request.pipeline,
            config=request.config,
            session_id=request.session_id,
            feeds=feeds,
            sinks=sinks,
            realtime=request.realtime,
            keep_going=request.keep_going,
        )
        summary = run_job(job, screen, stop)
    if as_json:
        print(json.dumps(_as_json(summary), indent=2), flush=True)
    for sink in summary.empty:
        complain(f"no audio came out of node {sink.node_id!r}, so {sink.file} was not written")
    stop.raise_signal()
    return EXIT_NOTHING_CAME if summary.empty else EXIT_DONE


def _open(request: RunRequest, resources: ExitStack) -> tuple[list[Feed], list[Sink]]:
    inputs = plan_inputs(request.pipeline, request.inputs)
    feeds: list[Feed] = []
    sinks: list[Sink] = []
    for node_id, port, file in plan_outputs(request.pipeline, request.outputs, list(inputs.values())):
        sink = FileSink(node_id, port, file)
        sinks.append(sink)
        resources.callback(sink.close)
        sink.open()
    for node_id, file in inputs.items():
        source = open_source(
            file,
            request.input_format,
            chunk_ms=request.chunk_ms,
            whole_text=request.whole_text,
            as_json=_takes_json_alone(request.pipeline, node_id),
        )
        resources.callback(source.close)
        feeds.append(Feed(node_id, source))
    return feeds, sinks


def _takes_json_alone(pipeline: Pipeline, node_id: str) -> bool:
    """Whether a text can only be meant as JSON there."""
    takes = pipeline.input_types(node_id)
    return takes is not None and DataType.JSON in takes and DataType.TEXT not in takes


def _as_json(summary: Summary) -> dict[str, Any]:
    return {
        "session_id": summary.job.session_id,
        "inputs": [
            {
                "node_id": feed.node_id,
                "file": feed.source.name,
                "messages": feed.messages,
                "secs": round(feed.fed, 6) if feed.source.unit == "s" else None,
                "dropped": feed.dropped,
            }
            for feed in summary.job.feeds
        ],
        "outputs": [
            {
                "node_id": sink.node_id,
                "port": sink.port,
                "file": sink.file,
                "messages": sink.messages,
                "secs": round(sink.secs, 6) or None,
            }
            for sink in summary.job.sinks
        ],
        "unwritten_messages": summary.unwritten,
        "failed_messages": summary.failures,
        **summary.figures(),
    }
