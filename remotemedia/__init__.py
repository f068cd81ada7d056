"""remotemedia: each node of a media or AI pipeline in a process of its own, wired by shared memory.

Start with ``remotemedia.core.multiprocessing`` (nodes, pipelines, sessions, channels) and
``remotemedia.core.data`` (what travels). This package imports nothing heavy.
"""

# May import: nothing

from __future__ import annotations

from typing import Any

__all__ = ["__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name != "_ring":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
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
