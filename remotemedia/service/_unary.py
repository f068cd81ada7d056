"""ExecutePipeline: inputs in, a pipeline's life, outputs out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import grpc
import numpy as np
import remotemedia_v1_pb2 as pb

from remotemedia._telling import clip
from remotemedia.core.data import RuntimeData
from remotemedia.errors import InitializationTimeout, NodeProcessError, PayloadError, ResourceLimitError
from remotemedia.service._call import Call
from remotemedia.service._call_metrics import Clock, execution_metrics
from remotemedia.service._errors import name_of, response_of
from remotemedia.service._manifests import BadRequest, SessionPlan, manifest_in_request
from remotemedia.service._session import (
    OpenSession,
    Shared,
    Stopping,
    at_most,
    check_input_node,
    input_data,
    open_session,
    run_until_first_failure,
)
from remotemedia.wire.buffers import buffer_of, kind_of
from remotemedia.wire.marks import as_understood
from remotemedia.wire.payload import Envelope, decode, encode
from remotemedia.wire.sizes import ENVELOPE_BYTES

if TYPE_CHECKING:
    import grpc.aio

__all__ = ["ERROR_KEY", "execute"]

ERROR_KEY = "remotemedia-error-bin"
"""Trailing metadata: the serialized ErrorResponse behind a status."""

_ALIAS = "output"
_LARGEST_ALIAS_BYTES = 1 << 20
# Clients take metadata of 8 KiB.
_MOST_CHARS_IN_METADATA = 500
_BESIDE_BYTES = 128
"""About what an output has on the wire beside its payload."""


class _NoRun(Exception):
    """The call ends with a status: it never became a run."""

    def __init__(self, code: grpc.StatusCode, details: str, told: pb.ErrorResponse | None = None) -> None:
        super().__init__(details)
        self.code = code
        self.metadata = () if told is None else ((ERROR_KEY, told.SerializeToString()),)


async def execute(shared: Shared, call: Call, raw: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    """The serialized ExecuteResponse. Ends the call with a status where it never became a run."""
    try:
        return encode(await _execute(shared, call, raw))
    except _NoRun as end:
        await context.abort(end.code, str(end), end.metadata)
    except Stopping:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the service is stopping")
    except Exception as error:
        told = response_of(error)
        call.error_type = name_of(told)
        return pb.ExecuteResponse(error=told, status=pb.EXECUTION_STATUS_FAILED).SerializeToString()


async def _execute(shared: Shared, call: Call, raw: bytes) -> Envelope[pb.ExecuteResponse]:
    clock = Clock()
    try:
        request = decode(pb.ExecuteRequest, raw)
        manifest = manifest_in_request(request.message)
    except ValueError as error:
        raise _NoRun(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from None
    if manifest is None:
        raise _NoRun(grpc.StatusCode.INVALID_ARGUMENT, "Manifest is required")
    limits = request.message.resource_limits
    plan = shared.plan(manifest, limits)
    inputs = _inputs(request, plan, clock)
    try:
        async with at_most(limits.max_timeout_ms / 1000, "the request's max_timeout_ms allows"):
            async with open_session(shared, plan, call) as running:
                response = await _run(shared, running, inputs, clock)
            running.raise_error()
            return response
    except InitializationTimeout as error:
        told = response_of(error)
        secs = f"{plan.config.init_timeout_secs:g}"
        told.message = clip(told.message, _MOST_CHARS_IN_METADATA)
        details = f"Node {told.failing_node_id!r} failed to initialize within {secs}s"
        raise _NoRun(grpc.StatusCode.DEADLINE_EXCEEDED, details, told) from None


def _inputs(request: Envelope[pb.ExecuteRequest], plan: SessionPlan, clock: Clock) -> dict[str, RuntimeData]:
    message, inputs = request.message, {}
    with clock.reading():
        for node_id, buffer in message.data_inputs.items():
            what = f"data_inputs[{node_id!r}]"
            check_input_node(plan.pipeline, node_id, what)
            inputs[node_id] = input_data(
                buffer, request.payloads, (plan.pipeline, node_id, ""), what, message.resource_limits
            )
            clock.count(kind_of(buffer))
    return inputs


async def _run(
    shared: Shared, running: OpenSession, inputs: Mapping[str, RuntimeData], clock: Clock
) -> Envelope[pb.ExecuteResponse]:
    session = running.session
    collected = _Outputs(shared.service_config.max_message_bytes, session.config.shm_segment_size)

    async def feed() -> None:
        for node_id, data in inputs.items():
            try:
                await session.send(node_id, data)
            except PayloadError as error:
                raise BadRequest(f"data_inputs[{node_id!r}]: {error}", node_id) from None
        await session.end_input()

    async def collect() -> None:
        async for node_id, output in session.outputs():
            if (data := as_understood(output, marks=False)) is not None:
                collected.add(node_id, data)

    async with at_most(shared.service_config.max_execution_secs, "this service allows"):
        await run_until_first_failure(shared, collect(), feed(), failed=running.failed)
    running.graceful = True
    with clock.writing():
        envelope = Envelope(pb.ExecuteResponse(status=pb.EXECUTION_STATUS_SUCCESS))
        collected.write(envelope, session.pipeline.node_ids)
    result = envelope.message.result
    result.status = pb.EXECUTION_STATUS_SUCCESS
    result.node_results.extend(
        pb.NodeResult(node_id=node_id, status=pb.NODE_STATUS_SUCCESS) for node_id in session.pipeline.node_ids
    )
    result.metrics.CopyFrom(execution_metrics(session, clock))
    return envelope


class _Outputs:
    """What the pipeline gave, in order, until the response is written.

    Arrays stay where they are in shared memory, unless that would leave the nodes too little of it.
    """

    def __init__(self, most_bytes: int, pool_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._most_in_pool_bytes = pool_bytes // 4
        self._bytes = 0
        self._found: list[tuple[str, RuntimeData]] = []

    def add(self, node_id: str, data: RuntimeData) -> None:
        """ResourceLimitError when it is more than a message may hold."""
        self._bytes += data.size
        if self._found:  # what the first has beside it is in ENVELOPE_BYTES
            self._bytes += _BESIDE_BYTES + len(node_id)
        if self._bytes > self._most_bytes - ENVELOPE_BYTES:
            raise ResourceLimitError(
                f"the outputs are more than the {self._most_bytes} bytes that a message may have; StreamPipeline sends "
                f"them one by one"
            )
        if self._bytes > self._most_in_pool_bytes and not isinstance(data.payload, str):
            payload = data.payload
            data.payload = payload.copy() if isinstance(payload, np.ndarray) else bytes(payload)
        self._found.append((node_id, data))

    def write(self, envelope: Envelope[pb.ExecuteResponse], node_ids: Collection[str]) -> None:
        """By output node: ``ID``, ``ID.1``, ``ID.2`` and so on; a single small output is also ``output``, unless a
        node is called so."""
        outputs, counts = envelope.message.result.data_outputs, Counter[str]()
        for node_id, data in self._found:
            try:
                buffer = buffer_of(data, envelope.payloads)
            except PayloadError as error:
                raise NodeProcessError(node_id, f"its output cannot be sent: {error}") from None
            key = node_id
            # Another node may be called "ID.1": no output is lost to it.
            while key in outputs or (key != node_id and key in node_ids):
                counts[node_id] += 1
                key = f"{node_id}.{counts[node_id]}"
            outputs[key].CopyFrom(buffer)
        if len(self._found) == 1:
            ((node_id, data),) = self._found
            if _ALIAS not in node_ids and data.size <= _LARGEST_ALIAS_BYTES:
                outputs[_ALIAS].CopyFrom(outputs[node_id])
