"""An endpoint for a language model: a question by POST, the answer word by word as server-sent events.

    uvicorn --app-dir examples/recipes llm_endpoint:app
    curl --no-buffer --data "count to 10" http://127.0.0.1:8000/ask

One session serves all requests, so the model is loaded once. Each request gets its own words.
"""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import stand_ins  # noqa: F401 - registers its nodes
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from remotemedia import NodeProcessError, Pipeline, Session


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with Session("llm endpoint", Pipeline("llm").add_node("StandInLanguageModel", "llm")) as session:
        app.state.session = session
        yield
        await session.cleanup(abort=True)


app = FastAPI(lifespan=lifespan)


@app.post("/ask")
async def ask(request: Request) -> StreamingResponse:
    question = (await request.body()).decode()
    return StreamingResponse(events(request.app.state.session, question), media_type="text/event-stream")


async def events(session: Session, question: str) -> AsyncIterator[str]:
    try:
        async with aclosing(session.ask("llm", question)) as words:
            async for word in words:
                yield event("word", word.as_text())
    except NodeProcessError as error:
        yield event("failed", error.reason)
    else:
        yield event("done", None)


def event(name: str, value: str | None) -> str:
    return f"event: {name}\ndata: {json.dumps(value)}\n\n"
