"""What tests of the service share; reached through the fixture ``sv``."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import remotemedia_v1_pb2 as pb
import remotemedia_v1_pb2_grpc as pb_grpc

from remotemedia.core.multiprocessing import MultiprocessConfig, NodeStatus
from remotemedia.service.config import ServiceConfig
from remotemedia.service.server import Service

TESTS = Path(__file__).parents[1]
UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))

Node = str | tuple[str, dict[str, Any]]


def text(value: str, **fields: Any) -> pb.DataBuffer:
    return pb.DataBuffer(text=pb.TextBuffer(text_data=value.encode()), **fields)


def binary(value: bytes) -> pb.DataBuffer:
    return pb.DataBuffer(binary=pb.BinaryBuffer(data=value))


def said(buffer: pb.DataBuffer) -> str:
    """The text in a buffer."""
    assert buffer.WhichOneof("data_type") == "text", buffer
    return buffer.text.text_data.decode()


def node(
    node_id: str, node_type: str = "t-echo", params: dict[str, Any] | None = None, **fields: Any
) -> pb.NodeManifest:
    if params is not None:
        fields["params_json"] = json.dumps(params)
    return pb.NodeManifest(id=node_id, node_type=node_type, **fields)


def graph(nodes: Iterable[pb.NodeManifest], *pairs: str, **multiprocess: Any) -> pb.PipelineManifest:
    """``pairs`` are such as ``"a>b"``; ``multiprocess`` are settings."""
    made = pb.PipelineManifest(version="v1", nodes=nodes, metadata={"name": "test"})
    for pair in pairs:
        source, target = pair.split(">")
        made.connections.append(pb.Connection(**{"from": source, "to": target}))
    if multiprocess:
        made.metadata.multiprocess.update(multiprocess)
    return made


def chain(*nodes: Node, **multiprocess: Any) -> pb.PipelineManifest:
    """Nodes in a row: n0, n1, ..."""
    found = [(each, None) if isinstance(each, str) else each for each in nodes]
    made = [node(f"n{number}", node_type, params) for number, (node_type, params) in enumerate(found)]
    return graph(made, *(f"n{number}>n{number + 1}" for number in range(len(made) - 1)), **multiprocess)


class Stream:
    """One call of StreamPipeline."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.came: list[pb.StreamResponse] = []
        """Every response, but for progress; the test clears it as it likes."""
        self.progress: list[pb.InitProgress] = []

    async def send(self, **member: Any) -> None:
        await self.call.write(pb.StreamRequest(**member))

    async def chunk(self, node_id: str, buffer: pb.DataBuffer | str, sequence: int = 0, **fields: Any) -> None:
        buffer = text(buffer) if isinstance(buffer, str) else buffer
        await self.send(data_chunk=pb.DataChunk(node_id=node_id, buffer=buffer, sequence=sequence, **fields))

    async def command(self, command: int, **fields: Any) -> None:
        await self.send(control=pb.StreamControl(command=command, **fields))

    async def close(self) -> None:
        """CLOSE and, at once, the end of the requests, as clients do."""
        await self.command(pb.StreamControl.COMMAND_CLOSE)
        await self.call.done_writing()

    async def read(self) -> pb.StreamResponse | None:
        """The next response, but for progress; None at the end."""
        while True:
            response = await self.call.read()
            if response is grpc.aio.EOF:
                return None
            if response.WhichOneof("response") != "init_progress":
                self.came.append(response)
                return response
            self.progress.append(response.init_progress)

    async def read_a(self, member: str) -> Any:
        """The next response, which must be a ``member``."""
        response = await self.read()
        assert response is not None and response.WhichOneof("response") == member, response
        return getattr(response, member)

    async def result(self) -> tuple[str, str]:
        """The next response, which must be a result of text: its node, and the text."""
        ((node_id, buffer),) = (await self.read_a("result")).data_outputs.items()
        return node_id, said(buffer)

    async def finish(self) -> list[pb.StreamResponse]:
        """All responses, also those read before, once the call has ended, with OK."""
        while await self.read() is not None:
            pass
        assert await self.call.code() is grpc.StatusCode.OK, await self.call.details()
        return self.came

    async def results(self) -> list[tuple[int, str, str]]:
        """Of the whole call: number, node and text of each result."""
        found = [each.result for each in await self.finish() if each.WhichOneof("response") == "result"]
        return [(each.sequence, *_named(each)) for each in found]

    async def error(self) -> pb.ErrorResponse:
        """The last response, which must be an error, with OK behind it."""
        last = (await self.finish())[-1]
        assert last.WhichOneof("response") == "error", last
        return last.error


