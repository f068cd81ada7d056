"""A service in a process of its own, and a client's loop to talk to it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("grpc")

SERVICE = """
import asyncio, ctypes, json, sys
ctypes.CDLL(None).prctl(1, 9)  # dies with whoever started it
{path}
import heard_nodes, turn_nodes
from remotemedia.service.config import ServiceConfig
from remotemedia.service.server import Service

def fact(service, name):
    sessions = service.executor.sessions.values()
    return {{
        "pids": lambda: [pid for session in sessions for pid in session.pids.values()],
        "blocked": lambda: any(c.blocked_now_secs > 0 for session in sessions for c in session.channel_stats()),
        "handled": lambda: sum(n.messages for session in sessions for n in session.node_stats()),
    }}[name]()

async def main():
    async with Service(ServiceConfig(port=0, **json.loads(sys.argv[1]))) as service:
        print(service.port, flush=True)
        while name := (await asyncio.to_thread(sys.stdin.readline)).strip():
            print(json.dumps(fact(service, name)), flush=True)

asyncio.run(main())
"""


class ServiceProcess:
    """A Service that knows the node types of the tests of sessions."""

    def __init__(self, path_lines: str, **settings: Any) -> None:
        command = [sys.executable, "-c", SERVICE.format(path=path_lines), json.dumps(settings)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.target = f"127.0.0.1:{int(self.process.stdout.readline())}"

    def ask(self, fact: str) -> Any:
        """``"pids"`` of all nodes, whether a channel is ``"blocked"``, how many messages were ``"handled"``."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{fact}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    async def until(self, fact: str, holds: Callable[[Any], bool]) -> None:
        while not holds(await asyncio.to_thread(self.ask, fact)):
            await asyncio.sleep(0.005)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def service(px: ModuleType) -> Iterator[ServiceProcess]:
    """One for all tests of a file."""
    process = ServiceProcess(px.PATH_LINES)
    yield process
    process.close()


@pytest.fixture
def start_service(px: ModuleType) -> Iterator[Callable[..., ServiceProcess]]:
    """``start_service(**settings)``: one of the test's own, with settings of ServiceConfig."""
    started: list[ServiceProcess] = []

    def start(**settings: Any) -> ServiceProcess:
        started.append(ServiceProcess(px.PATH_LINES, **settings))
        return started[-1]

    yield start
    for process in started:
        process.close()


@pytest.fixture(scope="session", autouse=True)
def _grpc(grpc_stays: None) -> None:
    """All tests here use it."""


@pytest.fixture(scope="session")
def gather() -> Callable[[Any], Awaitable[list[Any]]]:
    """``await gather(session)``: payloads of all that is still to come."""

    async def take(session: Any) -> list[Any]:
        return [data.payload async for _, data in session.outputs()]

    return take
