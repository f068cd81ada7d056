"""What runs Whisper: a model that a library has loaded, and utterances decoded in a thread of its own."""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from remotemedia._weights import Form, read_ahead
from remotemedia.core.multiprocessing import MultiprocessNode
from remotemedia.nodes._common import Float32, import_library

__all__ = ["SEED", "TEMPERATURES", "Options", "Recogniser", "Segment", "Stopped", "Word"]

SEED = 1
"""Decoding may sample; the same utterance gives the same words all the same."""

TEMPERATURES = (0.0, 0.4)
"""Greedy or beam search first. Where its words repeat themselves or are improbable, one more attempt, by sampling.

The libraries make five. On sounds other than speech that takes ten times as long, and finds nothing either.
"""

# Of the time to load: the library, and the file until the operating system has it in memory.
_LIBRARY, _FILE = 0.3, 0.6


class Options(NamedTuple):
    """How to decode: the node's params of these names."""

    language: str | None
    task: str
    beam_size: int
    no_speech_threshold: float
    log_prob_threshold: float
    compression_ratio_threshold: float


class Word(NamedTuple):
    """A word of a segment: its text, its times in seconds of the utterance, how probable it is."""

    word: str
    start: float
    end: float
    probability: float


class Segment(NamedTuple):
    """What Whisper takes for one piece of speech, with its own measures of how sure it is."""

    text: str
    words: list[Word]
    compression_ratio: float
    no_speech_prob: float
    avg_logprob: float


class Stopped(Exception):
    """Decoding was told to stop."""


class Recogniser(ABC):
    """A library, the model that it has loaded, and the one thread that uses it.

    ``check_installed`` first, then ``load``; ``close`` at the end, also without a ``load``.
    """

    library: ClassVar[str]
    modules: ClassVar[tuple[str, ...]]
    """What is imported, the one that takes longest first."""
    extra: ClassVar[str]
    form: ClassVar[Form]

    def __init__(self, node: MultiprocessNode) -> None:
        self._node = node
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="whisper")
        self._model: Any = None
        self._stop = threading.Event()
        self.languages: list[str] = []

    def check_installed(self) -> None:
        """ImportError that says what to install, if a library is missing; imports none."""
        for module in self.modules:
            if importlib.util.find_spec(module) is None:
                import_library(self._node, module, self.extra)

    async def load(self, folder: Path) -> None:
        """Load the library and the weights in ``folder``, and report how far that is.

        ValueError for a device or a compute type that there is not; what the library raises goes on.
        """
        await asyncio.get_running_loop().run_in_executor(self._thread, self._load, folder)

    def _load(self, folder: Path) -> None:
        report = self._node.report_progress
        report(0.0, f"loading {self.library}")
        for module in self.modules:
            import_library(self._node, module, self.extra)
        device, compute_type = self._place(self._node.config["device"], self._node.config["compute_type"])
        files = [file for pattern in self.form.weights for file in folder.glob(pattern)]
        size_mb = sum(file.stat().st_size for file in files) / 1e6
        name = Path(self._node.config["model"]).name
        for done in read_ahead(files):
            report(_LIBRARY + (_FILE - _LIBRARY) * done, f"reading {name}, {done * size_mb:.0f} of {size_mb:.0f} MB")
        report(_FILE, f"loading {name}, {size_mb:.0f} MB, on {device} as {compute_type}")
        self._model = self._open(folder, device, compute_type)

    @abstractmethod
    def _place(self, device: str, compute_type: str) -> tuple[str, str]:
        """Where and as what the model is computed, "auto" decided; ValueError if the machine cannot."""

    @abstractmethod
    def _open(self, folder: Path, device: str, compute_type: str) -> Any:
        """The model; sets ``languages``."""

    @abstractmethod
    def _segments(self, samples: Float32, options: Options) -> Iterator[Segment]:
        """Decodes; raises Stopped soon after ``_stop`` is set."""

    def _device(self, device: str, *, has_gpu: bool) -> str:
        if device == "cuda" and not has_gpu:
            raise self._impossible("device", 'there is no CUDA device that this process can use; take "cpu" or "auto"')
        if device == "auto":
            return "cuda" if has_gpu else "cpu"
        return device

    def _impossible(self, param: str, why: str) -> ValueError:
        return ValueError(f"{type(self._node).__name__}: param {param!r}: {why}")

    async def segments(self, samples: Float32, options: Options) -> AsyncGenerator[Segment]:
        """Yield the segments of an utterance as they are decoded.

        A caller that stops taking them stops the decoding without waiting: it goes on to the next place where the
        library can be left, and what it finds there is dropped. The next utterance waits for that.
        """
        loop = asyncio.get_running_loop()
        found: asyncio.Queue[Segment | BaseException | None] = asyncio.Queue()
        stop = threading.Event()

        def tell(one: Segment | BaseException | None) -> None:
            loop.call_soon_threadsafe(found.put_nowait, one)

        self._thread.submit(self._decode, samples, options, stop, tell)
        try:
            while (one := await found.get()) is not None:
                if isinstance(one, BaseException):
                    raise one
                yield one
        finally:
            stop.set()

    def _decode(
        self,
        samples: Float32,
        options: Options,
        stop: threading.Event,
        tell: Callable[[Segment | BaseException | None], None],
    ) -> None:
        try:
            if stop.is_set():
                return
            self._stop = stop
            for segment in self._segments(samples, options):
                if stop.is_set():
                    return
                tell(segment)
        except Stopped:
            pass
        except BaseException as error:
            tell(error)
        finally:
            tell(None)

    async def close(self) -> None:
        """Let the model go; waits until the decoding has stopped."""
        self._stop.set()
        await asyncio.get_running_loop().run_in_executor(None, self._thread.shutdown)
        self._model = None
