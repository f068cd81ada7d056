"""libsndfile, as readers and writers of whole files use it."""

from __future__ import annotations

import functools
from typing import Any

__all__ = ["reason_of", "unsought_file"]


@functools.cache
def unsought_file() -> Any:
    """The class SoundFile, but that it does not seek: it would before and after each call, where seeking is possible.

    A FLAC that does not know its length fails at that. ImportError without soundfile.
    """
    import soundfile

    class Unsought(soundfile.SoundFile):  # type: ignore[misc]
        def seekable(self) -> bool:
            return False

    return Unsought


def reason_of(error: Exception) -> str:
    """What libsndfile says, as the end of a sentence."""
    return str(getattr(error, "error_string", error)).removeprefix("Error : ").rstrip(".")
