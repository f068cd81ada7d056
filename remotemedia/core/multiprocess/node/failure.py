"""What a node's process reports to the orchestrator about an exception."""

from __future__ import annotations

import errno

from remotemedia._telling import clip, family, said, trace
from remotemedia.core.multiprocess.values.protocol import Failed

__all__ = ["describe_failure", "print_failure"]

_REASON_CHARS, _TRACEBACK_CHARS = 4_000, 32_000
"""A control message has room for these, whatever characters they are (``_control``)."""
_FAMILY = 1_000

_errno = OSError.__dict__["errno"].__get__


def describe_failure(error: BaseException) -> Failed:
    """The failure in words: type and message, the traceback, and whether a lack of memory caused it.

    The exception's own methods may fail without ending anything. Only one that never returns holds the node up.
    """
    return Failed(
        reason=clip(said(error), _REASON_CHARS),
        traceback=trace(error, _TRACEBACK_CHARS),
        out_of_memory=any(map(_is_out_of_memory, family(error, _FAMILY))),
    )


def print_failure(error: BaseException) -> None:
    """Prints the traceback on stderr, if that can still be written to."""
    import contextlib
    import sys

    with contextlib.suppress(Exception):
        print(trace(error, _TRACEBACK_CHARS).rstrip("\n"), file=sys.stderr, flush=True)


def _is_out_of_memory(error: BaseException) -> bool:
    kind = type(error)
    return issubclass(kind, MemoryError) or (issubclass(kind, OSError) and _errno(error) == errno.ENOMEM)
