"""remotemedia: each node of a media or AI pipeline in a process of its own, wired by shared memory.

What almost every program needs is here. The rest is in ``remotemedia.core.multiprocessing`` (nodes, pipelines,
sessions, channels), ``remotemedia.core.data`` (what travels) and ``remotemedia.client``. This package imports nothing:
each name is loaded on first use.
"""

# May import: nothing

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from remotemedia.client import PipelineClient as PipelineClient
    from remotemedia.core.data import AudioMetadata, DataType, RuntimeData, VideoMetadata
    from remotemedia.core.multiprocessing import (
        ChannelClosedError,
        ChannelFullError,
        ConfigurationError,
        InitializationTimeout,
        InitProgress,
        ManifestError,
        MultiprocessConfig,
        MultiprocessError,
        MultiprocessExecutor,
        MultiprocessNode,
        NodeInitializationError,
        NodeProcessError,
        Param,
        PayloadError,
        Pipeline,
        PipelineError,
        ProcessCrashError,
        Publisher,
        Session,
        Subscriber,
        load_audio_file,
        register_node,
        save_audio_file,
    )

_HOMES = {
    "remotemedia.client": ("PipelineClient",),
    "remotemedia.core.data": ("AudioMetadata", "DataType", "RuntimeData", "VideoMetadata"),
    "remotemedia.core.multiprocessing": (
        "ChannelClosedError",
        "ChannelFullError",
        "ConfigurationError",
        "InitProgress",
        "InitializationTimeout",
        "ManifestError",
        "MultiprocessConfig",
        "MultiprocessError",
        "MultiprocessExecutor",
        "MultiprocessNode",
        "NodeInitializationError",
        "NodeProcessError",
        "Param",
        "PayloadError",
        "Pipeline",
        "PipelineError",
        "ProcessCrashError",
        "Publisher",
        "Session",
        "Subscriber",
        "load_audio_file",
        "register_node",
        "save_audio_file",
    ),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

# Without PipelineClient: `import *`, help() and all that looks at every name would need grpcio.
__all__ = [
    "AudioMetadata",
    "ChannelClosedError",
    "ChannelFullError",
    "ConfigurationError",
    "DataType",
    "InitProgress",
    "InitializationTimeout",
    "ManifestError",
    "MultiprocessConfig",
    "MultiprocessError",
    "MultiprocessExecutor",
    "MultiprocessNode",
    "NodeInitializationError",
    "NodeProcessError",
    "Param",
    "PayloadError",
    "Pipeline",
    "PipelineError",
    "ProcessCrashError",
    "Publisher",
    "RuntimeData",
    "Session",
    "Subscriber",
    "VideoMetadata",
    "__version__",
    "load_audio_file",
    "register_node",
    "save_audio_file",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "_ring":
        return _extension()
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    globals()[name] = value = getattr(importlib.import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _extension() -> Any:
    import importlib

    try:
        return importlib.import_module("remotemedia._ring")
    except ModuleNotFoundError as error:
        if error.name != "remotemedia._ring":
            raise
    import sys
    from pathlib import Path

    where, python = Path(__file__).parent, sys.version_info
    raise ImportError(
        f"the extension of remotemedia in {where} is not built for Python {python.major}.{python.minor}: "
        f"in a checkout, make build; elsewhere, {sys.executable} -m pip install CHECKOUT",
        name="remotemedia._ring",
    )
