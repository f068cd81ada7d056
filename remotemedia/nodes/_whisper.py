"""Whisper by faster-whisper: its model loaded, and utterances decoded in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from remotemedia.nodes._common import Float32

__all__ = ["Recogniser"]

# Decoding may sample; the same utterance gives the same words all the same.
_SEED = 1


class _Stopped(Exception):
    """Decoding was told to stop."""


class Recogniser:
    """A loaded model and the one thread that uses it. ``load`` first, ``close`` at the end."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="whisper")
        self._model: Any = None
        self._stop = threading.Event()
        self.languages: list[str] = []

    async def load(self, folder: Path, device: str, compute_type: str, cpu_threads: int) -> None:
        """Load the weights; what the library raises goes on."""

        def load() -> None:
            from faster_whisper import WhisperModel
            from tqdm import tqdm

            # Else each process would have a thread that wakes up every ten seconds, for a bar that nobody sees.
            tqdm.monitor_interval = 0
            self._model = WhisperModel(
                str(folder), device=device, compute_type=compute_type, cpu_threads=cpu_threads, local_files_only=True
            )
            if device == "cuda":
                # The libraries of CUDA are loaded on first use: better a node that does not start than one that fails.
                list(self._model.transcribe(np.zeros(16_000, np.float32), language="en", beam_size=1)[0])
            self._let_stop(self._model)
            self.languages = self._model.supported_languages

        await asyncio.get_running_loop().run_in_executor(self._thread, load)

    async def segments(self, samples: Float32, options: Mapping[str, Any]) -> AsyncGenerator[Any]:
        """Yield faster-whisper's segments of an utterance as they are decoded; ``options`` are its ``transcribe``'s.

        A caller that stops taking them stops the decoding without waiting: it goes on to the end of its window of 30 s,
        and what it finds there is dropped. The next utterance waits for that.
        """
        loop = asyncio.get_running_loop()
        found: asyncio.Queue[Any] = asyncio.Queue()
        stop = threading.Event()

        def decode() -> None:
            try:
                self._decode(samples, options, stop, lambda one: loop.call_soon_threadsafe(found.put_nowait, one))
            except _Stopped:
                pass
            except BaseException as error:
                loop.call_soon_threadsafe(found.put_nowait, error)
            finally:
                loop.call_soon_threadsafe(found.put_nowait, None)

        self._thread.submit(decode)
        try:
            while (one := await found.get()) is not None:
                if isinstance(one, BaseException):
                    raise one
                yield one
        finally:
            stop.set()

    async def close(self) -> None:
        """Let the model go; waits for the window that is being decoded."""
        self._stop.set()
        await asyncio.get_running_loop().run_in_executor(None, self._thread.shutdown)
        self._model = None

    def _decode(self, samples: Float32, options: Mapping[str, Any], stop: threading.Event, take: Any) -> None:
        import ctranslate2

        if stop.is_set():
            return
        self._stop = stop
        ctranslate2.set_random_seed(_SEED)
        segments, _ = self._model.transcribe(samples, **options)
        for segment in segments:
            if stop.is_set():
                return
            take(segment)

    def _let_stop(self, model: Any) -> None:
        """Each window is encoded first: there the library can be left, also where a window gives no segment."""
        encode = model.encode

        def encode_unless_stopped(features: Any) -> Any:
            if self._stop.is_set():
                raise _Stopped
            return encode(features)

        model.encode = encode_unless_stopped
