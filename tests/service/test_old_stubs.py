"""A client with stubs of the older servers' age: it knows nothing that is ours, nor what was added since."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("leak_check")

TABLE = Path(__file__).with_name("wire.txt").read_text().splitlines()
LATER = (
    *("DataBuffer.control", "DataBuffer.numpy", "DataBuffer.file", "NumpyBuffer.", "FileBuffer.", "ControlMessage."),
    *("CancelSpeculation.", "BatchHint.", "DeadlineWarning.", "AudioBuffer.metadata_json", "TextBuffer.channel"),
    *("VideoFrame.codec", "VideoFrame.is_keyframe", "VideoCodec.", "StreamMetrics.cache"),
    *(f"PixelFormat.PIXEL_FORMAT_{name}" for name in ("I420", "NV12", "ENCODED")),
    "DataTypeHint.DATA_TYPE_HINT_FILE",
)
SERVICES = """
service PipelineExecutionService {
  rpc ExecutePipeline(ExecuteRequest) returns (ExecuteResponse);
  rpc GetVersion(VersionRequest) returns (VersionResponse);
}
service StreamingPipelineService { rpc StreamPipeline(stream StreamRequest) returns (stream StreamResponse); }
"""


def old_proto() -> str:
    """The .proto that such stubs were made of, from the table of the wire."""
    fields: dict[str, list[str]] = defaultdict(list)
    oneofs: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    enums: dict[str, list[str]] = defaultdict(list)
    for line in TABLE:
        name, number, *rest = line.split()
        if not name.startswith(LATER):
            owner, _, last = name.rpartition(".")
            if not rest:
                enums[owner].append(f"{last} = {number};")
            elif rest[1] == "oneof":
                oneofs[owner][rest[2]].append(f"{rest[0]} {last} = {number};")
            else:
                label = f"{rest[1]} " if rest[1] in ("repeated", "optional") else ""
                fields[owner].append(f"{label}{rest[0]} {last} = {number};")
    parts = ['syntax = "proto3";', "package remotemedia.v1;", SERVICES]
    for owner in {**fields, **oneofs}:
        members = fields[owner] + [f"oneof {name} {{ {' '.join(of)} }}" for name, of in oneofs[owner].items()]
        inner = {name: of for name, of in enums.items() if name.startswith(f"{owner}.")}
        members += [f"enum {name.rpartition('.')[2]} {{ {' '.join(of)} }}" for name, of in inner.items()]
        parts.append(f"message {owner} {{ {' '.join(members)} }}")
    parts += [f"enum {name} {{ {' '.join(of)} }}" for name, of in enums.items() if "." not in name]
    return "\n".join(parts)


@pytest.fixture
def old_stubs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``old_pb2`` and ``old_pb2_grpc`` for programs that a test starts: their messages have the names of ours, and a
    process can have one of them."""
    pytest.importorskip("grpc_tools")
    (tmp_path / "old.proto").write_text(old_proto())
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{tmp_path}"]
    subprocess.run([*protoc, f"--python_out={tmp_path}", f"--grpc_python_out={tmp_path}", "old.proto"], check=True)
    monkeypatch.setenv("PYTHONPATH", os.fspath(tmp_path))


CLIENT = """
import grpc
import old_pb2 as old, old_pb2_grpc as old_grpc

def node(name, node_type, params=""):
    return old.NodeManifest(id=name, node_type=node_type, params=params, is_streaming=True)

manifest = old.PipelineManifest(
    version="v1",
    metadata=old.ManifestMetadata(name="old", description="as ever", created_at="2025-10-29T00:00:00Z"),
    nodes=[node("a", "t-config"), node("b", "t-echo"), node("c", "t-ports", '{"ports": ["one"]}')],
    connections=[old.Connection(**{"from": "b", "to": "c"})],
)
text = lambda words: old.DataBuffer(text=old.TextBuffer(text_data=words.encode(), encoding="utf-8"))
assert not {"params_map", "status"} & set(old.NodeManifest.DESCRIPTOR.fields_by_name)
assert "numpy" not in old.DataBuffer.DESCRIPTOR.fields_by_name

channel = grpc.insecure_channel(f"127.0.0.1:{sys.argv[1]}")
execution = old_grpc.PipelineExecutionServiceStub(channel)
version = execution.GetVersion(old.VersionRequest(client_version="test-v1.0"))
say(version.compatible, version.version_info.protocol_version)

response = execution.ExecutePipeline(old.ExecuteRequest(manifest=manifest, data_inputs={"b": text("hi")}))
say(response.WhichOneof("outcome"), response.result.status, response.result.metrics.wall_time_ms > 0)
say({name: buffer.text.text_data.decode() for name, buffer in response.result.data_outputs.items()})
# What is new is there, unread: it goes on with the message.
say(len(response.SerializeToString()) > len(old.ExecuteResponse(result=old.ExecutionResult()).SerializeToString()))

bad = old.PipelineManifest(version="v1", nodes=[node("a", "t-echo", "[object Object]")])
error = execution.ExecutePipeline(old.ExecuteRequest(manifest=bad)).error
say(error.error_type == old.ERROR_TYPE_VALIDATION, error.failing_node_id)

def requests():
    yield old.StreamRequest(init=old.StreamInit(manifest=manifest, client_version="v1"))
    for number in range(1, 26):
        yield old.StreamRequest(data_chunk=old.DataChunk(node_id="b", buffer=text(f"{number}"), sequence=number))
    yield old.StreamRequest(control=old.StreamControl(command=old.StreamControl.COMMAND_CLOSE))

kinds, results = [], []
for response in old_grpc.StreamingPipelineServiceStub(channel).StreamPipeline(requests()):
    kind = response.WhichOneof("response")
    kinds.append(kind)
    if kind == "result":
        ((name, buffer),) = response.result.data_outputs.items()
        results.append([response.result.sequence, name, buffer.text.text_data.decode()])
say(results)
# Progress is a message with nothing in it to who does not know it, and all of it comes first.
say(list(set(kinds[: kinds.index("ready")])), [kind for kind in kinds if kind not in (None, "result")])
"""


def test_old_stubs(px: Any, sv: Any, old_stubs: None, child_python: Any) -> None:
    async def main() -> list[Any]:
        async with sv.serving() as client:
            child = child_python(CLIENT, str(client.service.port))
            said = [await asyncio.to_thread(child.hear) for _ in range(7)]
            assert await asyncio.to_thread(child.wait) == 0
            return said

    version, outcome, outputs, more, refused, results, kinds = px.run(main())
    assert version == [True, "v1"]
    assert outcome == ["result", 1, True]
    assert outputs == [{"c": "hi on one", "output": "hi on one"}]
    assert more == [True]
    assert refused == [True, "a"]
    assert results == [[[number, "c", f"{number} on one"] for number in range(1, 26)]]
    assert kinds == [[None], ["ready", "metrics", "metrics", "closed"]]
