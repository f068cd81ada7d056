"""Many callers: one executor, a session for each caller, and limits. A caller who hangs up leaves nothing behind.

    MOST_CALLERS=100 uvicorn --app-dir examples/recipes many_callers:app

Each text message on the WebSocket is a question. Its answer comes as [1, "word"], ..., [1, null] for the first one.
Questions may be asked while others are being answered.
"""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import stand_ins  # noqa: F401 - registers its nodes
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from remotemedia import MultiprocessConfig, MultiprocessExecutor, Pipeline, Session

MOST_CALLERS = int(os.environ.get("MOST_CALLERS", "10"))
TRY_AGAIN_LATER = 1013
PIPELINE = Pipeline("caller").add_node("StandInLanguageModel", "llm")
LIMITS = MultiprocessConfig(
    max_processes_per_session=4,
    node_memory_limit_bytes=1024**3,
    init_timeout_secs=60,
)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with MultiprocessExecutor(LIMITS) as app.state.executor:
        yield


app = FastAPI(lifespan=lifespan)
numbers = itertools.count(1)


@app.websocket("/call")
async def call(socket: WebSocket) -> None:
    await socket.accept()
    executor: MultiprocessExecutor = socket.app.state.executor
    if len(executor.sessions) >= MOST_CALLERS:
        await socket.close(TRY_AGAIN_LATER, "all lines are busy")
        return
    session = await executor.create_session(f"caller {next(numbers)}", PIPELINE)
    try:
        await talk(socket, session)
    except* WebSocketDisconnect:
        pass  # the caller has hung up
    finally:
        await executor.terminate_session(session.session_id, abort=True)


async def talk(socket: WebSocket, session: Session) -> None:
    async with asyncio.TaskGroup() as answers:
        for number in itertools.count(1):
            question = await socket.receive_text()  # hanging up is an error here, and ends the answers
            answers.create_task(answer(socket, session, number, question))


async def answer(socket: WebSocket, session: Session, number: int, question: str) -> None:
    async for word in session.ask("llm", question, on_failure="report"):
        await socket.send_json([number, word.as_text()])
    await socket.send_json([number, None])
