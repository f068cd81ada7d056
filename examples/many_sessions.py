"""Many calls at once: a session each under one executor, which tells of all their processes.

One of them crashes half-way. The others never notice.

    python examples/many_sessions.py
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import (
    EventStream,
    MultiprocessConfig,
    MultiprocessExecutor,
    MultiprocessNode,
    Pipeline,
    ProcessCrashError,
    ProcessExited,
    Session,
    register_node,
)


@register_node("shout")
class Shout(MultiprocessNode):
    async def initialize(self) -> None:
        """Nothing to load."""

    async def process(self, data: RuntimeData) -> RuntimeData:
        if data.payload == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        return RuntimeData.text(str(data.payload).upper())

    async def cleanup(self) -> None:
        """Nothing to release."""


async def call(session: Session, words: list[str]) -> str:
    heard = []
    try:
        for word in words:
            await session.send("shout", RuntimeData.text(word))
            answer = await session.receive("shout")
            heard.append(str(answer.payload) if answer is not None else "")
    except ProcessCrashError as error:
        heard.append(f"(node {error.node_id} of {error.session_id} crashed with code {error.exit_code})")
    return f"{session.session_id}: {' '.join(heard)}"


async def tell(events: EventStream) -> int:
    return sum([isinstance(event, ProcessExited) async for event in events])


async def main() -> None:
    async with MultiprocessExecutor(MultiprocessConfig(max_processes_per_session=2)) as executor:
        telling = asyncio.create_task(tell(executor.events()))
        words = {"ann": ["hello", "there"], "bob": ["hi", "crash", "lost"], "cho": ["good", "morning"]}
        pipeline = Pipeline().add_node("shout", "shout")
        sessions = [await executor.create_session(name, pipeline) for name in words]
        for line in await asyncio.gather(*map(call, sessions, words.values())):
            print(line)
    print(f"{await telling} processes have come and gone")


logging.getLogger("remotemedia").setLevel(logging.CRITICAL)  # the crash is printed above, not logged
asyncio.run(main())
