"""What a client is told of an error."""

from __future__ import annotations

import errno
import json
import logging
from typing import Any

import remotemedia_v1_pb2 as pb

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
from remotemedia.service._manifests import Refused

__all__ = ["name_of", "response_of", "streamed_response_of"]

_logger = logging.getLogger("remotemedia.service")

_NO_ROOM = {errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC}


def response_of(error: BaseException) -> pb.ErrorResponse:
    """The error as clients know errors. What nobody foresaw is logged here, and told without its details."""
    name = type(error).__name__
    match error:
        case Refused():
            return pb.ErrorResponse(
                error_type=pb.ERROR_TYPE_VALIDATION,
                message=str(error),
                failing_node_id=error.node_id,
                context=error.context,
            )
        case PipelineError() | PayloadError():
            return pb.ErrorResponse(error_type=pb.ERROR_TYPE_VALIDATION, message=str(error))
        case NodeProcessError() | NodeInitializationError():
            return _of_node(error, error.node_id, error.remote_traceback, exception=name, reason=error.reason)
        case ProcessCrashError():
            facts = {"exit_code": error.exit_code, "signal": error.signal, "reason": error.reason}
            return _of_node(error, error.node_id, "\n".join(error.stderr_tail), exception=name, **facts)
        case InitializationTimeout():
            return _of_node(error, error.node_ids[0] if error.node_ids else "", exception=name)
        case ResourceLimitError():
            return _limit(str(error))
        case ProcessSpawnError() if isinstance(error.__cause__, OSError) and error.__cause__.errno in _NO_ROOM:
            return _limit(str(error))
        case ProcessSpawnError():
            return pb.ErrorResponse(error_type=pb.ERROR_TYPE_INTERNAL, message=str(error))
    _logger.error("a call failed", exc_info=error)
    return pb.ErrorResponse(
        error_type=pb.ERROR_TYPE_INTERNAL, message=f"the service failed: {name}; its log has the details"
    )


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
    return pb.ErrorResponse(
        error_type=pb.ERROR_TYPE_NODE_EXECUTION,
        message=str(error).partition("\n\nin the process of")[0],
        failing_node_id=node_id,
        context=json.dumps({key: value for key, value in facts.items() if value not in (None, "")}),
        stack_trace=trace,
    )


def _limit(message: str) -> pb.ErrorResponse:
    return pb.ErrorResponse(error_type=pb.ERROR_TYPE_RESOURCE_LIMIT, message=message)
