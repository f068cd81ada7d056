"""ExecutePipeline that is refused: what a client is told of a request that cannot be, before anything is started."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import grpc
import pytest
import remotemedia_v1_pb2 as pb

pytestmark = pytest.mark.usefixtures("leak_check")

# What is wrong, the manifest for it, what the message says, and which node is to blame.
UNUSABLE: dict[str, tuple[Callable[[Any], pb.PipelineManifest], str, str]] = {
    "no nodes": (lambda sv: sv.graph([]), "Manifest validation error: nodes: ", ""),
    "a doubled id": (
        lambda sv: sv.graph([sv.node("a"), sv.node("a")]),
        "Manifest validation error: node id 'a' is used twice; ids must differ",
        "a",
    ),
    "a connection to nowhere": (
        lambda sv: sv.graph([sv.node("a")], "a>b"),
        "Manifest validation error: connections[0].to: connection a.output -> b.input: there is no node 'b'; ",
        "",
    ),
    "a cycle": (
        lambda sv: sv.graph([sv.node("a"), sv.node("b")], "a>b", "b>a"),
        "Manifest validation error: connections[1]: the connections form a cycle: a -> b -> a",
        "",
    ),
    "another version": (
        lambda sv: pb.PipelineManifest(version="v2", nodes=[sv.node("a")]),
        "Manifest validation error: version: ",
        "",
    ),
    "no version": (lambda sv: pb.PipelineManifest(nodes=[sv.node("a")]), "Manifest validation error: version: ", ""),
    "an unknown node type": (
        lambda sv: sv.graph([sv.node("a", "t-ecko")]),
        "Manifest validation error: Unknown node type 't-ecko' for node 'a'",
        "a",
    ),
    "no node type": (
        lambda sv: sv.graph([sv.node("a", "")]),
        "Manifest validation error: ",
        "a",
    ),
    "an id of the service's own": (
        lambda sv: sv.graph([sv.node("_a")]),
        "Manifest validation error: node id '_a' begins with '_'",
        "_a",
    ),
    "a node type that clients may not name": (
        lambda sv: sv.graph([sv.node("a", "AudioFileReaderNode")]),
        "Manifest validation error: node 'a': node type 'AudioFileReaderNode' is not offered by this service",
        "a",
    ),
    "a param that clients may not give": (
        lambda sv: sv.graph([sv.node("a", "AudioOutputNode", params_json='{"path": "a.wav"}')]),
        "Manifest validation error: node 'a': param 'path' may not be given to this service",
        "a",
    ),
    "params that are not JSON": (
        lambda sv: sv.graph([sv.node("a", params_json="{a: 1}")]),
        "Manifest validation error: node 'a': its params are not JSON: ",
        "a",
    ),
    "params that are no object": (
        lambda sv: sv.graph([sv.node("a", params_json="[1]")]),
        "Manifest validation error: node 'a': its params must be a JSON object, not list",
        "a",
    ),
    "params of JavaScript's making": (
        lambda sv: sv.graph([sv.node("a", params_json="[object Object]")]),
        "Manifest validation error: node 'a': its params are not JSON: ",
        "a",
    ),
    "a param of JavaScript's making": (
        lambda sv: sv.graph([sv.node("a", params_map={"b": "[object Object]"})]),
        "Manifest validation error: node 'a': params['b'] is '[object Object]'",
        "a",
    ),
    "NaN in the params": (
        lambda sv: sv.graph([sv.node("a", params_json='{"b": NaN}')]),
        "Manifest validation error: node 'a': its params are not JSON: NaN is not a JSON value",
        "a",
    ),
    "params twice": (
        lambda sv: sv.graph([pb.NodeManifest(id="a", node_type="t-echo", params={"b": 1}, params_json="{}")]),
        "Manifest validation error: node 'a': its params are given in params and in params_json",
        "a",
    ),
    "settings twice": (
        lambda sv: pb.PipelineManifest(
            version="v1",
            nodes=[sv.node("a")],
            metadata={"multiprocess": {"channel_capacity": 4}, "multiprocess_map": {"channel_capacity": "4"}},
        ),
        "Manifest validation error: metadata.multiprocess: the settings are given in multiprocess and in",
        "",
    ),
    "a setting that there is not": (
        lambda sv: sv.chain("t-echo", channel_capasity=4),
        "Manifest validation error: metadata.multiprocess.channel_capasity: ",
        "",
    ),
    "a setting of the wrong kind": (
        lambda sv: sv.chain("t-echo", channel_capacity=0),
        "Manifest validation error: metadata.multiprocess.channel_capacity: ",
        "",
    ),
    "another Python": (
        lambda sv: sv.chain("t-echo", python_executable="/bin/sh"),
        "Manifest validation error: metadata.multiprocess.python_executable: '/bin/sh' is not allowed",
        "",
    ),
    "another environment": (
        lambda sv: sv.chain("t-echo", venv_path="/elsewhere"),
        "Manifest validation error: metadata.multiprocess.venv_path: '/elsewhere' is not allowed",
        "",
    ),
    "code from elsewhere": (
        lambda sv: sv.chain("t-echo", extra_paths=["/elsewhere"]),
        "Manifest validation error: metadata.multiprocess.extra_paths: '/elsewhere' is not allowed",
        "",
    ),
}


@pytest.fixture(scope="module")
def told(px: Any, sv: Any) -> dict[str, pb.ErrorResponse]:
    """What each unusable manifest is answered; nothing is started for any."""

    async def main() -> dict[str, pb.ErrorResponse]:
        async with sv.serving() as client:
            events = client.service.executor.events()
            answers = {name: await client.error(make(sv)) for name, (make, _, _) in UNUSABLE.items()}
            await client.service.stop()
            assert [event async for event in events] == []
            return answers

    return px.run(main())


@pytest.mark.parametrize("name", UNUSABLE)
def test_unusable_manifests(told: dict[str, pb.ErrorResponse], name: str) -> None:
    _, message, node_id = UNUSABLE[name]
    error = told[name]
    assert error.message.startswith(message), error.message
    assert (error.error_type, error.failing_node_id) == (pb.ERROR_TYPE_VALIDATION, node_id)
    assert not error.stack_trace


def test_params_that_a_node_refuses(px: Any, sv: Any) -> None:
    async def main() -> None:
        manifest = sv.graph([sv.node("a", "t-strict", {"factor": "much", "color": 1}), sv.node("b")], "a>b")
        async with sv.serving() as client:
            error = await client.error(manifest)
            assert error.error_type == pb.ERROR_TYPE_VALIDATION and error.failing_node_id == "a"
            assert error.context == "2 validation error(s) in node parameters"
            reports = json.loads(error.message)
            keys = {"node_id", "node_type", "path", "constraint", "expected", "received", "message"}
            assert all(set(report) == keys for report in reports)
            by_path = {report["path"]: report for report in reports}
            assert by_path["factor"]["received"] == "much" and by_path["factor"]["constraint"] == "value"
            assert by_path["color"]["constraint"] == "unknown"
            assert {report["node_id"] for report in reports} == {"a"}

    px.run(main())


# The inputs, what the message says, and which node is to blame.
WRONG_INPUTS: dict[str, tuple[dict[str, pb.DataBuffer], str, str]] = {
    "of no node": (
        {"x": pb.DataBuffer(text=pb.TextBuffer(text_data=b"1"))},
        "data_inputs['x']: node 'x' is not in the pipeline; the input nodes are: 'n0'",
        "x",
    ),
    "of a node that is fed": (
        {"n1": pb.DataBuffer(text=pb.TextBuffer(text_data=b"1"))},
        "data_inputs['n1']: node 'n1' takes no input; the input nodes are: 'n0'",
        "n1",
    ),
    "empty": ({"n0": pb.DataBuffer()}, "data_inputs['n0']: the DataBuffer holds nothing; ", "n0"),
    "control": (
        {"n0": pb.DataBuffer(control=pb.ControlMessage())},
        "data_inputs['n0']: the DataBuffer holds control, which is not data; ",
        "n0",
    ),
    "no text": (
        {"n0": pb.DataBuffer(text=pb.TextBuffer(text_data=b"\xff"))},
        "data_inputs['n0']: TextBuffer.text_data is not text in utf-8: ",
        "n0",
    ),
    "no JSON": (
        {"n0": pb.DataBuffer(json=pb.JsonData(json_payload="{"))},
        "data_inputs['n0']: JsonData.json_payload is not JSON: ",
        "n0",
    ),
}


def test_wrong_inputs(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            for name, (inputs, message, node_id) in WRONG_INPUTS.items():
                error = await client.error(sv.chain("t-echo", "t-echo"), inputs)
                assert error.message.startswith(message), (name, error.message)
                assert (error.error_type, error.failing_node_id) == (pb.ERROR_TYPE_VALIDATION, node_id)

    px.run(main())


def test_what_is_no_request_at_all_ends_with_a_status(px: Any, sv: Any) -> None:
    async def main() -> None:
        raw = "/remotemedia.v1.PipelineExecutionService/ExecutePipeline"
        manifest = sv.chain("t-echo")
        twice = pb.ExecuteRequest(manifest=manifest, nodes=manifest.nodes)
        requests = {
            b"": "Manifest is required",
            pb.ExecuteRequest(client_version="v1").SerializeToString(): "Manifest is required",
            twice.SerializeToString(): "the request has a manifest twice: in `manifest`, and in fields of its own",
            b"\x0a\x7fcut": "5 bytes are not a remotemedia.v1.ExecuteRequest: ",
        }
        async with sv.serving() as client:
            for request, details in requests.items():
                with pytest.raises(grpc.aio.AioRpcError) as raised:
                    await client.channel.unary_unary(raw)(request)
                assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
                assert raised.value.details().startswith(details), raised.value.details()

    px.run(main())
