"""What the program that holds a session does with its event loops and threads."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from typing import Any

import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import (
    InitProgress,
    MultiprocessError,
    MultiprocessExecutor,
    ProcessCrashError,
    Publisher,
    Session,
    SessionStateError,
    SessionStatus,
    Subscriber,
)

pytestmark = pytest.mark.usefixtures("leak_check")

held_up = pytest.mark.promise(
    "host program",
    "while its event loop is held up nothing is lost, and what happened meanwhile is reported afterwards",
    "blocked for seconds while it streams, while nodes load, crash, write to stderr and stop",
)


@pytest.fixture
def secs(scale: Any) -> float:
    """For how long the event loop is held up."""
    return float(scale(0.7, 5.0))


@held_up
def test_held_up_while_it_streams(px: Any, ledger: Any, scale: Any, secs: float) -> None:
    messages = [str(number) for number in range(scale(300, 3000))]
    came: list[Any] = []

    async def main() -> None:
        async with px.session("t-echo", "t-echo", channel_capacity=10) as session:
            sending = asyncio.create_task(px.send_all(session, "n0", messages))
            async for _, data in session.outputs():
                came.append(data.payload)
                if len(came) % (len(messages) // 2) == 50:
                    time.sleep(secs)
            await sending

    px.run(main())
    ledger.lose(len(set(messages) - set(came)))
    ledger.count("messages", len(messages))
    assert came == messages


@held_up
def test_held_up_while_nodes_load(px: Any, ledger: Any, secs: float) -> None:
    async def main() -> None:
        session = px.session("t-echo", ("t-init", {"how": "progress"}))
        steps: list[str] = []

        def hear(progress: InitProgress) -> None:
            if progress.node_id == "n1":
                steps.append(str(progress.message or progress.status))
            if progress.message == "half":
                time.sleep(secs)

        await session.initialize(hear)
        await session.start()
        await px.works(session)
        await session.cleanup()
        assert steps == [
            *("starting", "loading", "reading weights", "half", "too much", "not a number"),
            *("connecting", "ready"),
        ]

    px.run(main())
    ledger.count("hold-ups")


@held_up
@pytest.mark.parametrize(("order", "code"), [("die os._exit(3)", 3), ("complain-and-die SIGSEGV", 139)])
def test_held_up_while_a_node_crashes(px: Any, ledger: Any, secs: float, order: str, code: int) -> None:
    async def main() -> None:
        async with px.session("t-do", "t-echo") as session:
            pid = session.pids["n0"]
            heard: list[ProcessCrashError] = []
            session.on_process_crash(heard.append)
            await session.send("n0", px.text(order))
            while px.lives(pid):
                os.sched_yield()
            time.sleep(secs)
            assert heard == []
            with pytest.raises(ProcessCrashError) as caught:
                await px.received(session, "n1")
            error = caught.value
            assert heard == [error]
            assert (error.node_id, error.exit_code) == ("n0", code)
            assert ("the last words" in error.stderr_tail) == order.startswith("complain")

    px.run(main())
    ledger.count("hold-ups")


@held_up
def test_held_up_while_a_node_fills_its_stderr(px: Any, ledger: Any, secs: float) -> None:
    """It waits with its pipe full, and goes on when somebody reads."""

    async def main() -> None:
        async with px.session("t-lines") as session:
            line = b"x" * 1000 + b"\n"
            await session.send("n0", px.text("err " + (line * 300).hex()))
            await px.until(lambda: session.get_status().nodes["n0"].busy_secs > 0)
            time.sleep(secs)
            assert session.get_channel_stats("n0_to_session").message_count == 0
            assert await session.receive("n0") is not None

    px.run(main())
    ledger.count("hold-ups")


@held_up
def test_held_up_while_nodes_stop(px: Any, ledger: Any, caplog: pytest.LogCaptureFixture, secs: float) -> None:
    """For longer than they have for that: who was done in time is not taken to be late."""

    async def main() -> None:
        async with px.session("t-echo", "t-echo", cleanup_grace_period_secs=secs / 2) as session:
            pids = list(session.pids.values())
            stop = asyncio.create_task(session.stop())
            for _ in range(3):  # the task, and another within it: by then the nodes have been told
                await asyncio.sleep(0)
            while any(map(px.lives, pids)):
                os.sched_yield()
            time.sleep(secs)
            await stop

    px.run(main())
    assert caplog.text == ""
    ledger.count("hold-ups")


one_loop = pytest.mark.promise(
    "host program",
    "sessions on several event loops and threads do not touch; a call on the wrong one is refused",
    "two loops in two threads, one session used from two, run_coroutine_threadsafe, asyncio.run twice",
)


@one_loop
def test_an_event_loop_each(px: Any, ledger: Any, in_thread: Any, scale: Any) -> None:
    """In two threads, under one executor; one crashes, which the other does not notice."""
    executor, count = MultiprocessExecutor(), scale(200, 5000)
    crashed, done = threading.Event(), []

    async def stream(name: str) -> None:
        session = await executor.create_session(name, px.chain("t-echo", "t-do"))
        if name == "crashes":
            os.kill(session.pids["n0"], signal.SIGKILL)
            with pytest.raises(ProcessCrashError, match="n0"):
                await session.receive("n1")
            crashed.set()
        else:
            messages = [str(number) for number in range(count)]
            await px.send_all(session, "n0", messages[:100], end=False)
            await asyncio.to_thread(crashed.wait)
            sending = asyncio.create_task(px.send_all(session, "n0", messages[100:]))
            assert await px.received(session, "n1") == messages
            await sending
        await executor.terminate_session(name)
        done.append(name)

    threads = [in_thread(lambda name=name: px.run(stream(name))) for name in ("crashes", "streams")]
    for thread in threads:
        thread.result()
    assert sorted(done) == ["crashes", "streams"]
    ledger.count("messages", count)


def calls(px: Any, session: Session) -> dict[str, Any]:
    return {
        "send": lambda: session.send("n0", px.text("stray")),
        "receive": lambda: session.receive("n1"),
        "outputs": lambda: px.collect(session.outputs()),
        "loan": lambda: session.loan(1, "u1"),
        "end_input": lambda: session.end_input(),
        "interrupt": lambda: session.interrupt(),
    }


@one_loop
def test_a_session_of_another_event_loop(px: Any, ledger: Any, in_thread: Any) -> None:
    async def main() -> None:
        session = px.session("t-echo", "t-echo")

        async def refused(name: str, call: Any) -> None:
            with pytest.raises(SessionStateError, match=rf"^{name}\(\) was called on another event loop"):
                await asyncio.to_thread(in_thread(lambda: px.run(call())).result)
            ledger.count("calls refused")

        await session.initialize()
        await refused("start", session.start)
        await session.start()
        receiving = asyncio.create_task(session.receive("n1"))
        await asyncio.sleep(0)
        for name, call in {**calls(px, session), "stop": session.stop}.items():
            await refused(name, call)
        await session.send("n0", px.text("own"))
        assert (await receiving).payload == "own"
        await session.cleanup()

    px.run(main())


@one_loop
def test_the_event_loop_of_another_library(px: Any, ledger: Any) -> None:
    trio = pytest.importorskip("trio")
    words = r"\) needs an asyncio event loop, and none is running \(anyio: backend='asyncio'\)$"

    async def main() -> None:
        session = px.session("t-echo")
        executor = MultiprocessExecutor()
        for call in (
            session.initialize,
            lambda: executor.create_session("s", px.chain("t-echo")),
            lambda: executor.execute_node("t-echo", "n"),
        ):
            with pytest.raises(SessionStateError, match=words):
                await call()
            ledger.count("calls refused")
        with pytest.raises(RuntimeError, match=words):
            executor.events()
        await session.cleanup()
        await executor.shutdown()
        # A channel is one of the things that trio can wait for; what would sleep on asyncio says what to do.
        with Publisher("of-trio") as publisher, Subscriber("of-trio") as subscriber:
            await publisher.publish_async(RuntimeData.text("a"))
            assert (await subscriber.receive_async()).payload == "a"
            with pytest.raises(RuntimeError, match=words[2:]):
                await subscriber.receive_async()

    trio.run(main)
    ledger.count("calls refused")


@one_loop
def test_a_plain_thread_that_asks_the_event_loop(px: Any, ledger: Any) -> None:
    async def main() -> None:
        session, loop = px.session("t-echo", "t-echo"), asyncio.get_running_loop()

        def elsewhere() -> str:
            def call(coroutine: Any) -> Any:
                return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

            call(session.initialize())
            call(session.start())
            call(session.send("n0", px.text("from a thread")))
            data = call(session.receive("n1"))
            assert [node.pid for node in session.get_status().nodes.values()] == list(session.pids.values())
            assert session.get_metrics().process_count == len(session.pids) == 2
            call(session.interrupt())
            call(session.cleanup())
            return str(data.payload)

        assert await asyncio.to_thread(elsewhere) == "from a thread"
        assert session.status is SessionStatus.STOPPED

    px.run(main())
    ledger.count("sessions")


@one_loop
def test_a_session_left_over_from_an_event_loop(px: Any, ledger: Any) -> None:
    """In the next one it can only be ended; then its id is free, and the executor as good as new."""
    executor = MultiprocessExecutor()
    session = px.run(executor.create_session("one", px.chain("t-echo", "t-echo")))
    pids = list(session.pids.values())

    async def main() -> None:
        for name, call in calls(px, session).items():
            with pytest.raises(SessionStateError, match=rf"^{name}\(\) was called on another.*closed: stop\(\) and"):
                await call()
            ledger.count("calls refused")
        with pytest.raises(MultiprocessError, match="exists already"):
            await executor.create_session("one", px.chain("t-echo"))
        assert all(map(px.lives, pids))
        await executor.terminate_session("one")
        assert not any(map(px.exists, pids))
        await px.works(await executor.create_session("one", px.chain("t-echo", "t-echo")))
        await executor.shutdown()

    px.run(main())
    ledger.count("sessions", 2)
