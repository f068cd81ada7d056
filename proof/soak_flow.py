"""Numbered messages into every input of a session, and out of every output once for every way there."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable

from proof.soak_content import Content
from proof.soak_nodes import Held
from remotemedia.core.multiprocessing import NodeProcessError, Pipeline, Session

Ways = dict[str, int]


def ways_through(pipeline: Pipeline) -> Ways:
    """How often a message that is sent to every input comes out of each output; nodes are added before what they feed.

    A node whose config has ``times`` gives every message so often.
    """
    ways = dict.fromkeys(pipeline.input_nodes, 1)
    for node in pipeline.nodes:
        feeds = sum(ways[edge.from_node] for edge in pipeline.connections if edge.to_node == node.node_id)
        ways[node.node_id] = (ways.get(node.node_id, 0) + feeds) * node.config.get("times", 1)
    return {node_id: ways[node_id] for node_id in pipeline.output_nodes}


class Flow:
    """The messages of ``content`` on their way through ``session``; each is compared with what was sent.

    ``pauses``: how likely a sender or a receiver makes a pause after a message. ``on_sent`` is called after each.
    """

    def __init__(
        self,
        session: Session,
        content: Content,
        chance: random.Random,
        pauses: float = 0.01,
        on_sent: Callable[[], None] = lambda: None,
    ) -> None:
        self.session = session
        self._content = content
        self._chance = chance
        self._pauses = pauses
        self._on_sent = on_sent
        self._ways = ways_through(session.pipeline)
        self._turns = [0]  # the first message of each
        self._seen: dict[str, Counter[int]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._failures: list[NodeProcessError] = []
        session.on_error(self._fail)

    async def run(self, numbers: range, *, end: bool = True) -> None:
        """Sends and receives until the streams have ended, or until the last of ``numbers`` is out.

        AssertionError for a message that is not what was sent, wherever it was seen, or came after its turn was over.
        """
        self._seen.update((node_id, Counter()) for node_id in self._ways)
        inputs, last = self.session.pipeline.input_nodes, None if end else numbers[-1]
        async with asyncio.TaskGroup() as group:
            self._tasks = [group.create_task(self._send(node_id, numbers, end)) for node_id in inputs]
            self._tasks += [group.create_task(self._receive(node_id, last)) for node_id in self._ways]
        for failure in self._failures:
            raise AssertionError(f"{failure}\n{failure.remote_traceback}")

    def lost(self, numbers: range) -> list[str]:
        """Messages that came out too rarely or too often: a line each."""
        wrong = []
        for node_id, ways in self._ways.items():
            due = ways
            for number in numbers:
                if number in self._turns:
                    due = ways
                seen = self._seen[node_id][number]
                if seen < due and number < self._turns[-1]:
                    due = seen  # interrupted: on each way where it was dropped, nothing more of its turn comes
                elif seen != due:
                    wrong.append(f"message {number} came out of {node_id} {seen} times, not {due}")
        return wrong

    def forget(self) -> None:
        """The tally so far; the next run begins anew."""
        self._seen.clear()
        del self._turns[:-1]

    async def interrupt(self, number: int) -> None:
        """Drops all that is under way; ``number`` is the first message of the new turn."""
        await self.session.interrupt()
        self._turns.append(number)

    async def after(self, number: int, chance: random.Random) -> None:
        """Called when a message was sent; what happens besides."""

    def _fail(self, failure: NodeProcessError) -> None:
        self._failures.append(failure)
        for task in self._tasks:
            task.cancel()

    async def _send(self, node_id: str, numbers: range, end: bool) -> None:
        # Of its own: what is sent, and what happens meanwhile, must not depend on scheduling.
        chance = random.Random(f"{self._content.seed}/{node_id}/{numbers.start}")
        for number in numbers:
            await self.session.send(node_id, self._content.message(number))
            self._on_sent()
            await self.after(number, chance)
            await self._pause(chance)
        if end:
            await self.session.end_input(node_id)

    async def _receive(self, node_id: str, last: int | None) -> None:
        where = f"at the output of {node_id}"
        held, seen, ways = Held(self._content, self._chance, where), self._seen[node_id], self._ways[node_id]
        while (last is None or seen[last] < ways) and (data := await self.session.receive(node_id)) is not None:
            number = self._content.check(data, where)
            if number < self._turns[-1]:
                raise AssertionError(f"message {number} came out of {node_id} after its turn was interrupted")
            seen[number] += 1
            held.keep_for_a_while(data)
            await self._pause(self._chance)
        del data
        held.let_all_go()

    async def _pause(self, chance: random.Random) -> None:
        if chance.random() < self._pauses:
            await asyncio.sleep(chance.random() * 0.02)
