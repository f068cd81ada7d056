"""What once went wrong with sessions, each by the smallest way to it. Node processes load this file by its path."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import (
    MultiprocessNode,
    NodeProcessError,
    Pipeline,
    PipelineError,
    SessionStatus,
    register_node,
)

pytestmark = pytest.mark.usefixtures("leak_check")

PATIENCE_SECS = 20


class Plain(MultiprocessNode):
    async def initialize(self) -> None:
        pass

    async def process(self, data: RuntimeData) -> Any:
        return data

    async def cleanup(self) -> None:
        pass


@register_node("t-regression-turns")
class Turns(Plain):
    """Says how often on_interrupt() was called before a message came.

    In the middle of a message it awaits; but one that ends in "busy" it only computes, and hears nothing.
    """

    def __init__(self, node_id: str, config: dict[str, Any]) -> None:
        super().__init__(node_id, config)
        self.turn = 0

    async def process(self, data: RuntimeData) -> Any:
        said = f"{self.turn}: {data.payload}"
        yield RuntimeData.text(f"begun {said}")
        if said.endswith("busy"):
            until = time.perf_counter() + 0.001
            while time.perf_counter() < until:
                pass
            yield RuntimeData.text(said)
            return
        for _ in range(5):
            await asyncio.sleep(0.0001)
        yield RuntimeData.text(said)

    async def on_interrupt(self) -> None:
        await asyncio.sleep(0)
        self.turn += 1


@register_node("t-regression-own-task")
class OwnTask(Plain):
    """Cancels a task of its own and awaits it, where its config says."""

    async def initialize(self) -> None:
        self.task = asyncio.create_task(asyncio.sleep(3600))

    async def on_interrupt(self) -> None:
        if self.config["where"] == "on_interrupt":
            self.task.cancel()
            await self.task

    async def cleanup(self) -> None:
        self.task.cancel()
        if self.config["where"] == "cleanup":
            await self.task


@register_node("t-regression-direct")
class Direct(Plain):
    """Publishes on its output channel itself, then returns something too."""

    async def process(self, data: RuntimeData) -> Any:
        await self.output_channels["output"].publish_async(RuntimeData.text(f"direct {data.payload}"))
        return RuntimeData.text(f"returned {data.payload}")


# --- memory ---


def test_send_that_waits_for_memory_wakes_when_kept_outputs_are_dropped(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-echo", shm_segment_size=1 << 20) as session:
            for _ in range(3):
                kept = []
                for value in range(3):
                    await session.send("n0", RuntimeData.tensor(np.full(300_000, value, np.uint8)))
                    data = await session.receive("n0")
                    assert data is not None and (data.payload == value).all()
                    kept.append(data)
                    del data
                sending = asyncio.create_task(session.send("n0", RuntimeData.tensor(np.full(900_000, 9, np.uint8))))
                await px.until(lambda: session._wiring.doorbell._waiters)
                assert not sending.done()
                kept.clear()
                await sending
                data = await session.receive("n0")
                assert data is not None and (data.payload == 9).all()
                del data

    px.run(main(), PATIENCE_SECS)


# --- interruptions ---


def test_messages_sent_while_an_interruption_is_pending_are_of_the_new_turn(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-regression-turns", channel_capacity=50) as session:
            for turn in range(1, 31):
                for number in range(3):
                    await session.send("n0", px.text(f"old {number}"))
                if turn % 2:
                    data = await session.receive("n0")  # a call is under way
                    assert data is not None and data.payload == f"begun {turn - 1}: old 0"
                interrupting = asyncio.create_task(session.interrupt())
                await asyncio.sleep(0)  # the new turn has begun, and no node knows yet
                sending = asyncio.create_task(px.send_all(session, "n0", [f"{turn}.{n}" for n in range(5)], end=False))
                found = []
                while len(found) < 10:
                    data = await session.receive("n0")
                    assert data is not None
                    found.append(data.payload)
                assert found == [f"{begun}{turn}: {turn}.{n}" for n in range(5) for begun in ("begun ", "")]
                await asyncio.gather(interrupting, sending)
            assert session.node_stats()[0].failures == 0

    px.run(main(), PATIENCE_SECS)


def test_a_task_that_keeps_sending_loses_nothing_of_the_new_turn(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-regression-turns", channel_capacity=50) as session:
            turn, last = 0, 15
            sent: list[list[str]] = [[] for _ in range(last + 1)]
            found: list[str] = []

            def queued() -> int:
                return session.get_channel_stats("session_to_n0").current_occupancy

            async def feed() -> None:
                while len(sent[last]) < 10:
                    count, of = len(sent[turn]), turn
                    word = f"{turn}: {turn}.{count}" + " busy" * (count % 20 > 0)
                    sent[turn] += [f"begun {word}", word]
                    await session.send("n0", px.text(word.partition(" ")[2]))
                    # A few ahead of the node; the first of a new turn at once, while the node computes.
                    while turn == of and queued() >= 3:
                        await asyncio.sleep(0)
                await session.end_input("n0")

            async def drain() -> None:
                async for _, data in session.outputs("n0"):
                    found.append(str(data.payload))

            tasks = [asyncio.create_task(feed()), asyncio.create_task(drain())]
            while turn < last:
                count = len(found)
                await px.until(lambda count=count: len(found) > count + 5)
                interrupting = asyncio.create_task(session.interrupt())
                await asyncio.sleep(0)
                turn += 1  # before any other task runs
                await interrupting
            await asyncio.gather(*tasks)
            for number, words in enumerate(sent):
                arrived = [word for word in found if word.removeprefix("begun ").startswith(f"{number}: ")]
                # What a later interruption cut off is the end of a turn, never its beginning.
                assert arrived == (words if number == last else words[: len(arrived)])
                assert arrived

    px.run(main(), PATIENCE_SECS)


def test_the_word_of_an_interruption_comes_after_the_first_message_of_its_turn(
    px: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with px.session("t-regression-turns") as session:
            supervisor = session._supervisor
            real, late = supervisor.broadcast, []
            for turn in range(1, 4):
                monkeypatch.setattr(supervisor, "broadcast", late.append)
                interrupting = asyncio.create_task(session.interrupt())
                await px.until(lambda: late)
                await session.send("n0", px.text(f"new {turn}"))
                data = await session.receive("n0")  # the node is in the middle of it now
                assert data is not None and data.payload == f"begun {turn}: new {turn}"
                monkeypatch.setattr(supervisor, "broadcast", real)
                real(late.pop())
                data = await session.receive("n0")
                assert data is not None and data.payload == f"{turn}: new {turn}"
                await interrupting

    px.run(main(), PATIENCE_SECS)


def test_a_node_that_publishes_itself_is_heard_after_an_interruption(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-regression-direct") as session:
            for turn in range(3):
                await session.send("n0", px.text(f"{turn}"))
                for word in ("direct", "returned"):
                    data = await session.receive("n0")
                    assert data is not None and data.payload == f"{word} {turn}"
                await session.interrupt()

    px.run(main(), PATIENCE_SECS)


# --- nodes that cancel their own tasks ---


def test_on_interrupt_that_awaits_a_task_it_cancelled(px: Any) -> None:
    async def main() -> None:
        failed: list[NodeProcessError] = []
        async with px.session(("t-regression-own-task", {"where": "on_interrupt"})) as session:
            session.on_error(failed.append)
            pids = session.pids
            for turn in range(2):
                await session.interrupt()
                await session.send("n0", px.text(f"{turn}"))
                data = await session.receive("n0")
                assert data is not None and data.payload == f"{turn}"
            assert session.pids == pids
            await px.until(lambda: len(failed) == 2)
            assert "CancelledError" in str(failed[0])

    px.run(main(), PATIENCE_SECS)


def test_cleanup_that_awaits_a_task_it_cancelled(px: Any) -> None:
    async def main() -> None:
        async with px.session(("t-regression-own-task", {"where": "cleanup"})) as session:
            await px.send_all(session, "n0", ["x"])
            assert await px.received(session, "n0") == ["x"]
            child = session._supervisor.children["n0"]
        assert session.status is SessionStatus.STOPPED
        assert child.exited.result().code == 0

    px.run(main(), PATIENCE_SECS)


# --- stopping ---


def test_cleanup_after_a_stop_cancelled_twice(px: Any) -> None:
    async def main() -> None:
        session = px.session("t-do")
        await session.initialize()
        await session.start()
        await session.send("n0", px.text("wait"))
        assert await session.receive("n0") is not None  # it does not drain now
        stopping = asyncio.create_task(session.stop())
        await px.until(lambda: session.status is SessionStatus.STOPPING)
        stopping.cancel()
        await asyncio.sleep(0)
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping
        await session.cleanup()
        assert session.status is SessionStatus.STOPPED
        assert session.pids == {}

    px.run(main(), PATIENCE_SECS)


# --- graphs ---


def test_two_channels_of_one_name_are_refused() -> None:
    pipeline = Pipeline().add_node("t-regression-direct", "to_session").add_node("t-regression-direct", "session_to")
    with pytest.raises(PipelineError, match="session_to_to_session"):
        pipeline.validate()
    # One of the two alone is a name like any other.
    for name in ("to_session", "session_to"):
        Pipeline().add_node("t-regression-direct", name).validate()


# --- many nodes, few descriptors ---

# The kernel counts descriptors under way in sockets against this limit, except for the superuser's capabilities: these
# are given up where there are any.
MANY_NODES = """
import asyncio, resource, struct, session_support

