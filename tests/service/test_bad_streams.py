"""Clients of StreamPipeline that do not keep to the order, do not read, or are gone."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import remotemedia_v1_pb2 as pb

from remotemedia.core.multiprocessing import Session, SessionStatus
from remotemedia.service import server

pytestmark = pytest.mark.usefixtures("leak_check")

U64 = 2**64 - 1
MANIFEST = pb.PipelineManifest(version="v1", nodes=[pb.NodeManifest(id="a", node_type="t-echo")])
INIT = pb.StreamRequest(init=pb.StreamInit(manifest=MANIFEST, expected_chunk_size=U64))
STUBBORN = pb.PipelineManifest(version="v1", nodes=[pb.NodeManifest(id="a", node_type="t-slow-cleanup")])
STUBBORN.metadata.multiprocess.update({"cleanup_grace_period_secs": 1e300})
FOREVER_SECS = 3600
SMALL_WINDOW = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65536))
"""gRPC takes no more of what nobody reads."""


def chunk(sequence: int = 0, node_id: str = "a", **fields: Any) -> pb.StreamRequest:
    buffer = pb.DataBuffer(text=pb.TextBuffer(text_data=b"x"))
    return pb.StreamRequest(data_chunk=pb.DataChunk(node_id=node_id, buffer=buffer, sequence=sequence, **fields))


def command(number: int, **fields: Any) -> pb.StreamRequest:
    return pb.StreamRequest(control=pb.StreamControl(command=number, **fields))


CLOSE, CANCEL, INTERRUPT, END = command(1), command(2), command(101), command(102, node_id="a")
NO_BUFFER = pb.StreamRequest(data_chunk=pb.DataChunk(node_id="a"))
CLOSED, CANCELLED = "closed: Client requested close", "closed: Client requested cancel"
HALF_CLOSED = "closed: Client closed the request stream"

# What is sent, with the end of the requests behind it; what is answered; how many results.
ORDERS: dict[str, tuple[list[pb.StreamRequest | bytes], str, int]] = {
    "nothing": ([], "", 0),
    "an empty request": ([b"", INIT, b"", CLOSE], CLOSED, 0),
    "a chunk first": ([chunk()], "StreamInit required before anything else", 0),
    "a command first": ([CLOSE], "StreamInit required before anything else", 0),
    "garbage first": ([b"\xff\xff"], "are not a remotemedia.v1.StreamRequest", 0),
    "garbage later": ([INIT, b"\xff\xff"], "are not a remotemedia.v1.StreamRequest", 0),
    "two inits": ([INIT, INIT], "StreamInit already received", 0),
    "no manifest": ([pb.StreamRequest(init=pb.StreamInit())], 'version: must be "v1"', 0),
    "half-close before ready": ([INIT], HALF_CLOSED, 0),
    "CLOSE twice": ([INIT, CLOSE, CLOSE], CLOSED, 0),
    "CANCEL before ready": ([INIT, CANCEL], CANCELLED, 0),
    "CANCEL after CLOSE": ([INIT, CLOSE, CANCEL], CANCELLED, 0),
    "INTERRUPT before ready": ([INIT, INTERRUPT, chunk(), CLOSE], CLOSED, 1),
    "INTERRUPT after CLOSE": ([INIT, CLOSE, INTERRUPT, INTERRUPT], CLOSED, 0),
    "END_INPUT twice": ([INIT, END, END], "closed: ", 0),
    "END_INPUT after CLOSE": ([INIT, CLOSE, END], CLOSED, 0),
    "END_INPUT of no node": ([INIT, command(102, node_id="z")], "COMMAND_END_INPUT: node 'z' is not in", 0),
    "a chunk after CLOSE": ([INIT, CLOSE, chunk()], "a chunk came after the end of the input", 0),
    "a chunk after END_INPUT": ([INIT, END, chunk()], "a chunk came after the end of the input of node 'a'", 0),
    "an unknown command": ([INIT, command(77)], "there is no command 77", 0),
    "a negative command": ([INIT, command(-1)], "there is no command -1", 0),
    "the last number": ([INIT, chunk(U64), chunk(0), CLOSE], CLOSED, 2),
    "a number twice": ([INIT, chunk(U64), chunk(U64)], f"expected sequence {U64 + 1}, got {U64}", 0),
    "out of order": ([INIT, chunk(5), chunk(4)], "Out-of-order chunk: expected sequence 6, got 4", 0),
    "a gap": ([INIT, chunk(5), chunk(500), CLOSE], CLOSED, 2),
    "the last moment": ([INIT, chunk(timestamp_ms=U64), CLOSE], CLOSED, 1),
    "no such node": ([INIT] + [chunk(node_id="z")] * 500, "chunk 0: node 'z' is not in the pipeline", 0),
    "no buffer": ([INIT, NO_BUFFER], "DataChunk must have buffer or named_buffers", 0),
}


async def end(call: Any) -> tuple[str, int]:
    """What the call ends with, which is OK, and how many results there were before."""
    responses = [pb.StreamResponse.FromString(raw) async for raw in call]
    assert await call.code() is grpc.StatusCode.OK, await call.details()
    members = [response.WhichOneof("response") for response in responses]
    last = responses[-1] if responses else pb.StreamResponse()
    said = f"closed: {last.closed.reason}" if last.HasField("closed") else last.error.message
    if last.HasField("error"):
        assert last.error.error_type == pb.ERROR_TYPE_VALIDATION and said.startswith("Validation error: ")
    return said, members.count("result")


def raw_call(client: Any, channel: grpc.aio.Channel | None = None) -> Any:
    path = "/remotemedia.v1.StreamingPipelineService/StreamPipeline"
    channel = channel or client.channel
    return channel.stream_stream(path, request_serializer=None, response_deserializer=None)()


async def write(call: Any, *requests: pb.StreamRequest | bytes) -> None:
    try:
        for each in requests:
            await call.write(each if isinstance(each, bytes) else each.SerializeToString())
        await call.done_writing()
    except (asyncio.InvalidStateError, grpc.aio.AioRpcError):
        pass  # it has ended, which is told by what it ended with


async def flood(sv: Any, client: Any, channel: grpc.aio.Channel | None = None) -> Any:
    """A call that sends six large chunks, of which gRPC holds a few until somebody reads, and reads nothing."""
    call = raw_call(client, channel)
    await call.write(INIT.SerializeToString())
    big = pb.StreamRequest(data_chunk=pb.DataChunk(node_id="a", buffer=sv.binary(bytes(1 << 20))))
    for _ in range(6):
        await call.write(big.SerializeToString())
    session = await found(sv, client, SessionStatus.RUNNING)
    await sv.until(lambda: session.node_stats()[0].messages == 6)
    return call


async def found(sv: Any, client: Any, status: SessionStatus) -> Session:
    """The only session there is, once its status is this one."""
    executor = client.service.executor
    await sv.until(lambda: [each.status for each in executor.sessions.values()] == [status])
    (session,) = executor.sessions.values()
    return session


def children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_orders(px: Any, sv: Any) -> None:
    async def main() -> list[str]:
        wrong = []
        async with sv.serving() as client:
            before = children()
            for name, (requests, expected, results) in ORDERS.items():
                call = raw_call(client)
                await write(call, *requests)
                said, count = await end(call)
                if expected not in said or (count != results and "closed" in said):
                    wrong.append(f"{name}: {said!r}, {count} results")
                await sv.until(lambda: children() == before)
            await client.result(sv.chain("t-echo"), {"n0": "still here"})
        return wrong

    assert not (wrong := px.run(main())), "\n".join(wrong)


@pytest.mark.parametrize(
    ("last", "expected"),
    [(CANCEL, CANCELLED), (INIT, "already received"), (b"\xff", "are not a")],
    ids=["CANCEL", "two inits", "garbage"],
)
def test_a_client_that_does_not_read_yet(px: Any, sv: Any, last: Any, expected: str) -> None:
    """Its processes are gone although it reads nothing; and when it reads, it reads how the stream ended."""

    async def main() -> None:
        async with sv.serving() as client:
            before, call = children(), await flood(sv, client)
            await write(call, last)
            await sv.until(lambda: children() == before and not client.service.executor.sessions)
            said, _ = await end(call)
            assert expected in said

    px.run(main())


def test_the_service_stops_although_clients_do_not(px: Any, sv: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        before = children()
        monkeypatch.setattr(server, "_LAST_WORDS_SECS", FOREVER_SECS)
        async with sv.serving() as client:
            silent = raw_call(client)
            stubborn = asyncio.create_task(client.execute(STUBBORN))
            await found(sv, client, SessionStatus.STOPPING)
            await client.service.stop(0)
            assert children() == before
            assert await silent.code() is grpc.StatusCode.UNAVAILABLE
            await stubborn
        monkeypatch.setattr(server, "_LAST_WORDS_SECS", 0.1)
        async with sv.serving() as client:
            address = f"127.0.0.1:{client.service.port}"
            async with grpc.aio.insecure_channel(address, SMALL_WINDOW) as channel:
                deaf = await flood(sv, client, channel)
                await write(deaf, CANCEL)
                await sv.until(lambda: not client.service.executor.sessions)
                await client.service.stop(0)
                assert children() == before
                deaf.cancel()

    px.run(main())


def test_a_client_that_goes_while_its_nodes_do_not(px: Any, sv: Any) -> None:
    """They have as long to end as the client's settings say; that is, while there is a client."""

    async def main() -> None:
        async with sv.serving() as client:
            before, stream = children(), await client.ready(STUBBORN)
            await stream.close()
            await found(sv, client, SessionStatus.STOPPING)
            stream.call.cancel()
            await sv.until(lambda: children() == before)

    px.run(main())