def _named(result: pb.ChunkResult) -> tuple[str, str]:
    ((node_id, buffer),) = result.data_outputs.items()
    return node_id, said(buffer)


class Client:
    """A client of a service in the same event loop."""

    def __init__(self, service: Service, channel: grpc.aio.Channel) -> None:
        self.service = service
        self.channel = channel
        self.execution = pb_grpc.PipelineExecutionServiceStub(channel)
        self.streaming = pb_grpc.StreamingPipelineServiceStub(channel)

    async def execute(
        self, manifest: pb.PipelineManifest, inputs: dict[str, pb.DataBuffer | str] | None = None, **fields: Any
    ) -> pb.ExecuteResponse:
        buffers = {name: text(each) if isinstance(each, str) else each for name, each in (inputs or {}).items()}
        return await self.execution.ExecutePipeline(pb.ExecuteRequest(manifest=manifest, data_inputs=buffers, **fields))

    async def result(self, *args: Any, **fields: Any) -> pb.ExecutionResult:
        """As ``execute``, of a call that succeeds."""
        response = await self.execute(*args, **fields)
        assert response.WhichOneof("outcome") == "result", response
        assert response.status == pb.EXECUTION_STATUS_SUCCESS
        assert response.result.metrics.wall_time_ms > 0
        return response.result

    async def error(self, *args: Any, **fields: Any) -> pb.ErrorResponse:
        """As ``execute``, of a call that fails in band."""
        response = await self.execute(*args, **fields)
        assert response.WhichOneof("outcome") == "error", response
        assert response.status == pb.EXECUTION_STATUS_FAILED
        return response.error

    async def open(self, manifest: pb.PipelineManifest, **fields: Any) -> Stream:
        """A stream whose first message is sent."""
        stream = Stream(self.streaming.StreamPipeline())
        await stream.send(init=pb.StreamInit(manifest=manifest, **fields))
        return stream

    async def ready(self, manifest: pb.PipelineManifest, **fields: Any) -> Stream:
        """A stream that is ready."""
        stream = await self.open(manifest, **fields)
        await stream.read_a("ready")
        return stream

    def pids(self) -> list[int]:
        """The node processes of all sessions."""
        return [pid for session in self.service.executor.sessions.values() for pid in session.pids.values()]

    def busy(self, node_id: str) -> bool:
        """Whether such a node of any session is in ``process()``."""
        reports = (session.get_status().nodes.get(node_id) for session in self.service.executor.sessions.values())
        return any(report and report.state is NodeStatus.PROCESSING for report in reports)


@asynccontextmanager
async def serving(settings: dict[str, Any] | None = None, **config: Any) -> AsyncIterator[Client]:
    """A service at a free port, and a client of it."""
    service = Service(ServiceConfig(port=0, **config), MultiprocessConfig(**(settings or {})))
    async with service, grpc.aio.insecure_channel(f"127.0.0.1:{service.port}", UNLIMITED) as channel:
        yield Client(service, channel)


async def stalled(service: Service) -> None:
    """Returns once a node waits for the service, which waits for a client that does not read."""

    def is_stalled() -> bool:
        stats = [each for session in service.executor.sessions.values() for each in session.channel_stats()]
        return any(each.subscriber == "session" and each.blocked_now_secs > 0.3 for each in stats)

    await until(is_stalled)


async def until(condition: Callable[[], Any]) -> None:
    """Returns once the condition holds; the watchdog knows how long is too long."""
    while not condition():
        await asyncio.sleep(0.002)


def lives(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


PROGRAM = f"""
import asyncio
sys.path[:0] = {[str(TESTS / "session"), str(TESTS / "service")]!r}
import service_nodes, service_support, session_nodes
from remotemedia.service.config import ServiceConfig
from remotemedia.service.server import Service

async def main():
    async with Service(ServiceConfig(port=0)) as service:
        say(service.port)
        while await asyncio.to_thread(hear) == ["tell when stalled"]:
            await service_support.stalled(service)
            say("stalled")

asyncio.run(main())
"""
"""A service in a process of its own, for ``child_python``: says its port, and ends when it is told nothing more."""


def in_programs(monkeypatch: Any) -> None:
    """Lets programs that a test starts find the generated modules."""
    paths = [str(TESTS.parent), str(Path(pb.__file__).parent)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
