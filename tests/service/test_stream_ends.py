"""StreamPipeline that ends before its time: failures, limits, CANCEL; whether or not the client reads."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
import pytest
import remotemedia_v1_pb2 as pb

pytestmark = pytest.mark.usefixtures("leak_check")

Control = pb.StreamControl
NODE_EXECUTION = pb.ERROR_TYPE_NODE_EXECUTION


# What the manifest is, what is sent, what the error says, and its type.
FAILURES: dict[str, tuple[Callable[[Any], pb.PipelineManifest], str, str, int]] = {
    "raises": (
        lambda sv: sv.chain("t-do", "t-echo"),
        "raise out of ideas",
        "Node execution error in n0: Node 'n0' failed on message 0 of port 'input': ValueError: out of ideas",
        NODE_EXECUTION,
    ),
    "raises in finish()": (
        lambda sv: sv.chain("t-fails-at-the-end"),
        "x",
        "Node execution error in n0: Node 'n0' failed on message -1 of port 'finish()': ValueError: out of ideas",
        NODE_EXECUTION,
    ),
    "dies": (
        lambda sv: sv.chain("t-do", "t-echo"),
        "die SIGKILL",
        "Node execution error in n0: Process n0 crashed with code 137 (killed by SIGKILL)",
        NODE_EXECUTION,
    ),
    "does not load": (
        lambda sv: sv.chain(("t-init", {"how": "raise"})),
        "x",
        "Node execution error in n0: Node 'n0' failed to initialize: RuntimeError: no such weights",
        NODE_EXECUTION,
    ),
    "is not ready in time": (
        lambda sv: sv.chain(("t-init", {"how": "wait"}), init_timeout_secs=1.5),
        "x",
        "Node execution error in n0: ",
        NODE_EXECUTION,
    ),
    "too many nodes": (
        lambda sv: sv.chain("t-echo", "t-echo", max_processes_per_session=1),
        "x",
        "Resource limit exceeded: the pipeline has 2 nodes; max_processes_per_session is 1",
        pb.ERROR_TYPE_RESOURCE_LIMIT,
    ),
    "takes too long": (
        lambda sv: sv.chain("t-do"),
        "wait",
        "Resource limit exceeded: not done within the 1.5 s that the stream's max_timeout_ms allows",
        pb.ERROR_TYPE_RESOURCE_LIMIT,
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failures(px: Any, sv: Any, name: str) -> None:
    make, order, message, error_type = FAILURES[name]
    limits = pb.ResourceLimits(max_timeout_ms=1500) if name == "takes too long" else None

    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.open(make(sv), resource_limits=limits)
            await stream.chunk("n0", order, 1)
            await stream.call.done_writing()
            error = await stream.error()
            assert error.message.startswith(message), error.message
            assert error.error_type == error_type
            assert error.failing_node_id == ("n0" if error_type == NODE_EXECUTION else "")
            assert client.pids() == []

    px.run(main())


@pytest.mark.parametrize("when", ["loading", "working", "with all channels full"])
def test_cancel_drops_what_is_under_way(px: Any, sv: Any, when: str) -> None:
    async def main() -> None:
        manifest = sv.chain(("t-init", {"how": "wait"}) if when == "loading" else "t-do", channel_capacity=2)
        async with sv.serving() as client:
            stream = await client.open(manifest)
            await stream.chunk("n0", "wait", 1)
            if when == "loading":
                await sv.until(client.pids)
            else:
                await sv.until(lambda: client.busy("n0"))
            for number in range(2, 8 if when.startswith("with") else 3):
                await stream.chunk("n0", "more", number)
            await stream.command(Control.COMMAND_CANCEL)
            await stream.finish()
            closed = stream.came[-1].closed
            assert closed.reason == "Client requested cancel" and closed.final_metrics.wall_time_ms > 0
            assert all(each.result.sequence < 2 for each in stream.came if each.HasField("result"))
            assert client.pids() == []

    px.run(main())


BIG = 1_000_000


@pytest.mark.parametrize("how", ["cancel", "mistake", "crash"])
def test_an_end_while_the_client_does_not_read(px: Any, sv: Any, how: str) -> None:
    """A write that waits for the client is in gRPC's hands: what ends the stream comes behind it, and comes."""

    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.ready(sv.chain("t-flood"))
            pid = client.pids()[0]
            await stream.chunk("n0", str(BIG), 1)
            await sv.stalled(client.service)
            if how == "cancel":
                await stream.command(Control.COMMAND_CANCEL)
            elif how == "mistake":
                await stream.send(init=pb.StreamInit())
            else:
                os.kill(pid, signal.SIGKILL)
            # The processes do not wait for the client.
            await sv.until(lambda: not client.pids() and not sv.lives(pid))
            await stream.finish()
            last = stream.came[-1]
            if how == "cancel":
                assert last.closed.reason == "Client requested cancel"
            elif how == "mistake":
                assert last.error.message == "Validation error: StreamInit already received"
            else:
                assert last.error.error_type == NODE_EXECUTION and "SIGKILL" in last.error.message
            results = [each.result for each in stream.came if each.HasField("result")]
            assert [each.total_items_processed for each in results] == list(range(1, len(results) + 1))

    px.run(main())


def test_a_service_stops_though_a_client_does_not_read(px: Any, sv: Any) -> None:
    """One whose last word waits, and one whose results do."""

    async def main() -> None:
        async with sv.serving() as client:
            cancelled = await client.ready(sv.chain("t-flood"))
            await cancelled.chunk("n0", str(BIG), 1)
            await sv.stalled(client.service)
            await cancelled.command(Control.COMMAND_CANCEL)
            await sv.until(lambda: not client.pids())
            working = await client.ready(sv.chain("t-flood"))
            await working.chunk("n0", str(BIG), 1)
            await sv.stalled(client.service)
            await client.service.stop(drain_secs=0)
            assert client.pids() == []
            for stream in (cancelled, working):
                with pytest.raises(grpc.aio.AioRpcError) as raised:
                    await stream.finish()
                assert raised.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)

    px.run(main())
