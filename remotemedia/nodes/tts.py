"""EspeakTTSNode: text becomes speech, block by block while it is made."""

from __future__ import annotations

import asyncio
import ctypes
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode, Param, register_node
from remotemedia.nodes._common import Float32, import_library, new_array, text_of

__all__ = ["EspeakTTSNode"]

# From espeak-ng's speak_lib.h.
_OUTPUT_SYNCHRONOUS = 2
_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1
_RATE, _PITCH = 1, 3
# Called with no samples at the end of a text; a result other than 0 stops eSpeak.
_SYNTH_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
# Enough to show what names look like: the library's own list has languages, and not each is a voice's name.
SOME_VOICES = ("en-us", "en-us+f3", "en-us+klatt6", "en", "en-gb-scotland", "de", "fr", "es", "it", "cmn", "ja")
_Int16: TypeAlias = "npt.NDArray[np.int16]"


@register_node("EspeakTTSNode")
class EspeakTTSNode(MultiprocessNode):
    """Speaks text with eSpeak NG.

    Ports: input ``text`` (TEXT); output ``audio`` (mono float32, shape (n,), full scale 1.0, at most about
    ``block_ms`` per message; built in shared memory). Blank text gives nothing.

    In a new process the same texts give the same speech.
    """

    params = {
        "voice": Param(str, "en-us", help='of eSpeak NG, such as "de" or, with a variant, "en-us+klatt6"'),
        "rate": Param(int, 175, low=80, high=450, help="words per minute"),
        "pitch": Param(int, 50, low=0, high=100, help="of the voice"),
        "sample_rate": Param(int, 22_050, low=8_000, high=192_000, help="of the output, in Hz; 22050 is eSpeak's own"),
        "block_ms": Param(int, 60, low=60, high=1000, help="audio per message"),
    }
    inputs = {"text": DataType.TEXT}
    outputs = {"audio": DataType.AUDIO}

    def __init__(self, node_id: str, config: dict[str, Any]) -> None:
        super().__init__(node_id, config)
        self._voice: str = self.config["voice"]
        self._rate: int = self.config["rate"]
        self._pitch: int = self.config["pitch"]
        self._sample_rate: int = self.config["sample_rate"]
        self._block_ms: int = self.config["block_ms"]
        self._espeak: _Espeak | None = None
        self._espeak_rate = 0
        self._soxr: Any = None

    async def initialize(self) -> None:
        """Load eSpeak NG and its voice.

        ImportError if it is not installed, ValueError for a voice it does not have.
        """
        loader = import_library(self, "espeakng_loader")
        self._espeak = _Espeak(loader.get_library_path(), loader.get_data_path(), self._block_ms)
        self._espeak.configure(self._voice, self._rate, self._pitch)
        self._espeak_rate = self._espeak.sample_rate
        if self._sample_rate != self._espeak_rate:
            self._soxr = import_library(self, "soxr")

    async def process(self, data: RuntimeData) -> AsyncIterator[RuntimeData]:
        """Yield the speech for one text while eSpeak makes it; TypeError for anything but text."""
        text = text_of(self, data)
        if not text.strip():
            return
        espeak, resampler = self._espeak, self._new_resampler()
        assert espeak is not None
        loop = asyncio.get_running_loop()
        blocks: asyncio.Queue[_Int16 | None] = asyncio.Queue()
        stop = threading.Event()

        def speak() -> None:
            try:
                espeak.speak(text, lambda block: loop.call_soon_threadsafe(blocks.put_nowait, block), stop)
            finally:
                loop.call_soon_threadsafe(blocks.put_nowait, None)

        speaking = loop.run_in_executor(None, speak)
        try:
            while (block := await blocks.get()) is not None:
                samples: Float32 = block * np.float32(1 / 32768)
                if resampler is not None:
                    samples = resampler.resample_chunk(samples)
                if samples.size:
                    yield self._message(samples, data)
        finally:
            stop.set()
            await speaking
        if resampler is not None:
            tail = resampler.resample_chunk(np.empty(0, np.float32), last=True)
            if tail.size:
                yield self._message(tail, data)

    async def cleanup(self) -> None:
        """Unload eSpeak's voices; waits for the block being made, if a reply is cut off."""
        if self._espeak is not None:
            self._espeak.close()
            self._espeak = None

    def _new_resampler(self) -> Any:
        if self._soxr is None:
            return None
        return self._soxr.ResampleStream(self._espeak_rate, self._sample_rate, 1, dtype="float32")

    def _message(self, samples: Float32, source: RuntimeData) -> RuntimeData:
        array = new_array(self, samples.shape, np.float32)
        array[:] = samples
        return RuntimeData.audio(array, self._sample_rate, timestamp=source.timestamp)


class _Espeak:
    """The eSpeak NG library, which has one state per process; ``speak()`` may be called from any thread.

    RuntimeError if the library refuses its data or a call.
    """

    def __init__(self, library_path: str, data_path: str, block_ms: int) -> None:
        # One text at a time, and no end of the library in the middle of one.
        self._lock = threading.Lock()
        self._library = ctypes.CDLL(library_path)
        self.sample_rate: int = self._library.espeak_Initialize(
            _OUTPUT_SYNCHRONOUS, block_ms, data_path.encode(), _DONT_EXIT
        )
        if self.sample_rate <= 0:
            raise RuntimeError(f"eSpeak NG does not start with the data in {data_path}")
        self._take: Callable[[_Int16], object] | None = None
        self._stop = threading.Event()
        # The library keeps the callback's address only.
        self._callback = _SYNTH_CALLBACK(self._on_block)
        self._library.espeak_SetSynthCallback(self._callback)

    def configure(self, voice: str, rate: int, pitch: int) -> None:
        """Choose voice, words per minute and pitch; ValueError for a voice that does not exist."""
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(
                f"EspeakTTSNode: param 'voice': eSpeak NG has no voice {voice!r}; "
                f"it has {', '.join(SOME_VOICES)} and more"
            )
        self._library.espeak_SetParameter(_RATE, rate, 0)
        self._library.espeak_SetParameter(_PITCH, pitch, 0)

    def speak(self, text: str, take: Callable[[_Int16], object], stop: threading.Event) -> None:
        """Call ``take`` with each block of samples, a private array; returns soon after ``stop`` is set."""
        raw = text.encode("utf-8", "replace").replace(b"\0", b" ") + b"\0"
        with self._lock:
            if stop.is_set():
                return
            self._take, self._stop = take, stop
            # eSpeak varies its voice at random, from a seed it takes from the clock.
            self._library.espeak_ng_SetRandSeed(ctypes.c_long(1))
            failed = self._library.espeak_Synth(raw, len(raw), 0, 1, 0, _CHARS_UTF8, None, None)
        if failed:
            raise RuntimeError(f"eSpeak NG failed with error {failed}")

    def close(self) -> None:
        """End the library; waits until ``speak()`` has returned."""
        with self._lock:
            self._library.espeak_Terminate()

    def _on_block(self, samples: Any, count: int, _events: Any) -> int:
        if self._stop.is_set():
            return 1
        if samples and count > 0 and self._take is not None:
            self._take(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0
