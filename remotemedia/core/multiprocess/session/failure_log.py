"""The failures of one session in the log: each kind once with its traceback, then how often it came again."""

from __future__ import annotations

import logging
import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeAlias

from remotemedia._telling import said, trace
from remotemedia.core.multiprocess.values.logs import about
from remotemedia.errors import NodeProcessError

__all__ = ["FailureLog"]

_KINDS = 64
"""How many kinds are remembered; the one not seen for longest is forgotten first."""

_TRACEBACK_CHARS = 32_000

_logger = logging.getLogger("remotemedia.session")

# What differs from one message to the next: quoted text, addresses, numbers.
_VARYING = re.compile(r"'[^']*'|\"[^\"]*\"|0x[0-9a-fA-F]+|\d+")

_Kind: TypeAlias = "tuple[str, str, str, frozenset[str]]"


@dataclass
class _Seen:
    """For one kind: its level, how often it was repeated, the count that was last logged, and the newest failure."""

    level: int
    times: int = 0
    told: int = 0
    newest: str = ""


class FailureLog:
    """The failures of one session. Two are of the same kind if they have the same node and source, the same type, the
    same frames in the traceback, and the same message apart from numbers and quoted text.

    The count of a kind is logged when it has doubled, when the same node fails in another way, and when the node ends.
    There is no timer.
    """

    def __init__(self, session_id: str) -> None:
        self._session_id = session_id
        self._seen: OrderedDict[_Kind, _Seen] = OrderedDict()

    def message_failed(self, error: NodeProcessError) -> None:
        """Logs that one message of a node failed."""
        self._tell(error.node_id, f"port {error.port}", str(error), error.reason, error.remote_traceback)

    def message_retried(self, error: NodeProcessError) -> None:
        """Logs, as a warning, that a node failed for a message and gets it once more."""
        failed, source = f"{error}; it gets the message once more", f"retried, port {error.port}"
        self._tell(error.node_id, source, failed, error.reason, error.remote_traceback, logging.WARNING)

    def callback_failed(self, node_id: str, name: str, error: BaseException) -> None:
        """Logs that a user's callback for the node raised. The error is not kept: it may hold the session."""
        reason = said(error)
        self._tell(node_id, name, f"{name} callback failed: {reason}", reason, trace(error, _TRACEBACK_CHARS))

    def end(self, node_id: str | None = None) -> None:
        """Logs the counts that are not logged yet, of one node or of all."""
        for kind, seen in self._seen.items():
            if node_id in (None, kind[0]):
                self._tell_count(kind, seen)

    def _tell(
        self, node_id: str, source: str, failed: str, reason: str, trace: str, level: int = logging.ERROR
    ) -> None:
        kind = node_id, source, _VARYING.sub("#", reason), _frames(trace)
        seen = self._seen.get(kind)
        if seen is None:
            self.end(node_id)
            self._remember(kind, _Seen(level))
            _logger.log(level, "session %r: %s\n%s", self._session_id, failed, trace, extra=self._about(node_id))
            return
        self._seen.move_to_end(kind)
        seen.times += 1
        seen.newest = failed
        if seen.times & (seen.times - 1) == 0:
            self._tell_count(kind, seen)

    def _remember(self, kind: _Kind, seen: _Seen) -> None:
        if len(self._seen) >= _KINDS:
            self._tell_count(*self._seen.popitem(last=False))
        self._seen[kind] = seen

    def _tell_count(self, kind: _Kind, seen: _Seen) -> None:
        if seen.told == seen.times:
            return
        seen.told = seen.times
        again = f"same error {seen.times:,} more time{'s' if seen.times > 1 else ''}"
        extra = self._about(kind[0])
        _logger.log(seen.level, "session %r: %s, the last: %s", self._session_id, again, seen.newest, extra=extra)

    def _about(self, node_id: str) -> dict[str, str | None]:
        return about(self._session_id, node_id)


def _frames(trace: str) -> frozenset[str]:
    """The frames as a set: the same error may come from any depth of a recursion."""
    lines = (line.lstrip(" |+-") for line in trace.splitlines())
    return frozenset(line for line in lines if line.startswith('File "'))
