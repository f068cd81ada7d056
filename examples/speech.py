"""A spoken question is heard, answered and spoken: seven nodes, seven processes.

    python examples/speech.py [QUESTION [ANSWER.wav]]

Needs the libraries of pip install '.[speech]', typed in the checkout of remotemedia.
"""

import asyncio
import sys

from remotemedia import InitProgress, Pipeline, RuntimeData, Session


def on_progress(progress: InitProgress) -> None:
    print(f"{progress.node_id}: {progress.status} ({progress.progress:.0%})")


async def main(question: str, path: str) -> None:
    pipeline = (
        Pipeline()
        .add_node("EspeakTTSNode", "asker", {"voice": "en-us+klatt6", "rate": 170})
        .add_node("ResampleNode", "resample", {"sample_rate": 16_000})
        .add_node("SileroVADNode", "vad")
        .add_node("PocketSphinxNode", "asr")
        .add_node("ReplyNode", "reply")
        .add_node("EspeakTTSNode", "tts", {"voice": "en-us"})
        .add_node("AudioFileWriterNode", "writer", {"path": path})
        .connect("asker", "audio", "resample", "audio")
        .connect("resample", "audio", "vad", "audio")
        .connect("vad", "audio", "asr", "audio")
        .connect("asr", "text", "reply", "text")
        .connect("reply", "text", "tts", "text")
        .connect("tts", "audio", "writer", "audio")
        .add_output("asr")  # words for the next node are also heard here
        .add_output("reply")
    )
    session = Session("speech", pipeline)
    try:
        await session.initialize(progress_callback=on_progress)
        await session.start()
        await session.send("asker", RuntimeData.text(question))
        await session.end_input()
        async for node_id, data in session.outputs():
            print(f"{node_id} {data.port}: {data.payload}")
    finally:
        await session.cleanup()


if __name__ == "__main__":
    arguments = sys.argv[1:]
    asyncio.run(main(*(arguments + ["hello what time is it", "answer.wav"][len(arguments) :])))