SYS_ADMIN, SYS_RESOURCE = 1 << 21, 1 << 24
CAPGET, CAPSET = {"x86_64": (125, 126), "aarch64": (90, 91)}[os.uname().machine]

libc = ctypes.CDLL(None, use_errno=True)
header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0))
data = ctypes.create_string_buffer(24)
given_up = libc.syscall(CAPGET, header, data) == 0
if given_up:
    words = list(struct.unpack("=6I", data.raw[:24]))
    words[0] &= ~(SYS_ADMIN | SYS_RESOURCE)
    given_up = libc.syscall(CAPSET, header, ctypes.create_string_buffer(struct.pack("=6I", *words))) == 0

_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (400, hard))

async def main():
    count = int(sys.argv[1])
    async with session_support.session(*["t-echo"] * count, init_timeout_secs=90) as session:
        await session_support.send_all(session, "n0", ["x"])
        say(await session_support.received(session, f"n{count - 1}"), given_up)

asyncio.run(main())
"""


def test_many_nodes_with_few_descriptors(px: Any, child_python: Callable[..., Any]) -> None:
    child = child_python(px.PATH_LINES + MANY_NODES, "24")
    payloads, _ = child.hear()
    assert payloads == ["x"]
    assert child.wait() == 0, child.stderr()
