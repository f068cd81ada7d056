"""The quick start's Node.js, word for word, and its variants, against a service."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("leak_check")

SERVICE = Path(__file__).parents[3] / "remotemedia" / "service"
PARAMS = {"chunk_size": 1024, "gain": 0.5, "fast": False, "language": "en", "model": None}
MANIFEST = {
    "version": "v1",
    "metadata": {
        "name": "speech-to-speech-pipeline",
        "multiprocess": {
            "max_processes_per_session": 10,
            "channel_capacity": 100,
            "init_timeout_secs": 30,
            "python_executable": "python",
            "enable_backpressure": True,
        },
    },
    "nodes": [
        {"id": "input_chunker", "node_type": "t-tell", "params": PARAMS},
        {"id": "vibe_tts", "node_type": "t-echo", "params": {"voice": "sarah"}},
    ],
    "connections": [{"from": "input_chunker", "to": "vibe_tts"}],
}

BLOCK = """
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

// Load proto
const packageDefinition = protoLoader.loadSync('remotemedia.proto');
const proto = grpc.loadPackageDefinition(packageDefinition).remotemedia.v1;

// Create client
const client = new proto.PipelineExecutionService(
  'localhost:50051',
  grpc.credentials.createInsecure()
);

// Load manifest from file
const manifest = require('./manifest.json');

// Execute pipeline (no code changes needed!)
client.executePipeline({ manifest }, (err, response) => {
  if (err) {
    console.error('Error:', err);
    return;
  }
  console.log('Pipeline executed:', response);
});
"""

ERROR_HANDLING = (
    BLOCK[: BLOCK.index("// Execute")]
    + """
client.executePipeline({ manifest }, (err, response) => {
  if (err && err.code === grpc.status.DEADLINE_EXCEEDED) {
    console.log('Initialization timeout - increase init_timeout_secs');
  }
});
"""
)

# Of the response as JSON, with bytes as text.
AS_JSON = """JSON.stringify(response, (key, value) =>
    value && value.type === 'Buffer' ? Buffer.from(value).toString() : value)"""

KEEP_CASE = (
    BLOCK.replace("'remotemedia.proto'", "'remotemedia_v1.proto', {keepCase: true, longs: String, enums: String}")
    .replace("{ manifest }", "{ manifest: { ...manifest, nodes: manifest.nodes.map(asText) } }")
    .replace("'Pipeline executed:', response", AS_JSON)
    .replace(
        "// Create",
        "const asText = ({ params, ...node }) => ({ ...node, params_json: JSON.stringify(params) });\n// Create",
    )
)

AT_TOP = BLOCK.replace("{ manifest }", "{ ...manifest }").replace("'Pipeline executed:', response", AS_JSON)

STREAM = (
    BLOCK[: BLOCK.index("// Execute")]
    + """
const call = client.streamPipeline();
const came = [];
call.on('data', (response) => {
  const kind = ['ready', 'result', 'error', 'metrics', 'closed'].find((each) => response[each]) || 'other';
  const of = response.result;
  const text = of && Object.entries(of.data_outputs).map(([node, { text }]) => [node, text.text_data.toString()]);
  came.push([kind, of ? Number(of.sequence) : 0, text]);
});
call.on('end', () => console.log(JSON.stringify(came)));
call.on('error', (err) => console.log(JSON.stringify(String(err))));
call.write({ init: { manifest } });
for (let sequence = 1; sequence <= 25; sequence++) {
  const buffer = { text: { text_data: Buffer.from(`chunk ${sequence}`) } };
  call.write({ data_chunk: { node_id: 'input_chunker', buffer, sequence } });
}
call.write({ control: { command: 'COMMAND_CLOSE' } });
call.end();
"""
)


@pytest.fixture
def ran(px: Any, sv: Any, run_node: Any, tmp_path: Path) -> Any:
    """How a script ended that finds manifest.json, both files of the messages, and a service where it looks."""
    shutil.copy(SERVICE / "for_proto_loader" / "remotemedia.proto", tmp_path)
    shutil.copy(SERVICE / "remotemedia_v1.proto", tmp_path)

    def run(script: str, manifest: dict[str, Any] = MANIFEST) -> Any:
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))

        async def main() -> Any:
            async with sv.serving() as client:
                return await asyncio.to_thread(run_node, script.replace("50051", str(client.service.port)))

        return px.run(main())

    return run


def test_as_printed(ran: Any) -> None:
    done = ran(BLOCK)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("Pipeline executed: {") and done.out.endswith("  status: 1\n}\n")


def test_as_documented(ran: Any) -> None:
    page = (Path(__file__).parents[3] / "docs" / "grpc.md").read_text()
    (manifest,) = map(json.loads, re.findall(r"```json\n(.*?)```", page, re.DOTALL))
    unary, stream = re.findall(r"```javascript\n(.*?)```", page, re.DOTALL)
    done = ran(unary, manifest)
    assert (done.code, done.err) == (0, "")
    assert sorted(done.out.splitlines()) == ["chunker 400", "chunker.1 400", "chunker.2 200"]
    done = ran(unary[: unary.index("client.execute")] + stream, manifest)
    assert (done.code, done.err) == (0, "")
    expected = [(1, 400), (1, 400), (2, 400), (2, 400), (2, 400), (3, 400), (3, 400), (3, 200)]
    assert done.out.splitlines() == [f"{sequence} chunker {samples}" for sequence, samples in expected]


@pytest.mark.parametrize("script", [AT_TOP, KEEP_CASE], ids=["at the top", "keepCase"])
def test_nothing_of_the_manifest_is_lost(ran: Any, script: str) -> None:
    done = ran(script)
    assert (done.code, done.err) == (0, "")
    response = json.loads(done.out)
    assert response["result"]["metrics"]["wall_time_ms"] > 0
    assert json.loads(response["result"]["data_outputs"]["vibe_tts"]["text"]["text_data"]) == PARAMS


def test_the_example_of_error_handling(ran: Any) -> None:
    slow = {**MANIFEST, "metadata": {"name": "slow", "multiprocess": {"init_timeout_secs": 1.5}}}
    slow["nodes"] = [MANIFEST["nodes"][0], {"id": "vibe_tts", "node_type": "t-init", "params": {"how": "wait"}}]
    done = ran(ERROR_HANDLING, slow)
    assert (done.code, done.err) == (0, "")
    assert done.out == "Initialization timeout - increase init_timeout_secs\n"


def test_a_nested_param_is_refused_with_the_reason(ran: Any) -> None:
    nested = {
        **MANIFEST,
        "nodes": [{"id": "a", "node_type": "t-tell", "params": {"deep": {"a": 1}}}],
        "connections": [],
    }
    done = ran(BLOCK, nested)
    assert (done.code, done.err) == (0, "")
    assert "error_type: 1," in done.out and "[object Object]" in done.out and "failing_node_id: 'a'" in done.out


def test_25_chunks_close_and_the_end_at_once(ran: Any) -> None:
    done = ran(STREAM)
    assert (done.code, done.err) == (0, "")
    came = json.loads(done.out)
    results = [each for each in came if each[0] == "result"]
    assert results[:25] == [["result", n, [["vibe_tts", f"chunk {n}"]]] for n in range(1, 26)]
    assert json.loads(results[25][2][0][1]) == PARAMS and len(results) == 26
    kinds = [kind for kind, _, _ in came if kind not in ("result", "other")]
    assert kinds == ["ready", "metrics", "metrics", "closed"]
