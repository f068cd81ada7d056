"""Needed by several built-in nodes: checks of their input, lazily imported libraries, memory for their output.

Where an utterance ends, the audio nodes send a mark (``END_OF_UTTERANCE``). They also read a message of zero samples,
shape (0,), as such.
"""

from __future__ import annotations

import importlib
import logging
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from remotemedia._audio.samples import NotNumbers
from remotemedia.core.data import AudioMetadata, DataType, RuntimeData
from remotemedia.core.marks import END_OF_TURN, END_OF_UTTERANCE, end_of_utterance
from remotemedia.core.multiprocessing import MultiprocessNode

__all__ = [
    "SPEECH_RATE",
    "Float32",
    "audio_of",
    "end_marker",
    "ends_speech",
    "import_library",
    "new_array",
    "speech_of",
    "text_of",
    "warn",
    "warn_of",
]

Float32: TypeAlias = "npt.NDArray[np.float32]"

SPEECH_RATE = 16_000
_logger = logging.getLogger("remotemedia.nodes")
_SAMPLE_TYPES = ("float32", "float64", "int16", "int32")


def import_library(node: MultiprocessNode, name: str, extra: str = "speech") -> Any:
    """The module ``name``; ImportError that says to install ``extra`` if it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        from remotemedia._install import install_advice

        advice = install_advice(extra)
        raise ImportError(f"{type(node).__name__} needs {name} ({error}); {advice}", name=name) from error


def audio_of(node: MultiprocessNode, data: RuntimeData) -> tuple[npt.NDArray[Any], AudioMetadata]:
    """Samples of an AUDIO message, shape (n,) or (n, channels), with their metadata; no copy.

    TypeError for anything but audio, ValueError for audio whose array and metadata do not fit each other.
    """
    name, samples, form = type(node).__name__, data.payload, data.metadata
    if data.type is not DataType.AUDIO:
        raise TypeError(f"{name} takes AUDIO, not {data.type.name}")
    if not isinstance(samples, np.ndarray) or not isinstance(form, AudioMetadata):
        raise TypeError(
            f"{name} takes an array of samples with AudioMetadata (see RuntimeData.audio), "
            f"not {type(samples).__name__} with {type(form).__name__}"
        )
    if samples.dtype.name not in _SAMPLE_TYPES:
        raise TypeError(f"{name} takes samples of {', '.join(_SAMPLE_TYPES)}, not {samples.dtype.name}")
    channels = 1 if samples.ndim == 1 else samples.shape[-1]
    if samples.ndim not in (1, 2) or (samples.size and channels != form.channels):
        raise ValueError(
            f"{name} takes audio of shape (n,) or (n, channels), not shape {samples.shape} "
            f"with {form.channels} channels in its metadata"
        )
    if form.sample_rate <= 0:
        raise ValueError(f"{name} takes audio with a positive sample rate, not {form.sample_rate} Hz")
    return samples, form


def speech_of(node: MultiprocessNode, data: RuntimeData) -> Float32:
    """Samples of a 16 kHz mono float32 AUDIO message, shape (n,); no copy. TypeError or ValueError otherwise."""
    samples, form = audio_of(node, data)
    if form.sample_rate != SPEECH_RATE or form.channels != 1 or samples.dtype != np.float32:
        raise ValueError(
            f"{type(node).__name__} takes {SPEECH_RATE} Hz mono float32, not {form.sample_rate} Hz with "
            f"{form.channels} channels of {samples.dtype.name}; put a ResampleNode in front"
        )
    return samples.reshape(-1)


def text_of(node: MultiprocessNode, data: RuntimeData) -> str:
    """The str of a TEXT message; TypeError for anything else."""
    if data.type is not DataType.TEXT or not isinstance(data.payload, str):
        raise TypeError(
            f"{type(node).__name__} takes TEXT with a str, not {data.type.name} with {type(data.payload).__name__}"
        )
    return data.payload


def end_marker(sample_rate: int, **fields: Any) -> RuntimeData:
    """The mark of the end of an utterance in mono float32; ``fields`` are RuntimeData's."""
    return end_of_utterance(AudioMetadata(sample_rate, 1, "f32"), **fields)


def ends_speech(mark: RuntimeData) -> bool:
    """Whether nothing more comes of what was spoken before it: the utterance or the turn has ended."""
    return mark.mark in (END_OF_UTTERANCE, END_OF_TURN)


def new_array(node: MultiprocessNode, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """An array to fill and publish: in shared memory in a running node, in private memory outside one."""
    try:
        return node.loan(shape, dtype)
    except RuntimeError:
        return np.empty(shape, dtype)


def warn(node: MultiprocessNode, text: str) -> None:
    """Logs a warning of the node."""
    _logger.warning("%s: %s", type(node).__name__, text)


def warn_of(node: MultiprocessNode, numbers: NotNumbers) -> None:
    """Logs how many samples were replaced, if any; to be called at the end of the stream."""
    replaced = numbers.take_warning()
    if replaced is not None:
        warn(node, replaced)
