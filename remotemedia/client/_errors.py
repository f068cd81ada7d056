"""What a service says went wrong, as the errors that the same would be here."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import grpc.aio
import remotemedia_v1_pb2 as pb

from remotemedia.errors import (
    AuthenticationError,
    InitializationTimeout,
    ManifestError,
    MultiprocessError,
    NodeInitializationError,
    NodeProcessError,
    PipelineError,
    Problem,
    ProcessCrashError,
    RemoteFailure,
    ResourceLimitError,
    ServiceError,
    ServiceUnavailableError,
)

__all__ = ["error_of_response", "error_of_status"]

_BEHIND_A_STATUS = "remotemedia-error-bin"
"""Trailing metadata: the ErrorResponse behind a status."""


def error_of_response(response: pb.ErrorResponse) -> MultiprocessError:
    """An error with what the service said in ``remote``, and as its text."""
    context = _context(response.context)
    failure = RemoteFailure(
        error_type=pb.ErrorType.Name(response.error_type).removeprefix("ERROR_TYPE_"),
        message=response.message,
        failing_node_id=response.failing_node_id,
        context=context,
        traceback=response.stack_trace,
    )
    make = _BY_NAME.get(context.get("exception", "")) or _BY_TYPE.get(response.error_type, _service_error)
    error = make(failure)
    error.args = (_without_prefix(failure),)
    error.remote = failure
    return error


def error_of_status(error: grpc.aio.AioRpcError, target: str) -> MultiprocessError | TimeoutError:
    """For a call that ended with a status instead of an answer."""
    for key, value in error.trailing_metadata() or ():
        if key == _BEHIND_A_STATUS and isinstance(value, bytes):
            return error_of_response(pb.ErrorResponse.FromString(value))
    code, details = error.code(), error.details() or "it does not say why"
    match code:
        case grpc.StatusCode.UNAVAILABLE:
            return ServiceUnavailableError(f"no connection to the service at {target}: {details}", code.name)
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            return AuthenticationError(f"the service at {target} does not let this client in: {details}", code.name)
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return ResourceLimitError(f"the service at {target}: {details}")
        case grpc.StatusCode.INVALID_ARGUMENT:
            return PipelineError(f"the service at {target}: {details}")
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return TimeoutError(f"the service at {target} did not answer in the time given")
    return ServiceError(f"the service at {target} failed with {code.name}: {details}", code.name)


def _without_prefix(failure: RemoteFailure) -> str:
    """In a stream, the kind of error stands in front of the text."""
    prefixes = (
        "Validation error: ",
        f"Node execution error in {failure.failing_node_id}: ",
        "Resource limit exceeded: ",
        "Internal error: ",
    )
    return next(
        (failure.message.removeprefix(prefix) for prefix in prefixes if failure.message.startswith(prefix)),
        failure.message,
    )


def _context(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text) if text else {}
    except ValueError:
        value = text
    return value if isinstance(value, dict) else {"text": text}


def _crash(failure: RemoteFailure) -> MultiprocessError:
    facts = failure.context
    return ProcessCrashError(
        failure.failing_node_id,
        int(facts.get("exit_code", -1)),
        facts.get("signal"),
        tuple(failure.traceback.splitlines()),
        reason=str(facts.get("reason", "")),
    )


def _node_error(failure: RemoteFailure) -> MultiprocessError:
    reason = str(failure.context.get("reason", failure.message))
    return NodeProcessError(failure.failing_node_id, reason, remote_traceback=failure.traceback)


def _initialization_error(failure: RemoteFailure) -> MultiprocessError:
    reason = str(failure.context.get("reason", failure.message))
    return NodeInitializationError(failure.failing_node_id, reason, failure.traceback)


def _timeout(failure: RemoteFailure) -> MultiprocessError:
    return InitializationTimeout("", tuple(filter(None, (failure.failing_node_id,))))


def _validation(failure: RemoteFailure) -> MultiprocessError:
    text = _without_prefix(failure)
    if not text.startswith(("Manifest validation error: ", "[{")):
        return PipelineError(text)
    return ManifestError(Problem(line) for line in text.removeprefix("Manifest validation error: ").splitlines())


def _service_error(failure: RemoteFailure) -> MultiprocessError:
    return ServiceError("", failure.error_type)


# The text is set where these are called.
_Make = Callable[[RemoteFailure], MultiprocessError]

_BY_NAME: dict[str, _Make] = {
    "ProcessCrashError": _crash,
    "NodeProcessError": _node_error,
    "NodeInitializationError": _initialization_error,
    "InitializationTimeout": _timeout,
}
_BY_TYPE: dict[int, _Make] = {
    pb.ERROR_TYPE_VALIDATION: _validation,
    pb.ERROR_TYPE_TYPE_VALIDATION: _validation,
    pb.ERROR_TYPE_NODE_EXECUTION: _node_error,
    pb.ERROR_TYPE_RESOURCE_LIMIT: lambda failure: ResourceLimitError(),
    pb.ERROR_TYPE_AUTHENTICATION: lambda failure: AuthenticationError("", failure.error_type),
}
