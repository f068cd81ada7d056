"""The access log: one line for each call of a pipeline, at its end."""

from __future__ import annotations

import logging

from remotemedia.service._call import Call

__all__ = ["log_call"]

_logger = logging.getLogger("remotemedia.access")


def log_call(call: Call, status: str, seconds: float) -> None:
    """Logs a call. Each figure is also an attribute of the record: a field, where records are written as JSON."""
    if not _logger.isEnabledFor(logging.INFO):
        return
    fields: dict[str, object] = {
        "method": call.method,
        "status": status,
        "error_type": call.error_type,
        "client": call.client,
        "session_id": call.session_id,
        "seconds": round(seconds, 6),
        "messages_in": call.messages_in,
        "bytes_in": call.bytes_in,
        "messages_out": call.messages_out,
        "bytes_out": call.bytes_out,
    }
    # Beforehand, not by the formatter: our text is the same under every formatter.
    text = " ".join(f"{name}={'-' if value == '' else value}" for name, value in fields.items())
    _logger.info("%s", text, extra=fields)
