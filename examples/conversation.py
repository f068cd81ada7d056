"""A conversation by voice, on this machine alone: an answer is talked over, and the next question is answered.

    python examples/conversation.py [CONVERSATION.wav]

Needs pip install '.[conversation,models]', typed in the checkout of remotemedia, and pip install --no-deps pipecat-ai.
"""

import asyncio
import sys

import numpy as np

from remotemedia import Pipeline, RuntimeData, Session, save_audio_file

PROMPT = """\
This is a phone call. A caller asks and a friendly assistant answers in three sentences, the first of them short.

User: What is snow?
Assistant: Snow is frozen water. It falls from the clouds when the air is cold enough, covers the fields and the roads \
all winter, and melts in spring. Children like to play in it, and some people like to go skiing in the mountains."""


class Player:
    """Plays what it is given at the pace of a sound card, into a list."""

    def __init__(self) -> None:
        self.parts: list[np.ndarray] = []
        self.sample_rate = 0
        self.secs = 0.0

    async def play(self, data: RuntimeData) -> None:
        self.sample_rate = data.metadata.sample_rate
        self.parts.append(data.as_float32().copy())  # the shared memory is the node's again
        secs = len(self.parts[-1]) / self.sample_rate
        await asyncio.sleep(secs)
        self.secs += secs


async def ask(session: Session, player: Player, question: str, talk_over_secs: float | None = None) -> None:
    print("caller:", question)
    began = player.secs
    async with session.turn("caller") as turn:
        await turn.send(RuntimeData.text(question))
    async for node_id, data in turn.outputs():
        if data.mark:
            continue
        if node_id == "asr" and data.port == "text":
            print("heard:", data.payload)
        elif node_id == "sentences":
            print("assistant:", data.payload)
        elif node_id == "tts":
            await player.play(data)
            await session.played("tts", secs=player.secs)
            if talk_over_secs is not None and player.secs - began >= talk_over_secs:
                interruption = await session.interrupt(from_node="chat")
                heard = interruption.heard["tts"].played
                print(f"the caller talks over it; heard of the answer: {heard.secs:.1f} s")
                # From here on the seconds of what is played count anew.
                player.secs, talk_over_secs = 0.0, None


async def main(path: str) -> None:
    pipeline = (
        Pipeline()
        .add_node("PiperTTSNode", "caller")
        .add_node("TurnNode", "ears")
        .add_node("WhisperNode", "asr", {"model": "tiny.en", "segment": "marks", "beam_size": 1})
        .add_node("LlamaNode", "chat", {"model": "gemma-3-270m", "system_prompt": PROMPT, "cpu_threads": 1})
        .add_node("SentenceNode", "sentences")
        .add_node("PiperTTSNode", "tts")
        .connect("caller", "audio", "ears", "audio")
        .connect("ears", "audio", "asr", "audio")
        .connect("asr", "text", "chat", "text")
        .connect("chat", "text", "sentences", "text")
        .connect("sentences", "text", "tts", "text")
        .add_output("asr")  # words for the next node are also heard here
        .add_output("sentences")
    )
    player = Player()
    async with Session("conversation", pipeline) as session:
        await ask(session, player, "What is electricity?", talk_over_secs=2.0)
        await ask(session, player, "What is the capital of Germany?")
    save_audio_file(path, RuntimeData.audio(np.concatenate(player.parts), player.sample_rate))
    print(f"{path} has what was played")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    asyncio.run(main(*(arguments or ["conversation.wav"])))
