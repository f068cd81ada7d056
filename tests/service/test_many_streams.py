"""Many streams at one time, and what the end of one client or node means for the others: nothing."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
import pytest
import remotemedia_v1_pb2 as pb

pytestmark = pytest.mark.usefixtures("leak_check")

MANY = 40
MB = 1_000_000


async def use(client: Any, sv: Any, name: str, begun: Callable[[], None], go_on: asyncio.Event) -> list[Any]:
    """A whole stream of one node: a chunk there and back, then, when all are there, nine more."""
    stream = await client.open(sv.chain("t-tag", init_timeout_secs=100))
    await stream.chunk("n0", f"{name} 1", 1)
    await stream.read_a("ready")
    await stream.read_a("result")
    begun()
    await go_on.wait()
    for number in range(2, 11):
        await stream.chunk("n0", f"{name} {number}", number)
    await stream.close()
    return await stream.results()


@pytest.mark.watchdog(300)
def test_forty_streams_at_one_time(px: Any, sv: Any) -> None:
    """All have their own outputs, in order, and no others; the next one is told that there is no more room."""

    async def main() -> None:
        async with sv.serving(max_sessions=MANY) as client:
            count, all_there = 0, asyncio.Event()

            def begun() -> None:
                nonlocal count
                count += 1
                if count == MANY:
                    all_there.set()

            go_on = asyncio.Event()
            names = [f"stream {number}" for number in range(MANY)]
            async with asyncio.TaskGroup() as group:
                streams = {name: group.create_task(use(client, sv, name, begun, go_on)) for name in names}
                await all_there.wait()
                assert len(set(client.pids())) == MANY
                over = await client.open(sv.chain("t-tag"))
                with pytest.raises(grpc.aio.AioRpcError) as raised:
                    await over.read()
                assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                go_on.set()
            for name, task in streams.items():
                assert task.result() == [(n, "n0", f"{name} {n}>n0.input") for n in range(1, 11)]
            assert client.pids() == []
            await client.result(sv.chain("t-tag"), {"n0": "the next"})

    px.run(main(), patience_secs=280)


def test_the_crash_of_one_is_its_own(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            count, go_on = 0, asyncio.Event()

            def begun() -> None:
                nonlocal count
                count += 1

            async with asyncio.TaskGroup() as group:
                others = [group.create_task(use(client, sv, f"{each}", begun, go_on)) for each in range(4)]
                await sv.until(lambda: count == 4)
                known = set(client.pids())
                hit = await client.ready(sv.chain("t-tag"))
                (pid,) = set(client.pids()) - known
                os.kill(pid, signal.SIGKILL)
                error = await hit.error()
                assert error.error_type == pb.ERROR_TYPE_NODE_EXECUTION and error.failing_node_id == "n0"
                assert "killed by SIGKILL" in error.message
                assert set(client.pids()) == known
                go_on.set()
            for name, task in enumerate(others):
                assert task.result() == [(n, "n0", f"{name} {n}>n0.input") for n in range(1, 11)]

    px.run(main())


def test_what_has_ended_leaves_nothing_in_the_service(px: Any, sv: Any) -> None:
    """However it ended, and while the service goes on."""

    async def each_way(client: Any) -> None:
        await client.result(sv.chain("t-echo"), {"n0": sv.binary(bytes(MB))})
        await client.error(sv.chain("t-echo", "t-do"), {"n0": "raise it"})
        await client.error(sv.chain("t-do"), {"n0": "die SIGKILL"})
        await client.error(sv.graph([]))
        for end in ("close", "cancel", "error", "crash", "gone", "gone unread"):
            stream = await client.ready(sv.chain("t-flood" if end == "gone unread" else "t-do"))
            if end == "gone unread":
                await stream.chunk("n0", str(MB))
                await sv.stalled(client.service)
            else:
                await stream.chunk("n0", sv.binary(bytes(MB)))
                await stream.read_a("result")
            if end.startswith("gone"):
                stream.call.cancel()
                await sv.until(lambda: not client.service.executor.sessions)
                continue
            if end == "cancel":
                await stream.command(pb.StreamControl.COMMAND_CANCEL)
            elif end == "close":
                await stream.close()
            else:
                await stream.chunk("n0", "raise it" if end == "error" else "die SIGKILL")
            await stream.finish()

    async def main() -> None:
        async with sv.serving() as client:
            await each_way(client)
            # What a call held that was cut off goes with its last callbacks.
            await sv.until(lambda: px.held()[1] == 0)
            before = px.held()
            await each_way(client)
            await sv.until(lambda: px.held() == before)
            assert not client.service.executor.sessions

    px.run(main())


CLIENT = """
import grpc, queue
import remotemedia_v1_pb2 as pb, remotemedia_v1_pb2_grpc as pb_grpc

port, raw = sys.argv[1:]
requests = queue.SimpleQueue()
requests.put(pb.StreamRequest(init=pb.StreamInit(manifest=pb.PipelineManifest.FromString(bytes.fromhex(raw)))))
channel = grpc.insecure_channel(f"127.0.0.1:{port}")
for response in pb_grpc.StreamingPipelineServiceStub(channel).StreamPipeline(iter(requests.get, None)):
    if response.WhichOneof("response") == "ready":
        buffer = pb.DataBuffer(text=pb.TextBuffer(text_data=b"hi"))
        requests.put(pb.StreamRequest(data_chunk=pb.DataChunk(node_id="n0", buffer=buffer)))
    elif response.WhichOneof("response") == "result":
        say("working")
"""


def test_a_client_that_is_killed_takes_its_processes_along(
    px: Any, sv: Any, child_python: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sv.in_programs(monkeypatch)

    async def main() -> None:
        async with sv.serving() as client:
            other = await client.ready(sv.chain("t-tag"))
            known = set(client.pids())
            manifest = sv.chain("t-tag", "t-tag", "t-tag").SerializeToString().hex()
            child = child_python(CLIENT, str(client.service.port), manifest)
            assert await asyncio.to_thread(child.hear) == ["working"]
            pids = set(client.pids()) - known
            assert len(pids) == 3
            child.kill()
            await sv.until(lambda: set(client.pids()) == known)
            await sv.until(lambda: not any(sv.lives(pid) for pid in pids))
            await other.chunk("n0", "still here", 1)
            assert await other.result() == ("n0", "still here>n0.input")
            await other.close()
            await other.finish()

    px.run(main())
