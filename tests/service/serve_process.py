"""``remotemedia serve`` as a process, and a client of it; reached through the fixture ``serving``."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc.aio
import remotemedia_v1_pb2 as pb
import remotemedia_v1_pb2_grpc as pb_grpc

NODES = Path(__file__).with_name("serve_nodes.py")
MANIFEST = pb.PipelineManifest(version="v1", nodes=[pb.NodeManifest(id="a", node_type="serve-echo")])
LITTERING = pb.PipelineManifest(version="v1", nodes=[pb.NodeManifest(id="a", node_type="serve-litter")])


class Serving:
    """A running command, under another one if that is named. Its streams are read all the time, so that it never waits
    for us."""

    def __init__(
        self, folder: Path, *options: str, env: dict[str, str] | None = None, under: tuple[str, ...] = ()
    ) -> None:
        variables = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}
        self.process = subprocess.Popen(
            [
                *under,
                sys.executable,
                "-W",
                "default",
                "-m",
                "remotemedia",
                "serve",
                "--nodes",
                str(NODES),
                "--port",
                "0",
                *options,
            ],
            cwd=folder,
            env={**variables, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.out: list[str] = []
        self.err: list[str] = []
        self._news: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.out)),
            threading.Thread(target=self._read, args=(self.process.stderr, self.err)),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Any, lines: list[str]) -> None:
        with stream:
            for line in stream:
                lines.append(line.rstrip("\n"))
                self._news.put(line)
        self._news.put(None)

    def wait_said(self, text: str) -> str:
        """The first line with this text, on either stream, once it is there."""
        ended = 0
        while True:
            for line in [*self.out, *self.err]:
                if text in line:
                    return line
            assert ended < 2, f"it never said {text!r}, but:\n" + "\n".join([*self.out, *self.err])
            ended += self._news.get() is None

    def address(self) -> str:
        """Where it listens, once it does; for a command with ``--json``."""
        return str(json.loads(self.wait_said('"address"'))["address"])

    def nodes(self) -> list[int]:
        """Its node processes."""
        return [
            int(pid) for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        ]

    def end(self) -> tuple[int, str, str]:
        """Exit code, stdout and stderr, once it has ended by itself."""
        code = self.process.wait()
        for reader in self._readers:
            reader.join()
        return code, "\n".join(self.out), "\n".join(self.err)

    def close(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        self.end()


class Client:
    """A stream to a service."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.call = pb_grpc.StreamingPipelineServiceStub(channel).StreamPipeline()

    async def open(self, manifest: pb.PipelineManifest = MANIFEST) -> None:
        """A session whose nodes are ready."""
        await self.call.write(pb.StreamRequest(init=pb.StreamInit(manifest=manifest)))
        await self.until("ready")

    async def until(self, kind: str) -> pb.StreamResponse:
        """The next response of this kind."""
        while True:
            response = await self.call.read()
            assert response is not grpc.aio.EOF, f"the stream ended without {kind}"
            if response.WhichOneof("response") == kind:
                return response

    async def echo(self, text: str) -> str:
        """What comes back."""
        buffer = pb.DataBuffer(text=pb.TextBuffer(text_data=text.encode()))
        await self.call.write(pb.StreamRequest(data_chunk=pb.DataChunk(node_id="a", buffer=buffer)))
        return (await self.until("result")).result.data_outputs["a"].text.text_data.decode()

    async def finish(self) -> str:
        """Ends the input, and reads to the end; name of the status."""
        await self.call.write(pb.StreamRequest(control=pb.StreamControl(command=pb.StreamControl.COMMAND_CLOSE)))
        await self.until("closed")
        assert await self.call.read() is grpc.aio.EOF
        return (await self.call.code()).name
