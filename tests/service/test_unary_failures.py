"""ExecutePipeline that fails on the way: what the client is told, and that nothing is left."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
import remotemedia_v1_pb2 as pb

pytestmark = pytest.mark.usefixtures("leak_check")


async def status(call: Any) -> grpc.aio.AioRpcError:
    """How a call ended that became no run."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value


def test_a_node_raises(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            error = await client.error(sv.chain("t-echo", "t-do"), {"n0": "raise out of ideas"})
            assert (error.error_type, error.failing_node_id) == (pb.ERROR_TYPE_NODE_EXECUTION, "n1")
            assert error.message == "Node 'n1' failed on message 0 of port 'input': ValueError: out of ideas"
            assert error.stack_trace.startswith("Traceback") and "session_nodes.py" in error.stack_trace
            assert "NodeProcessError" in error.context
            assert client.pids() == []

    px.run(main())


def test_what_a_node_raises_is_in_the_log(px: Any, sv: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Once for each call, for the author of the node, who does not see what clients get."""

    async def main() -> None:
        async with sv.serving() as client:
            await client.error(sv.chain("t-do"), {"n0": "raise out of ideas"})
            await client.error(sv.chain(("t-init", {"how": "raise"})))
            stream = await client.ready(sv.chain("t-do"))
            for _ in range(3):
                await stream.chunk("n0", "raise again and again")
            await stream.error()

    px.run(main())
    told = [record for record in caplog.records if record.name == "remotemedia.service"]
    assert [record.levelname for record in told] == ["ERROR"] * 3
    assert len({record.session_id for record in told}) == 3 and {record.node_id for record in told} == {"n0"}
    for record, reason in zip(told, ("out of ideas", "no such weights", "again and again"), strict=True):
        lines = record.getMessage().splitlines()
        assert lines[0].startswith(f"session {record.session_id!r}: Node 'n0' failed ")
        assert lines[1].startswith("Traceback") and lines[-1].endswith(f"Error: {reason}")


def test_finish_raises(px: Any, sv: Any) -> None:
    """After the last output, when all else has gone well."""

    async def main() -> None:
        async with sv.serving() as client:
            error = await client.error(sv.chain("t-fails-at-the-end"), {"n0": "x"})
            assert (error.error_type, error.failing_node_id) == (pb.ERROR_TYPE_NODE_EXECUTION, "n0")
            assert "out of ideas at the end" in error.message and "Traceback" in error.stack_trace

    px.run(main())


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("os._exit(0)", "Process n0 crashed with code 0"),
        ("os._exit(3)", "Process n0 crashed with code 3"),
        ("sys.exit(5)", "Process n0 crashed with code 5"),
        ("SIGKILL", "Process n0 crashed with code 137 (killed by SIGKILL)"),
        ("SIGSEGV", "Process n0 crashed with code 139 (killed by SIGSEGV)"),
    ],
)
def test_a_process_dies(px: Any, sv: Any, how: str, said: str) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            error = await client.error(sv.chain("t-do", "t-echo"), {"n0": f"complain-and-die {how}"})
            assert (error.error_type, error.failing_node_id) == (pb.ERROR_TYPE_NODE_EXECUTION, "n0")
            assert error.message.startswith(said), error.message
            assert "the last words" in error.stack_trace
            assert client.pids() == []

    px.run(main())


def test_loading_fails(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            for how, said in (
                ({"how": "raise"}, "Node 'n0' failed to initialize: RuntimeError: no such weights"),
                ({"how": "die", "with": "os._exit(3)"}, "Process n0 crashed with code 3"),
            ):
                error = await client.error(sv.chain(("t-init", how), "t-echo"), {"n0": "x"})
                assert (error.error_type, error.failing_node_id) == (pb.ERROR_TYPE_NODE_EXECUTION, "n0")
                assert error.message.startswith(said), error.message
                assert "\n\nin the process of" not in error.message and error.stack_trace

    px.run(main())


def test_a_node_is_not_ready_in_time(px: Any, sv: Any) -> None:
    """The one failure of a run that is a status: clients test for DEADLINE_EXCEEDED."""

    async def main() -> None:
        manifest = sv.chain("t-echo", ("t-init", {"how": "wait"}), init_timeout_secs=1.5)
        async with sv.serving() as client:
            ended = await status(client.execute(manifest, {"n0": "x"}))
            assert ended.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert ended.details() == "Node 'n1' failed to initialize within 1.5s"
            error = pb.ErrorResponse.FromString(dict(ended.trailing_metadata())["remotemedia-error-bin"])
            assert (error.error_type, error.failing_node_id) == (pb.ERROR_TYPE_NODE_EXECUTION, "n1")
            assert client.pids() == []

    px.run(main())


def test_limits(px: Any, sv: Any) -> None:
    """Each limit that is reached is a RESOURCE_LIMIT, in band."""
    audio = pb.DataBuffer(audio=pb.AudioBuffer(samples=bytes(400), sample_rate=8000))
    cases: list[tuple[Any, Any, dict[str, int], str]] = [
        (sv.chain(*["t-echo"] * 3, max_processes_per_session=2), "x", {}, "the pipeline has 3 nodes; max_processes_"),
        (sv.chain("t-do"), "wait", {"max_timeout_ms": 1500}, "not done within the 1.5 s that the request's max_timeo"),
        (sv.chain(("t-init", {"how": "wait"})), "x", {"max_timeout_ms": 500}, "not done within the 0.5 s that the req"),
        (sv.chain("t-echo"), audio, {"max_audio_samples": 99}, "data_inputs['n0'] has 100 samples; max_audio_samples"),
    ]

    async def main() -> None:
        async with sv.serving() as client:
            for manifest, data, limits, said in cases:
                error = await client.error(manifest, {"n0": data}, resource_limits=pb.ResourceLimits(**limits))
                assert error.error_type == pb.ERROR_TYPE_RESOURCE_LIMIT, error
                assert error.message.startswith(said), error.message
                assert client.pids() == []
            # What is not reached changes nothing.
            limits = {"max_timeout_ms": 2**64 - 1, "max_audio_samples": 100, "max_memory_bytes": 2**64 - 1}
            await client.result(sv.chain("t-echo"), {"n0": audio}, resource_limits=pb.ResourceLimits(**limits))

    px.run(main())


def test_a_client_lowers_the_memory_of_its_nodes(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            limits = pb.ResourceLimits(max_memory_bytes=200_000_000)
            error = await client.error(sv.chain("t-do"), {"n0": "choke 400"}, resource_limits=limits)
            assert (error.error_type, error.failing_node_id) == (pb.ERROR_TYPE_NODE_EXECUTION, "n0"), error
        async with sv.serving(max_node_memory_bytes=200_000_000) as client:
            limits = pb.ResourceLimits(max_memory_bytes=4_000_000_000)
            error = await client.error(sv.chain("t-do"), {"n0": "choke 400"}, resource_limits=limits)
            assert (error.error_type, error.failing_node_id) == (pb.ERROR_TYPE_NODE_EXECUTION, "n0"), error

    px.run(main())


def test_the_service_has_a_limit_of_its_own(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving(max_execution_secs=0.5) as client:
            error = await client.error(sv.chain("t-do"), {"n0": "wait"})
            assert error.message == "not done within the 0.5 s that this service allows"

    px.run(main())


def test_outputs_that_are_more_than_a_message_may_have(px: Any, sv: Any) -> None:
    async def main() -> None:
        parts = {f"n{number}": sv.binary(bytes(6_000_000)) for number in range(2)}
        manifest = sv.graph([sv.node("n0", "t-twice"), sv.node("n1", "t-twice")])
        async with sv.serving() as client:
            error = await client.error(manifest, parts)
            assert error.error_type == pb.ERROR_TYPE_RESOURCE_LIMIT
            assert error.message.startswith("the outputs are more than the 16842752 bytes that a message may have")

    px.run(main())


@pytest.mark.parametrize("when", ["loading", "working"])
def test_a_client_that_goes_takes_its_processes_along(px: Any, sv: Any, when: str) -> None:
    async def main() -> None:
        manifest = sv.chain(("t-init", {"how": "wait"}) if when == "loading" else "t-do", "t-echo")
        async with sv.serving() as client:
            call = asyncio.ensure_future(client.execute(manifest, {"n0": "wait"}))
            await sv.until(lambda: client.busy("n0") if when == "working" else len(client.pids()) == 2)
            pids = client.pids()
            call.cancel()
            await sv.until(lambda: not client.service.executor.sessions)
            assert pids and not any(sv.lives(pid) for pid in pids)
            await client.result(sv.chain("t-echo"), {"n0": "the next"})

    px.run(main())


def test_a_deadline_of_the_clients_ends_the_run(px: Any, sv: Any) -> None:
    async def main() -> None:
        request = pb.ExecuteRequest(manifest=sv.chain("t-do"), data_inputs={"n0": sv.text("wait")})
        async with sv.serving() as client:
            ended = await status(client.execution.ExecutePipeline(request, timeout=1.5))
            assert ended.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            # This one is gRPC's own: no node is to blame.
            assert "remotemedia-error-bin" not in dict(ended.trailing_metadata())
            await sv.until(lambda: not client.service.executor.sessions)

    px.run(main())


def test_a_service_that_stops(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            call = asyncio.ensure_future(client.execute(sv.chain("t-do"), {"n0": "wait"}))
            await sv.until(client.pids)
            await client.service.stop(drain_secs=0)
            ended = await status(call)
            assert (ended.code(), ended.details()) == (grpc.StatusCode.UNAVAILABLE, "the service is stopping")
            assert client.pids() == []

    px.run(main())


def test_a_service_that_stops_lets_calls_end(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            call = asyncio.ensure_future(client.result(sv.chain("t-tag"), {"n0": "x"}))
            await sv.until(client.pids)
            stopping = asyncio.ensure_future(client.service.stop(drain_secs=px.PATIENCE_SECS))
            await asyncio.sleep(0)
            ended = await status(client.execute(sv.chain("t-tag")))
            assert ended.code() is grpc.StatusCode.UNAVAILABLE
            assert sv.said((await call).data_outputs["n0"]) == "x>n0.input"
            await stopping

    px.run(main())
