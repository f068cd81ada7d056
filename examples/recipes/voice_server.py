"""A voice server: audio in and audio out over a WebSocket. The caller may talk over the answer.

    uvicorn --app-dir examples/recipes voice_server:app

The client sends binary messages, 16 kHz mono int16, and a text message where the caller has finished. It gets binary
messages of the same form, and {"done": 1, "failures": []} at the end of the answer to the first turn. When the caller
talks over an answer, that comes at once: the client then drops what it has not played.
"""

import asyncio
import itertools

import numpy as np
import stand_ins  # noqa: F401 - registers its nodes
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from remotemedia import Pipeline, RuntimeData, Session
from remotemedia.core.multiprocessing import Turn

RATE = 16_000
PIPELINE = (
    Pipeline("voice")
    .add_node("StandInRecogniser", "asr")
    .add_node("StandInLanguageModel", "llm")
    .add_node("StandInVoice", "tts")
    .connect("asr", "text", "llm", "text")
    .connect("llm", "text", "tts", "text")
)

app = FastAPI()
numbers = itertools.count(1)


@app.websocket("/call")
async def call(socket: WebSocket) -> None:
    await socket.accept()
    async with Session(f"call {next(numbers)}", PIPELINE) as session:
        try:
            await Call(socket, session).talk()
        except* WebSocketDisconnect:
            pass  # the caller has hung up
        finally:
            await session.cleanup(abort=True)  # nobody waits for the rest of an answer


class Call:
    def __init__(self, socket: WebSocket, session: Session) -> None:
        self.socket = socket
        self.session = session
        self.answered: Turn | None = None  # the turn whose answer is being spoken

    async def talk(self) -> None:
        turn = None
        async with asyncio.TaskGroup() as answers:  # an error in here ends them all
            while True:
                message = await self.socket.receive()
                if message["type"] == "websocket.disconnect":
                    raise WebSocketDisconnect
                if sound := message.get("bytes"):
                    if self.answered is not None:  # the caller talks over the answer
                        await self.session.interrupt(from_node="llm")
                    turn = turn or self.session.turn("asr")
                    await turn.send(RuntimeData.audio(np.frombuffer(sound, "<i2"), RATE))
                elif turn is not None:  # the caller has finished
                    await turn.end()
                    answers.create_task(self.answer(turn))
                    turn = None

    async def answer(self, turn: Turn) -> None:
        async for _, sound in turn.outputs(on_failure="report"):
            self.answered = turn
            await self.socket.send_bytes(sound.as_int16().tobytes())
        if self.answered is turn:
            self.answered = None
        failures = [error.reason for error in turn.failures]
        await self.socket.send_json({"done": turn.origin.number, "failures": failures})
