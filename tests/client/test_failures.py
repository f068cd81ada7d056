"""What goes wrong in a service is raised here as what it would have been here, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from remotemedia.client import PipelineClient
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import (
    AuthenticationError,
    InitializationTimeout,
    ManifestError,
    MultiprocessError,
    NodeInitializationError,
    NodeProcessError,
    PayloadError,
    PipelineError,
    ProcessCrashError,
    ResourceLimitError,
    ServiceUnavailableError,
    SessionStatus,
)

pytestmark = pytest.mark.usefixtures("leak_check")

text = RuntimeData.text


def manifest(*nodes: tuple[str, dict[str, Any]], **settings: Any) -> dict[str, Any]:
    return {
        "version": "v1",
        "metadata": {"multiprocess": settings},
        "nodes": [{"id": f"n{n}", "node_type": kind, "params": params} for n, (kind, params) in enumerate(nodes)],
    }


async def start(client: PipelineClient, pipeline: Any) -> None:
    async with client.session(pipeline):
        pass


async def execute(client: PipelineClient, pipeline: Any) -> None:
    await client.execute(pipeline, {"n0": text("x")})


LATE = manifest(("t-init", {"how": "wait"}), init_timeout_secs=0.5)
STARTS: dict[str, tuple[Any, type[MultiprocessError], str, str]] = {
    "unknown node type": (manifest(("t-nothing", {})), ManifestError, "Unknown node type 't-nothing'", "n0"),
    "wrong param": (manifest(("t-strict", {"facto": 1})), PipelineError, "there is no param 'facto'", "n0"),
    "a node that cannot load": (manifest(("t-init", {"how": "raise"})), NodeInitializationError, "no such weigh", "n0"),
    "a node that is late": (LATE, InitializationTimeout, "n0", "n0"),
}


@pytest.mark.parametrize("call", [start, execute])
@pytest.mark.parametrize("case", STARTS)
def test_it_does_not_start(px: Any, service: Any, case: str, call: Callable[..., Any]) -> None:
    pipeline, kind, message, node_id = STARTS[case]

    async def main() -> None:
        async with PipelineClient(service.target) as client:
            with pytest.raises(kind, match=message) as caught:
                await call(client, pipeline)
            assert caught.value.remote is not None
            assert caught.value.remote.failing_node_id == node_id
            assert not str(caught.value).startswith(("Validation error", "Node execution error"))
            assert service.ask("pids") == []

    px.run(main())


def test_wrong_here_already(px: Any, service: Any, tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text("version: v1\nnodes:\n- id: a\n  nod_type: t-echo\n")

    async def main() -> None:
        async with PipelineClient(service.target) as client:
            with pytest.raises(ManifestError, match=r"pipeline\.yaml:\d: .*nod_type"):
                client.session(file)
            with pytest.raises(PipelineError, match="node 'x' takes no input; the input nodes are: n0"):
                await client.execute(manifest(("t-echo", {})), {"x": text("x")})
            async with client.session(manifest(("t-echo", {}))) as session:
                with pytest.raises(PayloadError, match=r"max_message_bytes"):
                    await session.send("n0", RuntimeData.tensor(np.zeros(20_000_000, np.uint8)))
                await session.send("n0", text("nothing happened"))
                assert await session.receive("n0") is not None

    px.run(main())


@pytest.mark.parametrize("call", ["receive", "send", "interrupt", "end_input"])
def test_a_killed_node(px: Any, service: Any, call: str) -> None:
    async def main() -> None:
        async with PipelineClient(service.target) as client, client.session(px.chain("t-do", "t-do")) as session:
            await session.send("n0", text("wait"))
            assert await session.receive("n1") is not None
            os.kill(service.ask("pids")[1], signal.SIGKILL)
            with pytest.raises(ProcessCrashError, match=r"Process n1 crashed with code 137 \(killed by SIG") as caught:
                await pending(session, call)
            error = caught.value
            assert (error.node_id, error.exit_code, error.signal) == ("n1", 137, signal.SIGKILL)
            assert error.remote is not None and error.remote.error_type == "NODE_EXECUTION"
            assert session.status is SessionStatus.ERROR
            with pytest.raises(ProcessCrashError):  # and so does every later call
                await session.send("n0", text("x"))

    px.run(main())


async def pending(session: Any, call: str) -> None:
    """A call that is waiting, or is made over and over until it cannot be made."""
    if call == "receive":
        await session.receive("n1")
    elif call == "interrupt":
        while True:
            await session.interrupt()
    elif call == "end_input":
        await session.end_input()
        await session.receive("n1")
    else:
        while True:
            await session.send("n0", RuntimeData.tensor(np.zeros(1_000_000, np.uint8)))


def test_the_last_words_of_a_node(px: Any, service: Any) -> None:
    async def main() -> None:
        async with PipelineClient(service.target) as client, client.session(px.chain("t-do")) as session:
            await session.send("n0", text("complain-and-die os._exit(3)"))
            assert await session.receive("n0") is not None
            with pytest.raises(ProcessCrashError) as caught:
                await session.receive("n0")
            assert (caught.value.exit_code, caught.value.signal) == (3, None)
            assert caught.value.stderr_tail[-1] == "the last words"

    px.run(main())


def test_an_exception_ends_the_session(px: Any, service: Any) -> None:
    async def main() -> None:
        async with PipelineClient(service.target) as client:
            async with client.session(px.chain("t-do")) as session:
                await session.send("n0", text("raise too loud"))
                with pytest.raises(NodeProcessError) as caught:
                    async for _ in session.outputs():
                        pass
            assert (caught.value.node_id, caught.value.reason) == ("n0", "ValueError: too loud")
            assert "in process" in caught.value.remote_traceback
            with pytest.raises(NodeProcessError, match="too loud"):
                await client.execute(px.chain("t-do"), {"n0": text("raise too loud")})

    px.run(main())


@pytest.mark.parametrize("call", ["receive", "send", "interrupt"])
def test_the_service_is_killed(px: Any, start_service: Callable[..., Any], call: str) -> None:
    service = start_service()

    async def main() -> None:
        async with PipelineClient(service.target) as client:
            async with client.session(px.chain("t-echo", "t-do")) as session:
                await session.send("n0", text("wait"))
                assert await session.receive("n1") is not None
                waiting = asyncio.create_task(pending(session, call))
                await asyncio.sleep(0)
                service.kill()
                with pytest.raises(ServiceUnavailableError, match="no connection to the service at 127"):
                    await waiting
            with pytest.raises(ServiceUnavailableError):
                await client.version()

    px.run(main())


def test_a_sender_hears_of_it_though_nobody_reads(px: Any, start_service: Callable[..., Any]) -> None:
    service = start_service()

    async def main() -> None:
        async with PipelineClient(service.target) as client, client.session(px.chain("t-emit")) as session:
            await session.send("n0", text("a 100000"))
            await service.until("blocked", bool)
            service.kill()
            with pytest.raises(ServiceUnavailableError):
                await pending(session, "send")

    px.run(main())


def test_who_may_not_come_in(px: Any, start_service: Callable[..., Any]) -> None:
    service = start_service(tokens=["right-token"])

    async def main() -> None:
        for token in (None, "wrong"):
            async with PipelineClient(service.target, token=token) as client:
                assert (await client.version()).protocol == "v1"
                for call in (start, execute):
                    with pytest.raises(AuthenticationError) as caught:
                        await call(client, manifest(("t-echo", {})))
                    assert caught.value.code == "UNAUTHENTICATED"
        async with PipelineClient(service.target, token="right-token") as client:
            assert "right-token" not in repr(client)
            await start(client, manifest(("t-echo", {})))

    px.run(main())


def test_too_many(px: Any, start_service: Callable[..., Any]) -> None:
    service = start_service(max_sessions=1)

    async def main() -> None:
        async with PipelineClient(service.target) as client, client.session(px.chain("t-echo")):
            for call in (start, execute):
                with pytest.raises(ResourceLimitError):
                    await call(client, manifest(("t-echo", {})))

    px.run(main())


def test_not_in_the_time_given(px: Any, service: Any) -> None:
    async def main() -> None:
        async with PipelineClient(service.target) as client:
            with pytest.raises(TimeoutError, match="did not answer in the time given"):
                await client.execute(px.chain("t-do"), {"n0": text("wait")}, timeout_secs=1.5)
            await service.until("pids", lambda pids: pids == [])

    px.run(main())


def test_what_on_progress_raises(px: Any, service: Any) -> None:
    def on_progress(progress: Any) -> None:
        raise RuntimeError("no thanks")

    async def main() -> None:
        async with PipelineClient(service.target) as client:
            with pytest.raises(RuntimeError, match="no thanks"):
                async with client.session(px.chain("t-echo"), on_progress=on_progress):
                    pass
            await service.until("pids", lambda pids: pids == [])

    px.run(main())
