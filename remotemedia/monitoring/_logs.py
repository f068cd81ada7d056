"""Log records as JSON, one object a line, with the session and node they are about."""

from __future__ import annotations

import logging

from pythonjsonlogger.json import JsonFormatter

__all__ = ["json_log_formatter"]


def json_log_formatter() -> logging.Formatter:
    """For any handler: ``timestamp`` (UTC), ``level``, ``logger``, ``message``, ``session_id`` and ``node_id``.

    The last two are null for records that are about none. ``exc_info`` and whatever else a record carries follow.
    """
    return JsonFormatter(
        "%(levelname)s %(name)s %(message)s",
        rename_fields={"levelname": "level", "name": "logger"},
        timestamp=True,
        defaults={"session_id": None, "node_id": None},
    )
