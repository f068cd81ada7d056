"""A session in a service does what a local one does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from remotemedia.client import PipelineClient, RemoteSession
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import (
    ChannelClosedError,
    Pipeline,
    PipelineError,
    SessionStateError,
    SessionStatus,
)

pytestmark = pytest.mark.usefixtures("leak_check")

text = RuntimeData.text
RAMP = np.arange(12)


@asynccontextmanager
async def running(service: Any, pipeline: Any, **more: Any) -> AsyncIterator[RemoteSession]:
    async with PipelineClient(service.target) as client, client.session(pipeline, **more) as session:
        yield session


MESSAGES = {
    "audio": RuntimeData.audio(RAMP.astype(np.float32), 16_000),
    "stereo": RuntimeData.audio(RAMP.astype(np.int16).reshape(6, 2), 48_000, 2),
    "no samples": RuntimeData.audio(np.empty(0, np.float32), 16_000),
    "video": RuntimeData.video(np.arange(36, dtype=np.uint8).reshape(3, 4, 3), "rgb", 25.0),
    "tensor": RuntimeData.tensor(RAMP.astype(np.float16).reshape(3, 4), metadata={"layer": 3, "names": ["a", None]}),
    "float64": RuntimeData.tensor(RAMP.astype(np.float64)),
    "not contiguous": RuntimeData.tensor(RAMP.reshape(3, 4).T),
    "scalar": RuntimeData.tensor(np.array(1.5)),
    "text": text("zwölf Boxkämpfer \U0001f94a"),
    "empty text": text(""),
    "json": RuntimeData.json({"words": ["zwölf", None, 1.5]}),
    "json with metadata": RuntimeData.json([], metadata={"schema_type": "rows", "page": 3}),
    "text with metadata": text("hi", metadata={"speaker": "ann", "score": 0.5}),
}


def test_data_arrive_as_they_were_sent(px: Any, service: Any) -> None:
    async def main() -> None:
        async with running(service, px.chain("t-echo")) as session:
            for data in MESSAGES.values():
                await session.send("n0", data)
            await session.end_input()
            came = [data async for _, data in session.outputs()]
        assert len(came) == len(MESSAGES)
        for (name, sent), got in zip(MESSAGES.items(), came, strict=True):
            got.session_id = sent.session_id
            assert got == sent, name
            assert isinstance(got.payload, str) or not got.as_numpy().flags.writeable, name

    px.run(main())


def test_outputs_carry_the_number_of_their_input(px: Any, service: Any) -> None:
    async def main() -> None:
        async with running(service, px.chain("t-echo", ("t-repeat", {"times": 2}))) as session:
            for origin in (7, 0, 2**63):
                data = text("x")
                data.origin = origin
                await session.send("n0", data)
            got = [await session.receive("n1") for _ in range(6)]
            assert [data.origin for data in got if data] == [7, 7, 0, 0, 2**63, 2**63]

    px.run(main())


def test_ports(px: Any, service: Any) -> None:
    pipeline = Pipeline().add_node("t-tag", "a").add_node("t-ports", "b", {"ports": ["left", "right"]})

    async def main() -> None:
        async with running(service, pipeline) as session:
            await session.send("a", text("x"), port="words")
            data = await session.receive("a")
            assert data is not None and data.payload == "x>a.words"
            await session.send("b", text("x"))
            for port in ("left", "right"):
                data = await session.receive("b")
                assert data is not None and (data.port, data.payload) == (port, f"x on {port}")

    px.run(main())


def test_plain_values(px: Any, service: Any) -> None:
    """What a node takes, the client knows where the node's type is known here."""

    async def main() -> None:
        async with PipelineClient(service.target) as client:
            pipeline = px.chain("t-strict")
            async with client.session(pipeline) as session:
                await session.send("n0", "x")
                data = await session.receive("n0")
                assert data is not None and (data.port, data.payload) == ("words", "x")
                with pytest.raises(TypeError, match="takes TEXT on port 'words', not ndarray; it cannot become TEXT"):
                    await session.send("n0", RAMP)
            result = await client.execute(pipeline, {"n0": "x"})
            assert [data.payload for data in result.outputs["n0"]] == ["x"]
            async with client.session(px.chain("t-takes")) as session:
                await session.send("n0", RAMP, "tensor")
                data = await session.receive("n0")
                assert data is not None and (data.port, data.payload) == ("said", "TENSOR ndarray on tensor")

    px.run(main())


def test_what_is_no_message_is_not_sent(px: Any, service: Any) -> None:
    async def main() -> None:
        pipeline = px.chain("t-echo")
        async with PipelineClient(service.target) as client, client.session(pipeline) as session:
            for value, how in (("x", "RuntimeData.text.x. makes one"), (RAMP, "RuntimeData.audio.x, sample_rate. or")):
                wrong = f"'n0' takes RuntimeData on port 'input', not {type(value).__name__}; {how}"
                with pytest.raises(TypeError, match=wrong):
                    await session.send("n0", value)
                with pytest.raises(TypeError, match=wrong):
                    await client.execute(pipeline, {"n0": value})
            await session.send("n0", text("x"))
            data = await session.receive("n0")
            assert data is not None and (data.port, data.payload) == ("", "x")

    px.run(main())


def test_the_end_of_the_stream(px: Any, service: Any, gather: Callable[..., Any]) -> None:
    async def main() -> None:
        async with running(service, px.chain("t-echo", ("t-tag", {"says_end": True}))) as session:
            for word in ("a", "b"):
                await session.send("n0", text(word))
            await session.end_input()
            with pytest.raises(ChannelClosedError, match="input of node 'n0' was ended"):
                await session.send("n0", text("late"))
            assert await gather(session) == ["a>n1.input", "b>n1.input", "end>n1"]
            assert await session.receive("n1") is None
            assert await session.receive("n1") is None
        assert session.status is SessionStatus.STOPPED
        with pytest.raises(SessionStateError, match="this one is stopped"):
            await session.receive("n1")

    px.run(main())


