"""What a node's process tells the orchestrator of an exception."""

from __future__ import annotations

import errno
import traceback
from typing import Any

__all__ = ["describe_failure"]


def describe_failure(error: BaseException) -> dict[str, Any]:
    """As JSON values: type and message, the traceback, and whether it came of memory that there was no more of."""
    return {
        "reason": f"{type(error).__name__}: {error}",
        "traceback": "".join(traceback.format_exception(error)),
        "out_of_memory": _is_out_of_memory(error),
    }


def _is_out_of_memory(error: BaseException) -> bool:
    chain: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in chain:
        chain.append(at)
        at = at.__cause__ or at.__context__
    return any(isinstance(e, MemoryError) or (isinstance(e, OSError) and e.errno == errno.ENOMEM) for e in chain)
