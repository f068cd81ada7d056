"""Whisper by faster-whisper."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from remotemedia._weights import CTRANSLATE2
from remotemedia.nodes._common import Float32
from remotemedia.nodes._model import Stopped
from remotemedia.nodes._whisper import SEED, TEMPERATURES, Options, Recogniser, Segment, Word

__all__ = ["FasterWhisper"]


class FasterWhisper(Recogniser):
    """Can be left between windows of 30 s of audio."""

    library = "faster-whisper"
    modules = ("ctranslate2", "faster_whisper")
    extra = "whisper"
    form = CTRANSLATE2

    def _place(self, device: str, compute_type: str) -> tuple[str, str]:
        import ctranslate2

        device = self._device(device, has_gpu=ctranslate2.get_cuda_device_count() > 0)
        supported = ctranslate2.get_supported_compute_types(device)
        if compute_type == "auto":
            wanted = "int8" if device == "cpu" else "float16"
            compute_type = wanted if wanted in supported else "default"
        elif compute_type != "default" and compute_type not in supported:
            raise self._impossible(
                "compute_type",
                f"this {device} does not support {compute_type!r}; it supports {', '.join(sorted(supported))}",
            )
        return device, compute_type

    def _open(self, folder: Path, device: str, compute_type: str) -> Any:
        from faster_whisper import WhisperModel
        from tqdm import tqdm

        # Else each process would have a thread that wakes up every ten seconds, for a bar that nobody sees.
        tqdm.monitor_interval = 0
        model = WhisperModel(
            str(folder),
            device=device,
            compute_type=compute_type,
            cpu_threads=self._node.config["cpu_threads"],
            local_files_only=True,
        )
        if device == "cuda":
            # The libraries of CUDA are loaded on first use: better a node that does not start than one that fails.
            list(model.transcribe(np.zeros(16_000, np.float32), language="en", beam_size=1)[0])
        self._let_stop(model)
        self.languages = model.supported_languages
        return model

    def _segments(self, samples: Float32, options: Options) -> Iterator[Segment]:
        import ctranslate2

        ctranslate2.set_random_seed(SEED)
        segments, _ = self._model.transcribe(
            samples,
            temperature=TEMPERATURES,
            # Words of the window before as a prompt: one that repeats itself would go on in all that follow.
            condition_on_previous_text=False,
            word_timestamps=True,
            **options._asdict(),
        )
        for one in segments:
            words = [Word(word.word, word.start, word.end, word.probability) for word in one.words or ()]
            yield Segment(one.text, words, one.compression_ratio, one.no_speech_prob, one.avg_logprob)

    def _let_stop(self, model: Any) -> None:
        """Each window is encoded first: there the library can be left, also where a window gives no segment."""
        encode = model.encode

        def encode_unless_stopped(features: Any) -> Any:
            if self._stop.is_set():
                raise Stopped
            return encode(features)

        model.encode = encode_unless_stopped
