"""What a client learns of an error."""

from __future__ import annotations

import errno
import json
import logging
from typing import Any

import remotemedia_v1_pb2 as pb

from remotemedia._telling import clip
from remotemedia.errors import (
    InitializationTimeout,
    NodeInitializationError,
    NodeProcessError,
    PayloadError,
    PipelineError,
    ProcessCrashError,
    ProcessSpawnError,
    ResourceLimitError,
)
from remotemedia.service._manifests import BadRequest

__all__ = ["name_of", "response_of", "sendable", "streamed_response_of"]

_logger = logging.getLogger("remotemedia.service")

# Clients take messages of 4 MiB by default.
_MOST_CHARS = 64 * 1024
_NO_ROOM = {errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC}


def response_of(error: BaseException) -> pb.ErrorResponse:
    """The error as clients know errors. An unforeseen one is logged here, and sent without its details."""
    name = type(error).__name__
    match error:
        case BadRequest():
            return _told(pb.ERROR_TYPE_VALIDATION, str(error), error.node_id, error.context)
        case PipelineError() | PayloadError():
            return _told(pb.ERROR_TYPE_VALIDATION, str(error))
        case NodeProcessError() | NodeInitializationError():
            return _of_node(error, error.node_id, error.remote_traceback, exception=name, reason=error.reason)
        case ProcessCrashError():
            facts = {"exit_code": error.exit_code, "signal": error.signal, "reason": error.reason}
            return _of_node(error, error.node_id, "\n".join(error.stderr_tail), exception=name, **facts)
        case InitializationTimeout():
            return _of_node(error, error.node_ids[0] if error.node_ids else "", exception=name)
        case ResourceLimitError():
            return _told(pb.ERROR_TYPE_RESOURCE_LIMIT, str(error))
        case ProcessSpawnError() if isinstance(error.__cause__, OSError) and error.__cause__.errno in _NO_ROOM:
            return _told(pb.ERROR_TYPE_RESOURCE_LIMIT, str(error))
        case ProcessSpawnError():
            return _told(pb.ERROR_TYPE_INTERNAL, str(error))
    _logger.error("a call failed", exc_info=error)
    return _told(pb.ERROR_TYPE_INTERNAL, f"the service failed: {name}; its log has the details")


def streamed_response_of(error: BaseException) -> pb.ErrorResponse:
    """The same with the kind of error in front of its message, as streams have it."""
    response = response_of(error)
    match response.error_type:
        case pb.ERROR_TYPE_VALIDATION:
            prefix = "Validation error: "
        case pb.ERROR_TYPE_NODE_EXECUTION:
            prefix = f"Node execution error in {response.failing_node_id}: "
        case pb.ERROR_TYPE_RESOURCE_LIMIT:
            prefix = "Resource limit exceeded: "
        case _:
            prefix = "Internal error: "
    response.message = prefix + response.message
    return response


def name_of(response: pb.ErrorResponse) -> str:
    """Its type in short, such as ``VALIDATION``."""
    return pb.ErrorType.Name(response.error_type).removeprefix("ERROR_TYPE_")


def _of_node(error: BaseException, node_id: str, trace: str = "", **facts: Any) -> pb.ErrorResponse:
    context = json.dumps({key: value for key, value in facts.items() if value not in (None, "")})
    message = str(error).partition("\n\nin the process of")[0]
    return _told(pb.ERROR_TYPE_NODE_EXECUTION, message, node_id, context, trace)


def _told(
    error_type: pb.ErrorType, message: str, node_id: str = "", context: str = "", trace: str = ""
) -> pb.ErrorResponse:
    return pb.ErrorResponse(
        error_type=error_type,
        message=sendable(message),
        failing_node_id=sendable(node_id),
        context=sendable(context),
        stack_trace=sendable(trace),
    )


def sendable(text: str) -> str:
    """Cut short where it quotes too much of what the client or a node said; halves of characters as escapes."""
    return clip(text, _MOST_CHARS).encode(errors="backslashreplace").decode()
