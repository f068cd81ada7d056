"""The quick start's Python, and what grpcurl does: a manifest file as it is, by reflection, without any stubs."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("leak_check")

MANIFEST = {
    "version": "v1",
    "metadata": {
        "name": "speech-to-speech-pipeline",
        "multiprocess": {
            "max_processes_per_session": None,
            "channel_capacity": 100,
            "init_timeout_secs": 30,
            "python_executable": "python",
            "enable_backpressure": True,
        },
    },
    "nodes": [
        {"id": "input_chunker", "node_type": "t-tell", "params": {"chunk_size": 1024}},
        {"id": "whisper_asr", "node_type": "t-echo", "params": {"model": "base", "language": "en"}},
        {"id": "vibe_tts", "node_type": "t-echo", "params": {"voice": "sarah", "deep": {"list": [1, None, 0.5]}}},
    ],
    "connections": [
        {"from": "input_chunker", "to": "whisper_asr"},
        {"from": "whisper_asr", "to": "vibe_tts"},
    ],
}

PYTHON = """
import grpc
from remotemedia_v1_pb2 import ExecuteRequest, PipelineManifest
from remotemedia_v1_pb2_grpc import PipelineExecutionServiceStub
import json

# Load manifest
with open('manifest.json') as f:
    manifest_data = json.load(f)

# Convert to protobuf
manifest = PipelineManifest(
    version=manifest_data['version'],
    metadata={'name': manifest_data['metadata']['name']},
    nodes=manifest_data['nodes'],  # Convert nodes
    connections=manifest_data['connections']  # Convert connections
)

# Create channel
channel = grpc.insecure_channel('localhost:50051')
client = PipelineExecutionServiceStub(channel)

# Execute pipeline
request = ExecuteRequest(manifest=manifest)
response = client.ExecutePipeline(request)

print(f"Execution status: {response.status}")
"""

PYTHON_IN_ONE = """
import grpc
from remotemedia_v1_pb2 import ExecuteRequest, PipelineManifest
from remotemedia_v1_pb2_grpc import PipelineExecutionServiceStub
from google.protobuf import json_format

client = PipelineExecutionServiceStub(grpc.insecure_channel('localhost:50051'))
data = json.load(open('manifest.json'))
told = []
for request in (
    ExecuteRequest(manifest=PipelineManifest(**data)),
    ExecuteRequest(**data),
    json_format.ParseDict(data, ExecuteRequest()),
    json_format.ParseDict({'manifest': data}, ExecuteRequest()),
):
    told.append(client.ExecutePipeline(request).result.data_outputs['vibe_tts'].text.text_data.decode())
print(json.dumps(told))
"""

BY_REFLECTION = """
import grpc
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

channel = grpc.insecure_channel('localhost:50051')
database = ProtoReflectionDescriptorDatabase(channel)
pool = DescriptorPool(database)
method = pool.FindServiceByName('remotemedia.v1.PipelineExecutionService').FindMethodByName('ExecutePipeline')
request = json_format.Parse(open('manifest.json').read(), message_factory.GetMessageClass(method.input_type)())
call = channel.unary_unary(
    '/remotemedia.v1.PipelineExecutionService/ExecutePipeline',
    request_serializer=lambda message: message.SerializeToString(),
    response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
)
response = json_format.MessageToDict(call(request), preserving_proto_field_name=True)
assert 'remotemedia_v1_pb2' not in sys.modules
print(json.dumps([sorted(database.get_services()), response]))
"""

SLOW = """
import grpc
from remotemedia_v1_pb2 import ErrorResponse, ExecuteRequest, PipelineManifest
from remotemedia_v1_pb2_grpc import PipelineExecutionServiceStub

client = PipelineExecutionServiceStub(grpc.insecure_channel('localhost:50051'))
try:
    client.ExecutePipeline(ExecuteRequest(manifest=PipelineManifest(**json.load(open('manifest.json')))))
except grpc.RpcError as err:
    if err.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
        print('Initialization timeout - increase init_timeout_secs')
    (raw,) = (value for key, value in err.trailing_metadata() if key == 'remotemedia-error-bin')
    print(ErrorResponse.FromString(raw).failing_node_id)
"""


@pytest.fixture
def told(px: Any, sv: Any, child_python: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a program prints, line by line, that is run beside manifest.json and finds a service where it looks."""
    sv.in_programs(monkeypatch)
    monkeypatch.chdir(tmp_path)

    def run(program: str, manifest: dict[str, Any] = MANIFEST) -> list[str]:
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))

        async def main() -> list[str]:
            async with sv.serving() as client:
                child = child_python(program.replace("50051", str(client.service.port)))
                out, _ = await asyncio.to_thread(child.process.communicate)
                assert child.wait() == 0, child.stderr()
                return out.splitlines()

        found: list[str] = px.run(main())
        return found

    return run


def test_python_as_printed(told: Any) -> None:
    assert told(PYTHON) == ["Execution status: 1"]


def test_python_as_documented(told: Any) -> None:
    page = (Path(__file__).parents[2] / "docs" / "grpc.md").read_text()
    (manifest,) = map(json.loads, re.findall(r"```json\n(.*?)```", page, re.DOTALL))
    unary, stream = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert sorted(told(unary, manifest)) == ["chunker 400", "chunker.1 400", "chunker.2 200"]
    assert told(stream, manifest) == ["1 chunker 400", "2 chunker 400", "3 chunker 400", "3 chunker 300"]
    wrong = {**manifest, "nodes": [{"id": "chunker", "node_type": "AudioChunkerNod"}]}
    for program in (unary, stream):
        (said,) = told(program, wrong)
        assert "Unknown node type 'AudioChunkerNod' for node 'chunker'; did you mean 'AudioChunkerNode'" in said


def test_python_with_the_whole_manifest(told: Any) -> None:
    """Nothing of it is lost on any way."""
    (line,) = told(PYTHON_IN_ONE)
    assert [json.loads(each) for each in json.loads(line)] == [MANIFEST["nodes"][0]["params"]] * 4


def test_as_grpcurl_does(told: Any) -> None:
    (line,) = told(BY_REFLECTION)
    services, response = json.loads(line)
    assert services == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "remotemedia.v1.PipelineExecutionService",
        "remotemedia.v1.StreamingPipelineService",
    ]
    assert response["status"] == response["result"]["status"] == "EXECUTION_STATUS_SUCCESS"
    assert set(response["result"]["data_outputs"]) == {"vibe_tts", "output"}
    assert [each["node_id"] for each in response["result"]["node_results"]] == [
        node["id"] for node in MANIFEST["nodes"]
    ]


def test_the_example_of_a_slow_start(told: Any) -> None:
    slow = {**MANIFEST, "metadata": {"name": "slow", "multiprocess": {"init_timeout_secs": 4}}}
    slow["nodes"] = [*MANIFEST["nodes"][:2], {"id": "vibe_tts", "node_type": "t-init", "params": {"how": "wait"}}]
    assert told(SLOW, slow) == ["Initialization timeout - increase init_timeout_secs", "vibe_tts"]
