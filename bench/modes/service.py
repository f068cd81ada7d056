"""What does it cost to have a pipeline behind the gRPC service, instead of in the program itself?

One node that passes on its input gets chunks of audio: from a session of this process, and from one in a service, a
process of its own on the same machine. Beside them the same bytes go to a bare gRPC server and back, which is what
gRPC takes for itself. Round trips are one after the other; throughput keeps a number of chunks on the way.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bench.results import BARE, LOCAL
from bench.run import Row, Run, figures
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import Pipeline, Session

if TYPE_CHECKING:
    from remotemedia.client import RemoteSession

MODE = "service"
SIZE = 192_000
ON_THE_WAY = 16
SERVICE = "session behind the service"
_NODE = "echo"
_RATE_HZ = 48_000


@dataclass
class _Player:
    """Sends chunks and gets them back, in order."""

    name: str
    send: Callable[[], Awaitable[object]]
    receive: Callable[[], Awaitable[int]]
    trips_ns: list[int] = field(default_factory=list)
    chunks_per_s: list[float] = field(default_factory=list)

    async def trips(self, secs: float) -> None:
        end_ns = time.monotonic_ns() + round(secs * 1e9)
        while (since_ns := time.monotonic_ns()) < end_ns:
            await self.send()
            self._check(await self.receive())
            self.trips_ns.append(time.monotonic_ns() - since_ns)

    async def flood(self, secs: float) -> None:
        room, began = asyncio.Semaphore(ON_THE_WAY), time.monotonic()
        sent = 0

        async def send_all() -> None:
            nonlocal sent
            while time.monotonic() - began < secs:
                await room.acquire()
                await self.send()
                sent += 1

        sending, received = asyncio.create_task(send_all()), 0
        while not (sending.done() and received == sent):
            if received < sent:
                self._check(await self.receive())
                received += 1
                room.release()
            else:
                await asyncio.sleep(0)
        await sending
        self.chunks_per_s.append(received / (time.monotonic() - began))

    def _check(self, size: int) -> None:
        if size < SIZE:
            raise RuntimeError(f"{self.name}: {size} bytes came back, not {SIZE}")

    def row(self) -> Row:
        return {"chunks_per_s": float(np.median(self.chunks_per_s)), **figures(self.trips_ns)}


def measure(run: Run) -> None:
    """Three rows: round trips in nanoseconds, and chunks per second."""
    if run.has("remotemedia"):
        try:
            asyncio.run(_measure(run))
        except ImportError as error:
            run.failed("remotemedia", MODE, error)


async def _measure(run: Run) -> None:
    secs = 0.2 if run.quick else 1.0
    async with AsyncExitStack() as stack:
        players = [await stack.enter_async_context(open_()) for open_ in (_local, _bare, _service)]
        for player in players:
            await player.trips(secs / 2)
            player.trips_ns.clear()
        for turn in range(run.turns):
            for player in players:
                run.say(f"{MODE}, turn {turn + 1} of {run.turns}: {player.name}")
                await player.trips(secs)
                await player.flood(secs)
        for player in players:
            run.add(MODE, SIZE, None, player.name, player.row(), family="remotemedia")


def _player(name: str, session: Session | RemoteSession) -> _Player:
    chunk = RuntimeData.audio(np.zeros(SIZE // 4, np.float32), _RATE_HZ)

    async def receive() -> int:
        data = await session.receive(_NODE)
        assert data is not None
        return data.size

    return _Player(name, lambda: session.send(_NODE, chunk), receive)


def _pipeline() -> Pipeline:
    from bench import light_node  # noqa: F401  registers the node

    return Pipeline().add_node("bench-light", _NODE)


@asynccontextmanager
async def _local() -> AsyncIterator[_Player]:
    async with Session("bench-local", _pipeline()) as session:
        yield _player(LOCAL, session)


@asynccontextmanager
async def _service() -> AsyncIterator[_Player]:
    from remotemedia.client import PipelineClient

    async with (
        _served("service") as address,
        PipelineClient(address) as client,
        client.session(_pipeline()) as session,
    ):
        yield _player(SERVICE, session)


@asynccontextmanager
async def _bare() -> AsyncIterator[_Player]:
    import grpc.aio

    chunk = bytes(SIZE)
    async with _served("bare") as address, grpc.aio.insecure_channel(address) as channel:
        call = channel.stream_stream("/bench.Echo/Echo")()

        async def receive() -> int:
            return len(await call.read())

        yield _Player(BARE, lambda: call.write(chunk), receive)
        call.cancel()


@asynccontextmanager
async def _served(what: str) -> AsyncIterator[str]:
    """The address of a server in a process of its own, which ends with its stdin."""
    with subprocess.Popen(  # noqa: ASYNC220  nothing else runs meanwhile
        [sys.executable, "-m", "bench.modes.service", what],
        env=os.environ | {"GRPC_VERBOSITY": "NONE"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            port = await asyncio.to_thread(process.stdout.readline)
            if not port:
                raise RuntimeError(f"the server {what!r} ended with {process.wait()}")
            yield f"localhost:{port.strip()}"
        finally:
            process.stdin.close()


async def _serve(what: str) -> None:
    import grpc.aio

    from remotemedia.service.config import ServiceConfig
    from remotemedia.service.server import Service

    async with AsyncExitStack() as stack:
        if what == "service":
            from bench import light_node  # noqa: F401  registers the node

            port = (await stack.enter_async_context(Service(ServiceConfig(port=0, drain_secs=0)))).port
        else:
            server = grpc.aio.server()
            methods = {"Echo": grpc.stream_stream_rpc_method_handler(_echo)}
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", methods),))
            port = server.add_insecure_port("localhost:0")
            await server.start()
            stack.push_async_callback(server.stop, None)
        print(port, flush=True)
        await asyncio.to_thread(os.read, 0, 1)


async def _echo(_: object, context: object) -> None:
    import grpc.aio

    while (raw := await context.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
        await context.write(raw)  # type: ignore[attr-defined]


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
