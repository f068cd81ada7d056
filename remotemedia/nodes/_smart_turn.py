"""Smart Turn: how likely a speaker has finished, by the sound of the last eight seconds."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import aclosing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from remotemedia.core.multiprocessing import MultiprocessNode
from remotemedia.nodes._common import SPEECH_RATE, Float32
from remotemedia.nodes._model import Model

__all__ = ["LISTENS_SECS", "SmartTurn", "log_mel"]

LISTENS_SECS = 8
"""Of audio that the model hears: the last of a turn."""

_FILE = "smart-turn-v3.2-cpu.onnx"
_PACKAGED = ("pipecat", "audio", "turn", "smart_turn", "data", _FILE)

# Of Whisper's features, which the model was trained on.
_WINDOW, _HOP, _MELS = 400, 160, 80
# Sound has its level made even before the model hears it; the squares of samples far beyond this would be infinite.
_LOUDEST = np.float32(1000)


class SmartTurn(Model[Float32, float]):
    """Gives the probability that a turn has ended, once for each piece of audio."""

    library = "Smart Turn"
    modules = ("onnxruntime",)
    extra = "turn"

    def __init__(self, node: MultiprocessNode) -> None:
        super().__init__(node)
        # onnxruntime would report to its makers that and how it is used.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

    def find(self, model: str) -> Path:
        """The model's file: ``model`` itself, or with "" the one in the package pipecat-ai, which is not imported.

        FileNotFoundError that says where it was looked for, and how to get it.
        """
        if model:
            file = Path(model).expanduser()
            looked = f"there is no {file}" if file.suffix == ".onnx" else f"{file} is no .onnx file"
        else:
            spec = find_spec(_PACKAGED[0])
            places = spec.submodule_search_locations if spec is not None else None
            file = Path(next(iter(places), "")).joinpath(*_PACKAGED[1:]) if places else Path()
            looked = f"there is no {file}" if places else f"there is no package {_PACKAGED[0]}"
        if file.suffix == ".onnx" and file.is_file():
            return file.absolute()
        raise FileNotFoundError(
            f"{type(self._node).__name__}: no model {model or _FILE!r}: {looked}; to get it: python -m pip install "
            f"--no-deps pipecat-ai, or take {_FILE} of pipecat-ai/smart-turn-v3 on the Hugging Face Hub, and name "
            f"that file in the param 'model'"
        )

    async def probability(self, samples: Float32) -> float:
        """How likely the turn has ended that these samples end with: 16 kHz mono, shape (n,).

        The last ``LISTENS_SECS`` count. It is computed in a thread.
        """
        async with aclosing(self.made(samples)) as made:
            return await anext(made)

    def _files(self, folder: Path) -> list[Path]:
        return [folder]

    def _place(self, device: str, compute_type: str) -> tuple[str, str]:
        return "cpu", "int8"

    def _open(self, folder: Path, device: str, compute_type: str) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._node.config["cpu_threads"]
        # Threads that wait for work asleep: the nodes beside this one need the processors.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Without VNNI processors add the products of 8-bit weights in 16 bits, which overflow: other answers.
        options.add_session_config_entry("session.x64quantprecision", "1")
        model = onnxruntime.InferenceSession(str(folder), options, providers=["CPUExecutionProvider"])
        # Another model fails here, and not at the first pause; and that is answered as fast as all others.
        _probability(model, np.empty(0, np.float32))
        return model

    def _make(self, given: Float32, tell: Callable[[float], None]) -> None:
        tell(_probability(self._model, given))


def _probability(model: Any, samples: Float32) -> float:
    (probability,) = model.run(None, {"input_features": log_mel(samples)[np.newaxis]})
    return float(probability.item())


def log_mel(samples: Float32) -> Float32:
    """What the model hears, shape (80, 800): Whisper's features of the last 8 s of 16 kHz mono, shape (n,).

    Silence goes before what is shorter. All of it is brought to mean 0 and variance 1 first.
    """
    length = LISTENS_SECS * SPEECH_RATE
    sound = np.zeros(length, np.float32)
    taken = samples[-length:].clip(-_LOUDEST, _LOUDEST)
    sound[length - len(taken) :] = taken
    sound = (sound - sound.mean()) / np.sqrt(sound.var() + np.float32(1e-7))
    padded = np.pad(sound, _WINDOW // 2, mode="reflect")
    # The last window would begin past the end: Whisper leaves it out.
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[:-1:_HOP]
    power = np.abs(np.fft.rfft(windows * np.hanning(_WINDOW + 1)[:-1])) ** 2
    loudness = np.log10(np.maximum(_mel_filters() @ power.T, 1e-10))
    features: Float32 = ((np.maximum(loudness, loudness.max() - 8.0) + 4.0) / 4.0).astype(np.float32)
    return features


def _mel_filters() -> npt.NDArray[np.float64]:
    """How much of each frequency each of Whisper's bands has, shape (80, 201).

    They are triangles, evenly spaced in Slaney's mel: linear up to 1000 Hz, which are 15 mel, and logarithmic above.
    """
    step = np.log(6.4) / 27
    top = 15 + np.log(SPEECH_RATE / 2 / 1000) / step
    mels = np.linspace(0, top, _MELS + 2)
    edges = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * step))
    low, middle, high = edges[:-2, np.newaxis], edges[1:-1, np.newaxis], edges[2:, np.newaxis]
    hertz = np.fft.rfftfreq(_WINDOW, 1 / SPEECH_RATE)
    triangles = np.minimum((hertz - low) / (middle - low), (high - hertz) / (high - middle)).clip(0)
    filters: npt.NDArray[np.float64] = triangles * 2 / (high - low)
    return filters
