"""libsndfile, as readers and writers of whole files use it."""

from __future__ import annotations

import functools
from typing import Any

__all__ = ["reason_of", "unsought_file"]


@functools.cache
def unsought_file() -> Any:
    """A SoundFile that does not seek. The original seeks before and after each call where the file allows it.

    A FLAC without a length fails at that. ImportError without soundfile.
    """
    import soundfile

    class Unsought(soundfile.SoundFile):  # type: ignore[misc]
        def seekable(self) -> bool:
            return False

    return Unsought


def reason_of(error: Exception) -> str:
    """What libsndfile says, as the end of a sentence."""
    return str(getattr(error, "error_string", error)).removeprefix("Error : ").rstrip(".")
