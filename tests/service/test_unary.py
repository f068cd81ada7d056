"""ExecutePipeline that succeeds: what goes in, what comes out, under which keys."""

from __future__ import annotations

import json
from typing import Any

import pytest
import remotemedia_v1_pb2 as pb

pytestmark = pytest.mark.usefixtures("leak_check")


def outputs(sv: Any, result: pb.ExecutionResult) -> dict[str, str]:
    return {key: sv.said(buffer) for key, buffer in result.data_outputs.items()}


def test_one_output_is_also_called_output(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            result = await client.result(sv.chain("t-tag", "t-tag"), {"n0": "hi"})
            assert outputs(sv, result) == {"n1": "hi>n0.input>n1.input", "output": "hi>n0.input>n1.input"}
            assert result.status == pb.EXECUTION_STATUS_SUCCESS
            assert [(each.node_id, each.status) for each in result.node_results] == [
                ("n0", pb.NODE_STATUS_SUCCESS),
                ("n1", pb.NODE_STATUS_SUCCESS),
            ]
            assert result.data_outputs["n1"].text.encoding == "utf-8"
            metrics = result.metrics
            assert {name: each.items_processed for name, each in metrics.node_metrics.items()} == {"n0": 1, "n1": 1}
            for each in metrics.node_metrics.values():
                assert each.first_outputs == 1
                assert 0 < each.first_output_p50_secs <= each.first_output_p95_secs <= each.first_output_p99_secs
            assert metrics.memory_used_bytes > 1_000_000
            assert metrics.data_type_breakdown == {"text": 1}
            assert metrics.proto_to_runtime_ms + metrics.runtime_to_proto_ms == pytest.approx(
                metrics.serialization_time_ms
            )

    px.run(main())


def test_several_outputs_are_numbered(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            result = await client.result(sv.chain(("t-repeat", {"times": 2})), {"n0": "x"})
            # Those of finish() are outputs as any other.
            assert outputs(sv, result) == {"n0": "x.0", "n0.1": "x.1", "n0.2": "one more", "n0.3": "the last"}
            assert result.data_outputs["n0.3"].port == "output"

    px.run(main())


def test_a_node_whose_id_looks_like_a_number_of_another(px: Any, sv: Any) -> None:
    """No output is lost to it."""

    async def main() -> None:
        async with sv.serving() as client:
            manifest = sv.graph([sv.node("a", "t-repeat", {"times": 1}), sv.node("a.1", "t-work", {"secs": 0.5})])
            result = await client.result(manifest, {"a": "x", "a.1": "y"})
            assert outputs(sv, result) == {"a": "x.0", "a.1": "y", "a.2": "one more", "a.3": "the last"}

    px.run(main())


def test_no_alias(px: Any, sv: Any) -> None:
    """None beside a node that is called so, none for two outputs, none for one of more than 1 MiB."""

    async def main() -> None:
        async with sv.serving() as client:
            result = await client.result(sv.graph([sv.node("output")]), {"output": "x"})
            assert outputs(sv, result) == {"output": "x"}
            inside = sv.graph([sv.node("output"), sv.node("a")], "output>a")
            assert outputs(sv, await client.result(inside, {"output": "x"})) == {"a": "x"}
            two = sv.graph([sv.node("a"), sv.node("b", "t-tag"), sv.node("c", "t-tag")], "a>b", "a>c")
            assert outputs(sv, await client.result(two, {"a": "x"})) == {"b": "x>b.input", "c": "x>c.input"}
            for size, keys in ((1 << 20, {"n0", "output"}), ((1 << 20) + 1, {"n0"})):
                result = await client.result(sv.chain("t-echo"), {"n0": sv.binary(b"x" * size)})
                assert set(result.data_outputs) == keys
                assert {each.binary.data for each in result.data_outputs.values()} == {b"x" * size}

    px.run(main())


def test_each_input_goes_to_its_node(px: Any, sv: Any) -> None:
    async def main() -> None:
        manifest = sv.graph([sv.node("a", "t-tag"), sv.node("b", "t-tag"), sv.node("c", "t-tag")], "a>c", "b>c")
        async with sv.serving() as client:
            result = await client.result(manifest, {"a": "1", "b": "2"})
            assert set(outputs(sv, result).values()) == {"1>a.input>c.input", "2>b.input>c.input"}
            assert result.metrics.data_type_breakdown == {"text": 2}
            # One alone will do: the other input just ends.
            result = await client.result(manifest, {"b": "2"})
            assert outputs(sv, result)["c"] == "2>b.input>c.input"

    px.run(main())


def test_without_inputs_it_runs_all_the_same(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            result = await client.result(sv.chain("t-echo", "t-echo"))
            assert not result.data_outputs and len(result.node_results) == 2
            assert outputs(sv, await client.result(sv.chain(("t-tag", {"says_end": True})))) == {
                "n0": "end>n0",
                "output": "end>n0",
            }

    px.run(main())


def test_both_forms_of_manifest(px: Any, sv: Any) -> None:
    async def main() -> None:
        manifest = sv.chain("t-tag", ("t-tag", {}))
        at_top = pb.ExecuteRequest(
            version="v1",
            metadata=manifest.metadata,
            nodes=manifest.nodes,
            connections=manifest.connections,
            data_inputs={"n0": sv.text("x")},
        )
        async with sv.serving() as client:
            inside = await client.result(manifest, {"n0": "x"})
            response = await client.execution.ExecutePipeline(at_top)
            assert outputs(sv, response.result) == outputs(sv, inside)

    px.run(main())


def test_inputs_and_outputs_in_the_middle(px: Any, sv: Any) -> None:
    async def main() -> None:
        manifest = sv.chain("t-tag", "t-tag", "t-tag")
        manifest.inputs.append("n1")
        manifest.outputs.append("n1")
        async with sv.serving() as client:
            result = await client.result(manifest, {"n1": "x"})
            assert outputs(sv, result) == {"n1": "x>n1.input", "n2": "x>n1.input>n2.input"}

    px.run(main())


def test_large_outputs_are_whole(px: Any, sv: Any) -> None:
    """More than a quarter of the shared memory of a session, in more parts than it has room for at one time."""

    async def main() -> None:
        parts = {f"n{number}": bytes([number]) * 1_000_000 for number in range(12)}
        manifest = sv.graph([sv.node(name) for name in parts], shm_segment_size=4_000_000, max_processes_per_session=12)
        async with sv.serving() as client:
            result = await client.result(manifest, {name: sv.binary(part) for name, part in parts.items()})
            assert {name: each.binary.data for name, each in result.data_outputs.items()} == parts

    px.run(main())


def test_any_version_of_client_and_any_metadata(px: Any, sv: Any) -> None:
    async def main() -> None:
        request = pb.ExecuteRequest(manifest=sv.chain("t-echo"), client_version="session1")
        metadata = (("x-preview-features", "all"), ("x-client", "test"), ("authorization", "Bearer of-no-meaning"))
        async with sv.serving() as client:
            response = await client.execution.ExecutePipeline(request, metadata=metadata)
            assert response.WhichOneof("outcome") == "result"

    px.run(main())


def test_settings_of_the_manifest_go_before_those_of_the_service(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving(settings={"max_processes_per_session": 1}) as client:
            error = await client.error(sv.chain("t-echo", "t-echo"))
            assert error.error_type == pb.ERROR_TYPE_RESOURCE_LIMIT
            assert error.message == "the pipeline has 2 nodes; max_processes_per_session is 1"
            for form in ({"max_processes_per_session": 2}, {"max_processes_per_session": None}):
                await client.result(sv.chain("t-echo", "t-echo", **form))
            manifest = sv.chain("t-echo", "t-echo")
            manifest.metadata.multiprocess_map.update({key: json.dumps(value) for key, value in form.items()})
            await client.result(manifest)

    px.run(main())
