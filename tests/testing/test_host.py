"""NodeHost and run_node: one node in this process, over real channels."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.multiprocessing import MultiprocessConfig, MultiprocessNode, SessionStateError
from remotemedia.testing import NodeHost, no_leaks, run_node

pytestmark = pytest.mark.usefixtures("leak_check")


class Echo(MultiprocessNode):
    """Notes what is called."""

    inputs = {"input": DataType.TEXT}

    def __init__(self, node_id: str, config: dict[str, Any]) -> None:
        super().__init__(node_id, config)
        self.called: list[str] = []

    async def initialize(self) -> None:
        self.report_progress(0.5, "half")
        self.called.append("initialize")

    async def process(self, data: RuntimeData) -> Any:
        if data.payload == "wrong":
            raise ValueError("wrong word")
        return data

    async def finish(self) -> RuntimeData:
        self.called.append("finish")
        return RuntimeData.text("bye")

    def on_interrupt(self) -> None:
        self.called.append("on_interrupt")

    async def cleanup(self) -> None:
        self.called.append("cleanup")


class Counts(Echo):
    """Counts on until it is interrupted."""

    async def process(self, data: RuntimeData) -> Any:
        number = 0
        while True:
            yield RuntimeData.text(f"{data.payload} {number}")
            number += 1
            await asyncio.sleep(0)


class Fills(Echo):
    """Sends loaned arrays on two ports."""

    inputs = None

    async def process(self, data: RuntimeData) -> Any:
        array = self.loan(self.config.get("length", 3), np.float32)
        array[:] = 7
        yield {"loaned": RuntimeData.tensor(array)}
        yield {"passed on": data}


def texts(outputs: list[RuntimeData]) -> list[Any]:
    return [output.payload for output in outputs]


def test_a_whole_life() -> None:
    node = Echo("echo", {})
    assert texts(run_node(node, ["one", RuntimeData.text("two")])) == ["one", "two", "bye"]
    assert node.called == ["initialize", "finish", "cleanup"]


def test_step_by_step() -> None:
    async def test() -> None:
        async with NodeHost(Echo("echo", {})) as host:
            assert host.progress == [(0.5, "half")]
            assert texts(await host.feed("hi")) == ["hi"]
            await host.send("there")
            output = await host.receive()
            assert output is not None and output.payload == "there"
            with pytest.raises(TimeoutError):
                await host.receive(timeout=0.01)
            assert texts(await host.finish()) == ["bye"]
            assert await host.receive() is None

    asyncio.run(test())


def test_a_failed_message_is_raised_as_it_was_and_the_node_goes_on() -> None:
    async def test() -> None:
        async with NodeHost(Echo("echo", {})) as host:
            with pytest.raises(ValueError, match="wrong word") as raised:
                await host.feed("wrong")
            assert any(entry.name == "process" for entry in raised.traceback)
            assert host.failures == [raised.value]
            assert texts(await host.feed("right")) == ["right"]

    asyncio.run(test())


def test_an_interruption_ends_a_stream_and_drops_what_is_queued() -> None:
    async def test() -> None:
        async with NodeHost(Counts("counts", {})) as host:
            await host.send("a")
            await host.send("never")
            for number in range(3):
                output = await host.receive()
                assert output is not None and output.payload == f"a {number}"
            await host.interrupt()
            assert host.node.called[-1] == "on_interrupt"  # type: ignore[attr-defined]
            await host.send("b")
            output = await host.receive()
            assert output is not None and output.payload == "b 0"

    asyncio.run(test())


class Ears(Counts):
    """Silences the nodes that its message names."""

    async def process(self, data: RuntimeData) -> RuntimeData:
        await self.interrupt(from_node=str(data.payload).split())
        return RuntimeData.text("silent")


def test_a_node_that_interrupts_others_is_heard() -> None:
    async def test() -> None:
        async with NodeHost(Ears("ears", {})) as host:
            assert [output.payload for output in await host.feed("llm tts")] == ["silent"]
            assert [output.payload for output in await host.feed("llm")] == ["silent"]
            assert host.interruptions == [["llm", "tts"], ["llm"]]
        with pytest.raises(RuntimeError, match=r"interrupt\(\) works in a running node"):
            await Ears("ears", {}).interrupt(from_node="llm")

    asyncio.run(test())


def test_payloads_are_as_in_a_session() -> None:
    async def test() -> None:
        async with NodeHost(Fills("fills", {})) as host:
            mine = np.arange(3)
            loaned, passed_on = await host.feed(RuntimeData.tensor(mine), "in")
            assert (loaned.port, passed_on.port) == ("loaned", "passed on")
            assert loaned.as_numpy().tolist() == [7, 7, 7]
            assert not passed_on.as_numpy().flags.writeable
            assert not np.shares_memory(passed_on.as_numpy(), mine)

    asyncio.run(test())


def test_a_full_pool_is_an_error_where_a_session_would_wait_for_ever() -> None:
    async def test() -> None:
        async with NodeHost(Fills("fills", {"length": 5000}), MultiprocessConfig(shm_segment_size=65536)) as host:
            kept = []
            with pytest.raises(RuntimeError, match="payload memory is full"):
                for _ in range(20):
                    kept.append(await host.feed(RuntimeData.text("x"), "in"))
            assert kept

    asyncio.run(test())


def test_what_initialize_raises_comes_out_and_nothing_stays() -> None:
    class Broken(Echo):
        async def initialize(self) -> None:
            raise OSError("no model")

    async def test() -> None:
        with pytest.raises(OSError, match="no model"):
            async with NodeHost(Broken("broken", {})):
                pass

    with no_leaks():
        asyncio.run(test())


def test_what_run_raises_is_heard_by_whoever_waits() -> None:
    class Ends(Echo):
        async def run(self) -> None:
            raise KeyError("over")

    async def test() -> None:
        async with NodeHost(Ends("ends", {})) as host:
            with pytest.raises(KeyError, match="over"):
                await host.receive()

    asyncio.run(test())


def test_a_test_that_fails_in_the_middle_leaves_nothing() -> None:
    async def test() -> None:
        async with NodeHost(Counts("counts", {})) as host:
            await host.send("a")
            raise AssertionError("the test's own")

    with pytest.raises(AssertionError, match="the test's own"):
        asyncio.run(test())


def test_a_host_serves_one_life() -> None:
    async def test() -> None:
        host = NodeHost(Echo("echo", {}))
        with pytest.raises(SessionStateError, match="inside `async with"):
            await host.feed("too early")
        async with host:
            pass
        with pytest.raises(SessionStateError, match="once"):
            async with host:
                pass

    asyncio.run(test())


def test_a_plain_value_or_a_port_that_does_not_fit_is_refused() -> None:
    async def test() -> None:
        async with NodeHost(Echo("echo", {})) as host:
            with pytest.raises(TypeError, match="takes TEXT"):
                await host.feed(7)
            with pytest.raises(Exception, match="no input port 'inptu'"):
                await host.feed("hi", "inptu")
            assert texts(await host.feed("hi")) == ["hi"]

    asyncio.run(test())


def test_more_output_than_a_channel_holds() -> None:
    class Many(Echo):
        async def process(self, data: RuntimeData) -> Any:
            for number in range(1000):
                yield RuntimeData.text(str(number))

    assert texts(run_node(Many("many", {}), ["go"]))[:-1] == [str(number) for number in range(1000)]


def test_a_node_that_has_waited_takes_no_turn_of_the_loop_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has just had one: a turn between messages is for those that come without a pause."""
    turns: list[str] = []
    sleep = asyncio.sleep

    async def noted(secs: float, *result: Any) -> Any:
        if secs == 0:
            turns.append(sys._getframe(1).f_code.co_name)
        return await sleep(secs, *result)

    async def main() -> None:
        async with NodeHost(Echo("echo", {})) as host:
            for _ in range(8):
                await sleep(0.02)  # longer than a node may go on without a turn
                await host.feed("hi")

    monkeypatch.setattr(asyncio, "sleep", noted)
    asyncio.run(main())
    assert turns.count("_rest") < 4
