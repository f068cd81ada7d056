"""A node's process ends on its own: who is told what, and that nothing survives it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

import pytest

from remotemedia.core.multiprocessing import InitProgress, ProcessCrashError, Session, SessionStatus

pytestmark = [
    pytest.mark.usefixtures("leak_check"),
    pytest.mark.promise(
        "SC-005",
        "every caller and every waiter gets the same error; nothing of the pipeline lives on when it is raised",
        "exits and signals in process(), in initialize(), at rest, with all channels full, after the end of the stream",
    ),
]

ENDS = [
    ("os._exit(0)", 0, None),
    ("os._exit(3)", 3, None),
    ("sys.exit(5)", 5, None),
    ("SIGKILL", 137, 9),
    ("SIGSEGV", 139, 11),
    ("SIGABRT", 134, 6),
    ("SIGTERM", 143, 15),
]
ends = pytest.mark.parametrize(("how", "code", "number"), ENDS, ids=[how for how, _, _ in ENDS])


class Witness:
    """A session of nodes with grandchildren, and what is seen of its crash."""

    def __init__(self, px: Any, *nodes: Any, **config: Any) -> None:
        self.px = px
        self.session: Session = px.session(*nodes, **config)
        self.grandchildren: list[int] = []
        self.callbacks: list[tuple[float, ProcessCrashError]] = []
        self.session.on_process_crash(lambda error: self.callbacks.append((time.monotonic(), error)))

    async def initialize(self) -> None:
        await self.session.initialize(self.hear)

    def hear(self, progress: InitProgress) -> None:
        self.pids = self.session.pids
        if pid := self.px.grandchild(progress.message):
            self.grandchildren.append(pid)

    async def start(self) -> None:
        await self.initialize()
        await self.session.start()
        assert len(self.grandchildren) == sum(bool(n.config.get("grandchild")) for n in self.session.pipeline.nodes)

    async def check(self, error: BaseException, node_id: str, code: int, number: int | None) -> None:
        """Called when a call has just raised: everything is gone already."""
        assert not [pid for pid in self.pids.values() if self.px.exists(pid)]
        assert isinstance(error, ProcessCrashError)
        assert (error.node_id, error.exit_code, error.signal) == (node_id, code, number)
        assert [seen for _, seen in self.callbacks] == [error]
        # They were killed before; when the kernel has taken them down is the kernel's business.
        await self.px.until(lambda: not any(map(self.px.lives, self.grandchildren)))
        assert not [pid for leader in self.pids.values() for pid in self.px.group(leader)]
        later = [
            lambda: self.session.send(self.session.pipeline.input_nodes[0], self.px.text("x")),
            lambda: self.session.receive(self.session.pipeline.output_nodes[0]),
            lambda: self.px.collect(self.session.outputs()),
            lambda: self.session.end_input(),
            lambda: self.session.interrupt(),
        ]
        for call in later:
            with pytest.raises(ProcessCrashError) as caught:
                await call()
            assert caught.value is error
        assert self.session.status is SessionStatus.ERROR
        await self.session.stop()
        assert self.session.status is SessionStatus.ERROR
        await self.session.cleanup()
        assert self.session.status is SessionStatus.STOPPED
        assert self.session.pids == {}


async def outcome(awaitable: Any) -> BaseException:
    (found,) = await asyncio.gather(awaitable, return_exceptions=True)
    assert isinstance(found, BaseException), found
    return found


@ends
def test_in_process(px: Any, how: str, code: int, number: int | None) -> None:
    async def main() -> None:
        witness = Witness(px, ("t-echo", {"grandchild": True}), ("t-do", {"grandchild": True}), "t-echo")
        await witness.start()
        await witness.session.send("n0", px.text(f"complain-and-die {how}"))
        error = await outcome(px.received(witness.session, "n2"))
        assert isinstance(error, ProcessCrashError)
        assert "the last words" in error.stderr_tail
        assert "the last words" in str(error)
        assert f"Process n1 crashed with code {code}" in str(error)
        assert number is None or signal.Signals(number).name in str(error)
        await witness.check(error, "n1", code, number)

    px.run(main())


@ends
def test_in_initialize(px: Any, how: str, code: int, number: int | None) -> None:
    async def main() -> None:
        witness = Witness(px, ("t-echo", {"grandchild": True}), ("t-init", {"how": "die", "with": how}))
        error = await outcome(witness.initialize())
        assert isinstance(error, ProcessCrashError)
        assert "dying in initialize()" in error.stderr_tail
        await witness.check(error, "n1", code, number)

    px.run(main())


@ends
def test_while_others_still_load(px: Any, how: str, code: int, number: int | None) -> None:
    async def main() -> None:
        witness = Witness(
            px,
            ("t-init", {"how": "wait", "grandchild": True}),
            ("t-init", {"how": "die", "with": how}),
            ("t-init", {"how": "stick"}),
        )
        await witness.check(await outcome(witness.initialize()), "n1", code, number)

    px.run(main())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
@pytest.mark.parametrize("victim", [0, 1, 2])
def test_while_idle(px: Any, victim: int, number: int, record_property: Any) -> None:
    async def main() -> None:
        witness = Witness(px, *[("t-echo", {"grandchild": True})] * 3)
        await witness.start()
        calls = [
            asyncio.create_task(outcome(witness.session.receive("n2"))),
            asyncio.create_task(outcome(px.collect(witness.session.outputs()))),
            asyncio.create_task(outcome(witness.session.receive("n2", timeout=3600))),
        ]
        await asyncio.sleep(0)
        killed = time.monotonic()
        os.kill(witness.pids[f"n{victim}"], number)
        errors = await asyncio.gather(*calls)
        record_property("kill_to_callback_ms", (witness.callbacks[0][0] - killed) * 1e3)
        record_property("kill_to_raise_ms", (time.monotonic() - killed) * 1e3)
        assert errors[0] is errors[1] is errors[2]
        await witness.check(errors[0], f"n{victim}", 128 + number, number)

    px.run(main())


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_while_everything_is_full(px: Any, victim: int) -> None:
    async def main() -> None:
        witness = Witness(px, *[("t-echo", {"grandchild": True})] * 3, channel_capacity=1)
        await witness.start()
        sending = asyncio.create_task(outcome(px.send_all(witness.session, "n0", ["x"] * 100)))
        # One in each of four channels and in the hands of each node, and one that waits.
        await px.until(lambda: witness.session.get_channel_stats("session_to_n0").message_count == 7)
        await px.until(lambda: all(s.current_occupancy == 1 for s in witness.session.channel_stats()))
        os.kill(witness.pids[f"n{victim}"], signal.SIGKILL)
        await witness.check(await sending, f"n{victim}", 137, 9)

    px.run(main())


def test_while_another_node_is_stuck_in_c_code(px: Any) -> None:
    async def main() -> None:
        witness = Witness(px, "t-echo", ("t-do", {"grandchild": True}), "t-deaf")
        await witness.start()
        await witness.session.send("n0", px.text("stick"))
        assert await witness.session.receive("n2") is not None  # n1 and n2 both stick after passing it on
        os.kill(witness.pids["n0"], signal.SIGSEGV)
        await witness.check(await outcome(witness.session.receive("n2")), "n0", 139, 11)

    px.run(main())


def test_while_another_node_is_stopped(px: Any) -> None:
    async def main() -> None:
        witness = Witness(px, "t-echo", ("t-echo", {"grandchild": True}))
        await witness.start()
        os.kill(witness.pids["n1"], signal.SIGSTOP)
        os.kill(witness.pids["n0"], signal.SIGKILL)
        await witness.check(await outcome(witness.session.receive("n1")), "n0", 137, 9)

    px.run(main())


def test_while_an_interrupt_waits(px: Any) -> None:
    async def main() -> None:
        witness = Witness(px, "t-do", "t-echo")
        await witness.start()
        await witness.session.send("n0", px.text("stick"))
        assert await witness.session.receive("n1") is not None
        interrupt = asyncio.create_task(outcome(witness.session.interrupt()))
        await asyncio.sleep(0)
        os.kill(witness.pids["n0"], signal.SIGKILL)
        await witness.check(await interrupt, "n0", 137, 9)

    px.run(main())


def test_between_ready_and_start(px: Any) -> None:
    async def main() -> None:
        witness = Witness(px, "t-echo", "t-echo")
        await witness.initialize()
        os.kill(witness.pids["n0"], signal.SIGKILL)
        await px.until(lambda: witness.callbacks)
        error = await outcome(witness.session.start())
        await witness.check(error, "n0", 137, 9)

    px.run(main())


def test_after_the_end_of_the_stream(px: Any) -> None:
    async def main() -> None:
        witness = Witness(px, "t-echo", "t-echo")
        await witness.start()
        await px.send_all(witness.session, "n0", ["x"])
        assert await px.received(witness.session, "n1") == ["x"]
        os.kill(witness.pids["n1"], signal.SIGKILL)
        await px.until(lambda: witness.callbacks)
        await witness.check(await outcome(witness.session.receive("n1")), "n1", 137, 9)

    px.run(main())


def test_all_at_once(px: Any) -> None:
    async def main() -> None:
        witness = Witness(px, *[("t-echo", {"grandchild": True})] * 3)
        await witness.start()
        for pid in witness.pids.values():
            os.kill(pid, signal.SIGKILL)
        error = await outcome(witness.session.receive("n2"))
        assert isinstance(error, ProcessCrashError)
        await witness.check(error, error.node_id, 137, 9)

    px.run(main())


def test_a_callback_that_raises_keeps_nobody_from_hearing(px: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        session: Session = px.session("t-do")
        heard: list[ProcessCrashError] = []
        session.on_process_crash(lambda error: 1 / 0)
        session.on_process_crash(heard.append)
        await session.initialize()
        await session.start()
        await session.send("n0", px.text("die SIGKILL"))
        error = await outcome(px.received(session, "n0"))
        assert heard == [error]
        await session.cleanup()

    px.run(main())
    assert "session 's': on_process_crash callback failed" in caplog.text
    caplog.clear()  # the record's traceback holds the session


def test_the_error_does_not_grow_from_call_to_call(px: Any) -> None:
    def depth(error: BaseException) -> int:
        trace, count = error.__traceback__, 0
        while trace is not None:
            trace, count = trace.tb_next, count + 1
        return count

    async def main() -> None:
        async with px.session("t-do") as session:
            await session.send("n0", px.text("die SIGKILL"))
            await outcome(px.received(session, "n0"))
            depths = [depth(await outcome(session.receive("n0"))) for _ in range(3)]
            assert depths[0] == depths[1] == depths[2]

    px.run(main())


def test_what_survivors_may_do_and_may_not(px: Any, tmp_path: Any) -> None:
    """They clean up when they can; that a grandchild of a crashed node lives on is not an option."""
    bell = tmp_path / "cleaned"

    async def main() -> None:
        witness = Witness(px, ("t-echo", {"cleanup_file": str(bell)}), ("t-do", {"grandchild": True}))
        await witness.start()
        await witness.session.send("n0", px.text("die os._exit(3)"))
        await witness.check(await outcome(px.received(witness.session, "n1")), "n1", 3, None)
        assert bell.read_text() == "n0\n"

    px.run(main())
