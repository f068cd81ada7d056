"""Speech from Node.js: a question goes in as a stream of audio, the answer comes out as one."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("leak_check")

SERVICE = Path(__file__).parents[3] / "remotemedia" / "service"

SCRIPT = """
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');
const { remotemedia } = grpc.loadPackageDefinition(protoLoader.loadSync('remotemedia.proto', { longs: Number }));
const address = ['localhost:50051', grpc.credentials.createInsecure()];
const execution = new remotemedia.v1.PipelineExecutionService(...address);
const streaming = new remotemedia.v1.StreamingPipelineService(...address);

const question = {
  version: 'v1',
  nodes: [{ id: 'tts', node_type: 'EspeakTTSNode', params: { voice: 'en-us+klatt6', rate: 170 } }],
};
const data_inputs = { tts: { text: { text_data: Buffer.from('what time is it') } } };

execution.executePipeline({ manifest: question, data_inputs }, (err, response) => {
  if (err) throw err;
  const outputs = response.result.data_outputs;
  const order = (key) => Number(key.split('.')[1] || 0);
  const parts = Object.keys(outputs).filter((key) => key !== 'output').sort((a, b) => order(a) - order(b));
  const sample_rate = outputs.tts.audio.sample_rate;
  const silence = Buffer.alloc(2 * sample_rate * 4);
  listen(Buffer.concat([...parts.map((key) => outputs[key].audio.samples), silence]), sample_rate);
});

function listen(samples, sample_rate) {
  const call = streaming.streamPipeline();
  const told = { kinds: [], heard: [], spoken: 0, before_close: 0 };
  let closing = false;
  call.on('data', (response) => {
    const [kind] = Object.keys(response);
    if (kind !== 'init_progress' && kind !== 'result' && kind !== 'metrics') told.kinds.push(kind);
    if (response.error) console.log(JSON.stringify(response.error));
    const [entry] = Object.entries(response.result ? response.result.data_outputs : {});
    if (!entry) return;
    const [node, buffer] = entry;
    if (node === 'asr' && buffer.port === 'text') told.heard.push(buffer.text.text_data.toString());
    if (node !== 'tts') return;
    told.spoken += buffer.audio.num_samples;
    if (!closing) {
      closing = true;
      told.before_close = told.spoken;
      call.write({ control: { command: 'COMMAND_CLOSE' } });
      call.end();
    }
  });
  call.on('end', () => console.log(JSON.stringify(told)));
  call.write({ init: { manifest: require('./manifest.json') } });
  for (let at = 0, sequence = 1; at < samples.length; at += 6400, sequence++) {
    const part = samples.subarray(at, at + 6400);
    const audio = { samples: part, sample_rate, channels: 1, format: 'AUDIO_FORMAT_F32', num_samples: part.length / 4 };
    call.write({ data_chunk: { node_id: 'resample', buffer: { audio }, sequence } });
  }
}
"""


def test_a_question_is_answered(px: Any, sv: Any, run_node: Any, tmp_path: Path, speech_manifest: Any) -> None:
    shutil.copy(SERVICE / "for_proto_loader" / "remotemedia.proto", tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps(speech_manifest))

    async def main() -> Any:
        async with sv.serving() as client:
            return await asyncio.to_thread(run_node, SCRIPT.replace("50051", str(client.service.port)))

    done = px.run(main())
    assert (done.code, done.err) == (0, ""), done
    told = json.loads(done.out)
    assert told["kinds"] == ["ready", "closed"] and told["heard"] == ["what time is it"]
    assert 0 < told["before_close"] <= told["spoken"] and told["spoken"] > 22_050 // 2