def test_one_input_ends_before_the_other(px: Any, service: Any, gather: Callable[..., Any]) -> None:
    pipeline = Pipeline().add_node("t-tag", "a", {"says_end": True}).add_node("t-tag", "b", {"says_end": True})

    async def main() -> None:
        async with running(service, pipeline) as session:
            await session.end_input("a")
            data = await session.receive("a")
            assert data is not None and data.payload == "end>a"
            await session.send("b", text("x"))
            await session.end_input("b")
            assert await gather(session) == ["x>b.input", "end>b"]

    px.run(main())


def test_interruption(px: Any, service: Any) -> None:
    async def main() -> None:
        async with running(service, px.chain("t-echo", ("t-repeat", {"times": 5}))) as session:
            for turn in range(10):
                for number in range(20):
                    await session.send("n0", text(f"old {turn} {number}"))
                await session.interrupt()
                await session.send("n0", text(f"new {turn}"))
                for number in range(5):
                    data = await session.receive("n1")
                    assert data is not None and data.payload == f"new {turn}.{number}"

    px.run(main())


def test_interruption_of_a_node_that_never_ends(px: Any, service: Any) -> None:
    async def main() -> None:
        async with running(service, px.chain("t-do")) as session:
            await session.send("n0", text("wait"))
            assert await session.receive("n0") is not None
            asking = [asyncio.create_task(session.interrupt()) for _ in range(3)]
            await asyncio.gather(*asking)
            await session.send("n0", text("new"))
            data = await session.receive("n0")
            assert data is not None and data.payload == "new"

    px.run(main())


def test_interruption_past_all_that_waits(px: Any, service: Any) -> None:
    """The node is stuck, the channel is full, and so is all that the service reads ahead."""

    async def main() -> None:
        async with running(service, px.chain("t-do"), config={"channel_capacity": 2}) as session:
            await session.send("n0", text("wait"))
            assert await session.receive("n0") is not None
            for number in range(100):
                await session.send("n0", text(f"old {number}"))
            await session.interrupt()
            await session.send("n0", text("new"))
            data = await session.receive("n0")
            assert data is not None and data.payload == "new"

    px.run(main())


def test_an_interruption_is_over_when_every_node_has_let_go(px: Any, service: Any) -> None:
    async def main() -> None:
        async with running(service, px.chain("t-do")) as session:
            await session.send("n0", text("block 0.3"))
            assert await session.receive("n0") is not None
            await session.interrupt()
            assert service.ask("handled") == 1, "it waits for a call that does not await"

    px.run(main())


async def arrival(session: RemoteSession) -> None:
    """Returns in the turn of the event loop in which an output has come, taken by then or not."""
    assert session._stream is not None
    await session._stream._changed.wait()


def test_who_gives_up_receiving_has_taken_nothing(px: Any, service: Any) -> None:
    async def main() -> None:
        async with running(service, px.chain("t-echo")) as session:
            with pytest.raises(TimeoutError):
                await session.receive("n0", timeout=0)
            for number in range(20):
                # Given up in the very moment in which an output comes: before it looks, or after.
                calls = [session.receive("n0"), arrival(session)]
                first, second = (asyncio.create_task(call) for call in (calls if number % 2 else reversed(calls)))
                waiting, arrived = (first, second) if number % 2 else (second, first)
                arrived.add_done_callback(lambda _, waiting=waiting: waiting.cancel())
                await session.send("n0", text(f"{number}"))
                given = (await asyncio.gather(waiting, return_exceptions=True))[0]
                data = await session.receive("n0") if isinstance(given, BaseException) else given
                assert data is not None and data.payload == f"{number}"

    px.run(main())


def test_calls_that_make_no_sense(px: Any, service: Any) -> None:
    async def main() -> None:
        async with PipelineClient(service.target) as client:
            session = client.session(px.chain("t-echo", "t-echo"))
            with pytest.raises(SessionStateError, match="needs a session that is running; this one is created"):
                await session.send("n0", text("x"))
            async with session:
                for call, wrong in (
                    (session.send("n1", text("x")), "node 'n1' is not an input node; the input nodes are: 'n0'"),
                    (session.receive("n0"), "node 'n0' is not an output node; the output nodes are: 'n1'"),
                    (session.end_input("nX"), "node 'nX' is not in the pipeline; the input nodes are: 'n0'"),
                ):
                    with pytest.raises(PipelineError, match=wrong):
                        await call
            with pytest.raises(SessionStateError, match="entered once"):
                await session.__aenter__()
        with pytest.raises(SessionStateError, match="this client is not open"):
            await client.version()

    px.run(main())


def test_the_client_is_closed_first(px: Any, service: Any) -> None:
    async def main() -> None:
        client = await PipelineClient(service.target).__aenter__()
        async with client.session(px.chain("t-echo")) as session:
            waiting = asyncio.create_task(session.receive("n0"))
            await asyncio.sleep(0)
            await client.__aexit__(None, None, None)
            for call in (waiting, session.send("n0", text("x")), session.interrupt()):
                with pytest.raises(SessionStateError, match="its client was closed"):
                    await call

    px.run(main())


def test_leaving_early_ends_the_processes(px: Any, service: Any) -> None:
    async def main() -> None:
        async with running(service, px.chain("t-do", "t-echo")) as session:
            await session.send("n0", text("wait"))
            assert await session.receive("n1") is not None
            assert len(service.ask("pids")) == 2
        await service.until("pids", lambda pids: pids == [])

    px.run(main())
