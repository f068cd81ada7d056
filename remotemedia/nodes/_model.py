"""A model that a library has loaded, and the one thread that uses it: what it makes comes out while it is made."""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from remotemedia._weights import Form, read_ahead
from remotemedia.core.multiprocessing import MultiprocessNode
from remotemedia.nodes._common import import_library

__all__ = ["Model", "Stopped", "TorchModel"]

Given = TypeVar("Given")
Made = TypeVar("Made")

# Of the time to load: the library, and the file until the operating system has it in memory.
_LIBRARY, _FILE = 0.3, 0.6


class Stopped(Exception):
    """The model was told to stop."""


class Model(ABC, Generic[Given, Made]):
    """Of one node, whose params it reads: ``device`` and ``compute_type``, if it has them, and what names the model.

    ``check_installed`` first, then ``load``; ``close`` at the end, also without a ``load``.
    """

    library: ClassVar[str]
    modules: ClassVar[tuple[str, ...]]
    """What is imported, the one that takes longest first."""
    extra: ClassVar[str]
    form: ClassVar[Form]
    named_by: ClassVar[str] = "model"
    """The node's param that names the model."""

    def __init__(self, node: MultiprocessNode) -> None:
        self._node = node
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._model: Any = None
        self._stop = threading.Event()

    def check_installed(self) -> None:
        """ImportError that says what to install, if a library is missing; imports none."""
        for module in self.modules:
            if importlib.util.find_spec(module) is None:
                import_library(self._node, module, self.extra)

    async def load(self, folder: Path) -> None:
        """Load the library and the weights in ``folder``, and report how far that is.

        ValueError for a device or a compute type that there is not; what the library raises goes on.
        """
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._load, folder)
        except BaseException as error:
            # A node that cannot begin is not cleaned up. The thread ends now, unless it is at a load that was given up.
            self._thread.shutdown(wait=not isinstance(error, asyncio.CancelledError))
            raise

    def _load(self, folder: Path) -> None:
        report = self._node.report_progress
        report(0.0, f"loading {self.library}")
        for module in self.modules:
            import_library(self._node, module, self.extra)
        config = self._node.config
        device, compute_type = self._place(config.get("device", "cpu"), config.get("compute_type", "auto"))
        files = self._files(folder)
        size_mb = sum(file.stat().st_size for file in files) / 1e6
        name = Path(config[self.named_by]).name or folder.name
        for done in read_ahead(files):
            report(_LIBRARY + (_FILE - _LIBRARY) * done, f"reading {name}, {done * size_mb:.0f} of {size_mb:.0f} MB")
        report(_FILE, f"loading {name}, {size_mb:.0f} MB, on {device} as {compute_type}")
        self._model = self._open(folder, device, compute_type)

    def _files(self, folder: Path) -> list[Path]:
        """Those with the weights."""
        return [file for pattern in self.form.weights for file in folder.glob(pattern)]

    @abstractmethod
    def _place(self, device: str, compute_type: str) -> tuple[str, str]:
        """Where and as what the model is computed, "auto" decided; ValueError if the machine cannot."""

    @abstractmethod
    def _open(self, folder: Path, device: str, compute_type: str) -> Any:
        """The model."""

    @abstractmethod
    def _make(self, given: Given, tell: Callable[[Made], None]) -> None:
        """Makes all that comes of ``given``, and tells each part. ``tell`` raises Stopped once nobody takes them; where
        parts are far between, look at ``_stop``, and raise Stopped soon after it is set."""

    def _device(self, device: str, *, has_gpu: bool) -> str:
        if device == "cuda" and not has_gpu:
            raise self._impossible("device", 'there is no CUDA device that this process can use; take "cpu" or "auto"')
        if device == "auto":
            return "cuda" if has_gpu else "cpu"
        return device

    def _impossible(self, param: str, why: str) -> ValueError:
        return ValueError(f"{type(self._node).__name__}: param {param!r}: {why}")

    async def made(self, given: Given) -> AsyncGenerator[Made]:
        """Yield what comes of ``given``, as it is made.

        A caller that stops taking stops the model without waiting: it goes on to the next place where the library can
        be left, and what it makes there is dropped. What is given next waits for that.
        """
        loop = asyncio.get_running_loop()
        parts: asyncio.Queue[Made | BaseException | None] = asyncio.Queue()
        stop = threading.Event()

        def tell(part: Made | BaseException | None) -> None:
            loop.call_soon_threadsafe(parts.put_nowait, part)

        self._thread.submit(self._work, given, stop, tell)
        try:
            while (part := await parts.get()) is not None:
                if isinstance(part, BaseException):
                    raise part
                yield part
        finally:
            stop.set()

    def _work(self, given: Given, stop: threading.Event, tell: Callable[[Made | BaseException | None], None]) -> None:
        def tell_unless_stopped(part: Made) -> None:
            if stop.is_set():
                raise Stopped
            tell(part)

        try:
            if stop.is_set():
                return
            self._stop = stop
            self._make(given, tell_unless_stopped)
        except Stopped:
            pass
        except BaseException as error:
            tell(error)
        finally:
            tell(None)

    async def close(self) -> None:
        """Let the model go; waits until it has stopped."""
        self._stop.set()
        await asyncio.get_running_loop().run_in_executor(None, self._thread.shutdown)
        self._model = None


class TorchModel(Model[Given, Made]):
    """Of a library that computes with PyTorch."""

    on_gpu: ClassVar[str] = "float16"
    """What "auto" is on a GPU; on a CPU it is float32."""

    def _place(self, device: str, compute_type: str) -> tuple[str, str]:
        import torch

        device = self._device(device, has_gpu=torch.cuda.is_available())
        if compute_type in ("auto", "default"):
            compute_type = "float32" if device == "cpu" else self.on_gpu
        elif compute_type not in (known := ("float32", "float16", "bfloat16")):
            raise self._impossible(
                "compute_type",
                f"{self.library} does not compute in {compute_type!r}; it does in {', '.join(known)}",
            )
        return device, compute_type
