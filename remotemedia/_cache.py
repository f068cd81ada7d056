"""Where remotemedia keeps what it has made and can make again."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder(part: str) -> Path:
    """``part`` in ``REMOTEMEDIA_CACHE``, else in ``remotemedia`` of the user's cache folder (XDG)."""
    if own := os.environ.get("REMOTEMEDIA_CACHE"):
        return Path(own).absolute() / part
    usual = os.environ.get("XDG_CACHE_HOME")
    # The base directory specification has relative paths ignored.
    base = Path(usual) if usual and Path(usual).is_absolute() else Path.home() / ".cache"
    return base / "remotemedia" / part
