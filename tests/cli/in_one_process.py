"""Run by the tests: the nodes of the demo called one after the other in one process.

python in_one_process.py transcribe FILE    what they hear in it, as JSON
python in_one_process.py ask FILE TEXT...   the texts, spoken with pauses, as 44.1 kHz stereo
"""

import asyncio
import inspect
import json
import sys

import numpy as np
import soundfile
import soxr

from remotemedia.core.data import RuntimeData
from remotemedia.nodes import AudioChunkerNode, EspeakTTSNode, PocketSphinxNode, ResampleNode, SileroVADNode


def drive(node, messages):
    """A node's whole life: all it puts out."""

    async def collect(result):
        if inspect.isasyncgen(result):
            return [output async for output in result]
        output = await result if inspect.isawaitable(result) else result
        return [] if output is None else [output]

    async def live():
        await node.initialize()
        try:
            outputs = []
            for message in messages:
                outputs += await collect(node.on_mark(message) if message.mark else node.process(message))
            return outputs + await collect(node.finish())
        finally:
            await node.cleanup()

    return asyncio.run(live())


def transcribe(path):
    samples, rate = soundfile.read(path, dtype="float32")
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    messages = drive(ResampleNode("resample", {}), [RuntimeData.audio(samples, rate, channels)])
    messages = drive(AudioChunkerNode("chunk", {"chunk_size": 512}), messages)
    messages = drive(SileroVADNode("vad", {}), messages)
    outputs = drive(PocketSphinxNode("asr", {}), messages)
    print(json.dumps([output["text"].payload for output in outputs if "text" in output]))


def ask(path, *texts):
    messages = [RuntimeData.text(text) for text in texts]
    node = EspeakTTSNode("tts", {"voice": "en-us+klatt6", "rate": 170})
    parts = []
    for message in messages:
        parts += [part.payload for part in drive(node, [message])] + [np.zeros(22_050, np.float32)]
    left = soxr.resample(np.concatenate(parts), 22_050, 44_100)
    soundfile.write(path, np.stack([left, 0.5 * left], axis=1), 44_100)


if __name__ == "__main__":
    {"transcribe": transcribe, "ask": ask}[sys.argv[1]](*sys.argv[2:])
