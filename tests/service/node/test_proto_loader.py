"""What proto-loader makes of our files: a manifest in Node.js is the same manifest here."""

import json
import shutil
from pathlib import Path

import pytest
import remotemedia_v1_pb2 as pb
from google.protobuf import json_format

pytestmark = pytest.mark.usefixtures("leak_check")

SERVICE = Path(__file__).parents[3] / "remotemedia" / "service"
MANIFEST = {
    "version": "v1",
    "metadata": {
        "name": "speech",
        "multiprocess": {"max_processes_per_session": None, "init_timeout_secs": 30.5, "enable_backpressure": True},
    },
    "nodes": [
        {"id": "chunker", "node_type": "AudioChunkerNode", "params": {"chunk_size": 1024, "fast": False}},
        {"id": "tts", "node_type": "VibeVoiceNode", "params": {"voice": "sarah", "model": None}},
    ],
    "connections": [{"from": "chunker", "to": "tts"}],
}

ON_TOP = """
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');
const manifest = require('./manifest.json');
const load = (file, options) => protoLoader.loadSync(file, options);
const service = (definition) => grpc.loadPackageDefinition(definition).remotemedia.v1.PipelineExecutionService.service;
const sent = (definition, request) => service(definition).ExecutePipeline.requestSerialize(request).toString('hex');
"""


@pytest.fixture
def folder(tmp_path):
    shutil.copy(SERVICE / "for_proto_loader" / "remotemedia.proto", tmp_path)
    shutil.copy(SERVICE / "remotemedia_v1.proto", tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps(MANIFEST))
    return tmp_path


@pytest.fixture
def say(folder, run_node):
    """What an expression is in Node.js."""

    def evaluate(expression):
        done = run_node(f"{ON_TOP}\nconsole.log(JSON.stringify({expression}));")
        assert (done.code, done.err) == (0, "")
        return json.loads(done.out)

    return evaluate


def parsed(hexadecimal):
    request = pb.ExecuteRequest.FromString(bytes.fromhex(hexadecimal))
    return json_format.MessageToDict(request, preserving_proto_field_name=True)


AS_TEXT = {
    "version": "v1",
    "metadata": {
        "name": "speech",
        "multiprocess_map": {
            "max_processes_per_session": "null",
            "init_timeout_secs": "30.5",
            "enable_backpressure": "true",
        },
    },
    "nodes": [
        {"id": "chunker", "node_type": "AudioChunkerNode", "params_map": {"chunk_size": "1024", "fast": "false"}},
        {"id": "tts", "node_type": "VibeVoiceNode", "params_map": {"voice": "sarah", "model": "null"}},
    ],
    "connections": [{"from": "chunker", "to": "tts"}],
}


@pytest.mark.parametrize(
    ("request_", "expected"), [("{ manifest }", {"manifest": AS_TEXT}), ("{ ...manifest }", AS_TEXT)]
)
def test_a_manifest_as_it_is_in_its_file(say, request_, expected):
    assert parsed(say(f"sent(load('remotemedia.proto'), {request_})")) == expected


@pytest.mark.parametrize("file", ["'remotemedia.proto'", "'remotemedia_v1.proto', { keepCase: true }"])
def test_params_as_json_text_lose_nothing(say, file):
    node = "{ id: 'a', node_type: 'T', params_json: JSON.stringify({ list: [1, 2], object: { x: 1.0 } }) }"
    assert parsed(say(f"sent(load({file}), {{ nodes: [{node}] }})")) == {
        "nodes": [{"id": "a", "node_type": "T", "params_json": '{"list":[1,2],"object":{"x":1}}'}]
    }


@pytest.mark.parametrize(("file", "name"), [("remotemedia.proto", "params_struct"), ("remotemedia_v1.proto", "params")])
def test_a_struct_is_filled_as_elsewhere(say, file, name):
    node = f"{{ id: 'a', {name}: {{ fields: {{ x: {{ numberValue: 1.5 }} }} }} }}"
    assert parsed(say(f"sent(load('{file}'), {{ nodes: [{node}] }})")) == {"nodes": [{"id": "a", "params": {"x": 1.5}}]}


def test_default_options_with_names_in_camel_case(say):
    node = "{ id: 'a', nodeType: 'T', paramsJson: '{}' }"
    assert parsed(say(f"sent(load('remotemedia_v1.proto'), {{ nodes: [{node}] }})")) == {
        "nodes": [{"id": "a", "node_type": "T", "params_json": "{}"}]
    }


def test_an_answer_is_read(say):
    answer = pb.ExecuteResponse(status=pb.EXECUTION_STATUS_SUCCESS)
    answer.result.data_outputs["tts"].audio.samples = b"\1\2"
    answer.result.metrics.wall_time_ms = 1.5
    received = f"ExecutePipeline.responseDeserialize(Buffer.from('{answer.SerializeToString().hex()}', 'hex'))"
    found = say(f"service(load('remotemedia.proto')).{received}")
    assert found["status"] == pb.EXECUTION_STATUS_SUCCESS
    assert found["result"]["metrics"]["wall_time_ms"] == 1.5
    assert bytes(found["result"]["data_outputs"]["tts"]["audio"]["samples"]["data"]) == b"\1\2"


def test_both_files_are_one_wire(say):
    """But for the two messages with other names in them, which test_generated looks at."""
    calls = (
        "Object.values(made).map((call) => [call.path, call.requestStream, call.responseStream, "
        "call.requestType.type.name, call.responseType.type.name])"
    )
    described = f"Object.fromEntries(Object.entries(load({{}})).map(([name, made]) => [name, made.type || {calls}]))"
    both = ["'remotemedia.proto'", "'remotemedia_v1.proto', { keepCase: true }"]
    made, source = (say(described.format(file)) for file in both)
    swapped = {"remotemedia.v1.NodeManifest", "remotemedia.v1.ManifestMetadata"}
    assert made.keys() == source.keys() > swapped
    assert [name for name in source if made[name] != source[name]] == sorted(swapped, key=list(source).index)
