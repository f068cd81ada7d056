"""Which speech recogniser the demo uses: Whisper where it and weights of it are here, else PocketSphinx."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any

__all__ = ["Recogniser", "choose_recogniser"]

# Those that a CPU runs faster than people speak; the best first.
_MODELS = ("small.en", "base.en", "small", "base", "tiny.en", "tiny")


@dataclass(frozen=True)
class Recogniser:
    """A node that makes text of speech.

    Attributes:
        node_type, params: of the node.
        name: for people.
    """

    node_type: str
    params: dict[str, Any]
    name: str


def choose_recogniser(*, packages: bool = False) -> Recogniser:
    """Whisper with the best model that is in the Hub's cache and that a CPU can run, if its libraries are here; with
    ``packages`` also one that is installed as a Python package."""
    if all(importlib.util.find_spec(name) is not None for name in ("faster_whisper", "huggingface_hub")):
        from remotemedia._weights import find_weights

        for model in _MODELS:
            try:
                folder = find_weights("demo", model, packages=packages)
            except FileNotFoundError:
                continue
            params = {"model": str(folder), "language": "en", "segment": "marks"}
            return Recogniser("WhisperNode", params, f"Whisper {model}")
    return Recogniser("PocketSphinxNode", {}, "PocketSphinx")
