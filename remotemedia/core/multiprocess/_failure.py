"""What a node's process tells the orchestrator of an exception."""

from __future__ import annotations

import errno
import traceback
from typing import Any

__all__ = ["clip", "describe_failure"]

_REASON_CHARS, _TRACEBACK_CHARS = 4_000, 32_000
"""A control message has room for these, whatever characters they are (``_control``)."""


def describe_failure(error: BaseException) -> dict[str, Any]:
    """As JSON values: type and message, the traceback, and whether it came of memory that there was no more of."""
    return {
        "reason": clip(f"{type(error).__name__}: {error}", _REASON_CHARS),
        "traceback": clip("".join(traceback.format_exception(error)), _TRACEBACK_CHARS),
        "out_of_memory": _is_out_of_memory(error),
    }


def clip(text: str, chars: int) -> str:
    """The beginning and the end of a text that is longer than that."""
    if len(text) <= chars:
        return text
    return f"{text[: chars // 2]}[... {len(text) - chars:,} characters ...]{text[-(chars // 2) :]}"


def _is_out_of_memory(error: BaseException) -> bool:
    chain: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in chain:
        chain.append(at)
        at = at.__cause__ or at.__context__
    return any(isinstance(e, MemoryError) or (isinstance(e, OSError) and e.errno == errno.ENOMEM) for e in chain)
