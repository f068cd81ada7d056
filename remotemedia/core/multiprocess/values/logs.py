"""Where the lines of nodes go, and the session and node of a log record (for ``remotemedia.monitoring``)."""

from __future__ import annotations

import contextlib
import logging
import sys

__all__ = ["NodeLog", "about"]


def about(session_id: str, node_id: str | None = None) -> dict[str, str | None]:
    """The ``extra`` of a record: its ``session_id``, and its ``node_id``, None when it is of no single node."""
    return {"session_id": session_id, "node_id": node_id}


class NodeLog:
    """Passes the lines of one node to the program's log handlers, or to its stderr if it has none."""

    def __init__(self, session_id: str, node_id: str) -> None:
        self._node_id = node_id
        self._logger = logging.getLogger("remotemedia.node").getChild(node_id)
        self._extra = about(session_id, node_id)

    def debug(self, text: str) -> None:
        """Logs something about the node's process."""
        self._logger.debug("%s", text, extra=self._extra)

    def line(self, level: int, line: str) -> None:
        """Passes on a line that the node wrote."""
        # Checked for each line: a program may set up logging later, or remove its handlers.
        if self._logger.hasHandlers():
            self._logger.log(level, "%s", line, extra=self._extra)
        elif _is_wanted(self._logger, level) and sys.stderr is not None:
            # One write per line, so that lines of several threads do not mix. A closed stderr is ignored.
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(f"[{self._node_id}] {line}\n")
                sys.stderr.flush()


def _is_wanted(logger: logging.Logger, level: int) -> bool:
    """Whether no level that the program has set forbids it. WARNING on the root logger is only the default."""
    if logger.disabled or logger.manager.disable >= level:
        return False
    at: logging.Logger | None = logger
    while at is not None and at.parent is not None:
        if at.level:
            return level >= at.level
        at = at.parent
    return at is None or at.level == logging.WARNING or level >= at.level
