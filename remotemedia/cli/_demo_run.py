"""What ``remotemedia demo`` does: two jobs, one that makes the question and one that hears and answers it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from remotemedia.cli._audio_file import block_frames
from remotemedia.cli._demo_cast import Cast, small_cast
from remotemedia.cli._demo_models import models_cast
from remotemedia.cli._demo_screen import demo_screens
from remotemedia.cli._demo_stages import Microphone, Stages
from remotemedia.cli._demo_talk import Answer, Handler, Prepared, Talk
from remotemedia.cli._drafts import Draft, new_draft, real_path
from remotemedia.cli._errors import EXIT_DONE, EXIT_FAILED, EXIT_NOTHING_CAME, Mistake, complain, set_up_logging
from remotemedia.cli._job import Feed, Job, Sink, Source, Summary
from remotemedia.cli._run_session import run_job
from remotemedia.cli._run_signals import Stop, terminable
from remotemedia.cli._run_sinks import AUDIO_SUFFIXES
from remotemedia.cli._run_sources import open_source
from remotemedia.cli._screen import Screen
from remotemedia.core.data import AudioMetadata, RuntimeData
from remotemedia.core.multiprocessing import MultiprocessConfig, NodeInitializationError, Pipeline

__all__ = ["DemoRequest", "run_demo"]

# Few messages per channel: the audio still to be fed waits in the file, not in the pipeline, so that words come out
# while it is fed.
_CONFIG = MultiprocessConfig(channel_capacity=4, init_timeout_secs=60.0, cleanup_grace_period_secs=2.0)


# So long a microphone hears on: a turn has ended by then, or ends with the input.
_SILENCE_SECS = 1.5


@dataclass(frozen=True, kw_only=True)
class DemoRequest:
    """What the user asked for; ``question`` or ``input_path`` is given, not both.

    Attributes:
        models: with small models of today, and what they take until the first sound is shown.
    """

    models: bool
    input_path: Path | None
    output_path: Path
    question: str | None
    voice: str
    realtime: bool
    chunk_ms: int


def run_demo(request: DemoRequest, *, quiet: bool, as_json: bool, debug: bool) -> int:
    """The exit code. Raises Mistake, MultiprocessError, BrokenPipeError, and what stands for a signal."""
    _check(request)
    set_up_logging(debug=debug)
    stop = Stop()
    with terminable(), ExitStack() as resources:
        asking, screen = demo_screens(quiet=quiet, as_json=as_json)
        resources.callback(asking.close)
        resources.callback(screen.close)
        source: Source | None = None
        if request.input_path is not None:
            source = open_source(str(request.input_path), "audio", chunk_ms=request.chunk_ms, whole_text=False)
            resources.callback(source.close)
        draft = resources.enter_context(_answer_draft(request))
        cast = (models_cast if request.models else small_cast)(request.voice, draft.path)
        if source is None:
            source = _make_question(request, cast, asking, stop)
        stages: Stages | None = None
        if request.models:
            source = microphone = Microphone(source, _SILENCE_SECS)
            screen.stages = stages = Stages(microphone) if request.realtime else None
        talk = Talk(screen, in_parts=cast.in_parts)
        answer = Answer(str(request.output_path), draft, talk)
        sinks = [Handler("asr", talk.hear), Handler(cast.answers, talk.reply), answer]
        sinks += stages.sinks(cast.pipeline) if stages is not None else []
        summary = _converse(request, cast, source, sinks, screen, stop)
    if as_json:
        figures = _as_json(request, talk, answer, summary) | {"recogniser": cast.recogniser}
        if stages is not None:
            figures["stages"] = [{"heard": turn.heard, **turn.secs} for turn in stages.turns]
        print(json.dumps(figures, indent=2), flush=True)
    stop.raise_signal()
    if not talk.transcript:
        complain(_nothing_understood(request, cast, summary))
        return EXIT_NOTHING_CAME
    if not answer.secs:
        complain("the answer is missing although something was understood")
        return EXIT_FAILED
    return EXIT_DONE


def _check(request: DemoRequest) -> None:
    if request.input_path is not None and request.question is not None:
        raise Mistake("give --input or --question, not both")
    if request.question is not None and not request.question.strip():
        raise Mistake("--question has no words in it")
    if not request.voice:
        raise Mistake("--voice needs the name of a voice, such as en-us")


def _answer_draft(request: DemoRequest) -> AbstractContextManager[Draft]:
    """For the node that writes the answer. Mistake for a path that cannot be written."""
    path, question = request.output_path, request.input_path
    final = real_path(path)
    if not final.is_dir() and not {path.suffix.lower(), final.suffix.lower()} <= set(AUDIO_SUFFIXES):
        raise Mistake(f"the answer's file must end in {' or '.join(AUDIO_SUFFIXES)}, not {str(path)!r}")
    if question is not None and real_path(question) == final:
        raise Mistake(f"the answer would replace the question {question}; choose another -o")
    return new_draft(path, "the answer", named=True)


def _as_json(request: DemoRequest, talk: Talk, answer: Answer, summary: Summary) -> dict[str, Any]:
    return {
        "question": request.question,
        "input": None if request.input_path is None else str(request.input_path),
        "audio_secs": summary.job.feeds[0].fed,
        "transcript": talk.transcript,
        "replies": talk.replies,
        **summary.figures(),
        "answer": {"path": answer.file, "secs": answer.secs} if answer.secs else None,
    }


def _nothing_understood(request: DemoRequest, cast: Cast, summary: Summary) -> str:
    heard_speech = any(node.node_id == cast.detector and node.published for node in summary.nodes)
    if request.input_path is None:
        return (
            f"nothing was understood of the question {request.question!r}, so there is no answer. "
            f'Try plain English words, such as "what time is it".'
        )
    what = "there was speech but no words were recognised" if heard_speech else "no speech was found"
    secs = summary.job.feeds[0].fed
    return (
        f"nothing was understood in {request.input_path} ({secs:.1f} s): {what}, so there is no answer. "
        f"Try English, spoken clearly by one person near the microphone, without music; "
        f"`remotemedia demo` without -i shows that the rest works."
    )


# --- the two jobs ------------------------------------------------------------------------------------------------


def _make_question(request: DemoRequest, cast: Cast, screen: Screen, stop: Stop) -> Source:
    """The question, spoken by the TTS node."""
    text = request.question or ""
    node_type, params = cast.asker
    parts: list[npt.NDArray[np.float32]] = []
    rate = 0

    def collect(data: RuntimeData) -> None:
        nonlocal rate
        assert isinstance(data.metadata, AudioMetadata)
        rate = data.metadata.sample_rate
        # A copy: the shared memory goes with the session.
        parts.append(np.array(data.as_numpy(), np.float32))

    job = Job(
        pipeline=Pipeline().add_node(node_type, "question", params),
        config=_CONFIG,
        session_id="question",
        feeds=[Feed("question", Prepared("the words", "B", [(RuntimeData.text(text), len(text.encode()))]))],
        sinks=[Handler("question", collect)],
        title=f'making the question "{text}"',
        drains=False,
    )
    _run(job, screen, stop)
    if not parts:
        raise Mistake(f"--question {text!r} cannot be spoken")
    samples, step = np.concatenate(parts), block_frames(rate, request.chunk_ms)
    blocks = [samples[start : start + step] for start in range(0, len(samples), step)]
    ends = accumulate(map(len, blocks))
    messages = [(RuntimeData.audio(block, rate), end / rate) for block, end in zip(blocks, ends, strict=True)]
    return Prepared("the question", "s", messages)


def _converse(
    request: DemoRequest,
    cast: Cast,
    source: Source,
    sinks: Sequence[Sink],
    screen: Screen,
    stop: Stop,
) -> Summary:
    job = Job(
        pipeline=cast.pipeline,
        config=_CONFIG,
        session_id="demo",
        feeds=[Feed(cast.first, source)],
        sinks=sinks,
        title=cast.title,
        realtime=request.realtime,
        drains=False,
    )
    return _run(job, screen, stop)


def _run(job: Job, screen: Screen, stop: Stop) -> Summary:
    try:
        return run_job(job, screen, stop)
    except NodeInitializationError as error:
        _, unknown, reason = error.reason.partition("param 'voice': ")
        _, missing, where = error.reason.partition("PiperTTSNode: ")
        if unknown or missing:
            raise Mistake(f"--voice: {reason or where}") from error
        raise