@pytest.mark.parametrize("how", ["hangs up", "has a deadline"])
def test_a_client_that_goes_while_its_nodes_load(px: Any, sv: Any, how: str) -> None:
    """A node that hears nothing while it loads is not waited for, however long its client's settings let it."""

    async def main() -> None:
        manifest = sv.chain(("t-init", {"how": "stick"}), cleanup_grace_period_secs=1e300)
        async with sv.serving() as client:
            before = children()
            call = client.streaming.StreamPipeline(timeout=1.5 if how == "has a deadline" else None)
            await call.write(pb.StreamRequest(init=pb.StreamInit(manifest=manifest)))
            if how == "hangs up":
                while (await call.read()).init_progress.message != "reading weights":
                    pass
                call.cancel()
            else:
                assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            await sv.until(lambda: children() == before and not client.service.executor.sessions)

    px.run(main())


def test_a_stream_that_never_begins(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving({"init_timeout_secs": 0.05}) as client:
            call = raw_call(client)
            (raw,) = [raw async for raw in call]
            error = pb.StreamResponse.FromString(raw).error
            assert error.error_type == pb.ERROR_TYPE_RESOURCE_LIMIT
            assert error.message.endswith("not done within the 0.05 s that a stream may take to begin")

    px.run(main())


def test_clients_that_go(px: Any, sv: Any) -> None:
    """At any moment of a stream; nothing of it is left, and thousands of them leave nothing either."""

    async def main() -> None:
        async with sv.serving() as client:
            before = children()
            await client.result(sv.chain("t-echo"), {"n0": "warm"})
            held = descriptors()
            for processes in (0, 1, 2):
                stream = await client.open(sv.chain("t-echo", "t-echo"))
                await sv.until(lambda n=processes: len(children()) >= len(before) + n)
                stream.call.cancel()
                await sv.until(lambda: children() == before and not client.service.executor.sessions)
            stream = await client.ready(sv.chain("t-echo", "t-echo"))
            stream.call.cancel()
            await sv.until(lambda: children() == before)
            for number in range(2000):
                call = raw_call(client)
                if number % 20 == 0:
                    await call.write(INIT.SerializeToString())
                call.cancel()
            await client.result(sv.chain("t-echo"), {"n0": "still here"})
            await sv.until(lambda: not client.service.executor.sessions and children() == before)
            # What is left of the last calls goes with the loop's next turns.
            await sv.until(lambda: descriptors() <= held)
            await sv.until(lambda: len(asyncio.all_tasks()) < 20)

    px.run(main())


GARBAGE = {
    "HTTP/1.1": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no HTTP": bytes(range(256)) * 4,
    "HTTP/2 and no frames": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 500,
    "a frame of 16 MB": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0" + b"\xff\xff\xff\1\4\0\0\0\1",
}


def test_what_is_no_grpc(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            for data in GARBAGE.values():
                reader, writer = await asyncio.open_connection("127.0.0.1", client.service.port)
                writer.write(data)
                await reader.read()  # until the service hangs up
                writer.close()
            _, writer = await asyncio.open_connection("127.0.0.1", client.service.port)
            reset = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            writer.close()
            await client.result(sv.chain("t-echo"), {"n0": "still here"})

    px.run(main())


def test_half_of_a_character(px: Any, sv: Any) -> None:
    """What a node says cannot always be sent; it is sent all the same."""

    async def main() -> None:
        async with sv.serving() as client:
            error = await client.error(sv.chain("t-half"), {"n0": "x"})
            assert error.failing_node_id == "n0" and "half: \\ud83d" in error.message
            stream = await client.ready(sv.chain("t-half"))
            assert [said.message for said in stream.progress if said.message] == ["half: \\ud83d"]
            await stream.chunk("n0", "x")
            assert "half: \\ud83d" in (await stream.error()).message

    px.run(main())
