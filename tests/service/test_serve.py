"""``remotemedia serve`` as a process: it says where it listens, drains, ends at once if told twice, leaves nothing."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("grpc")

import grpc.aio
import remotemedia_v1_pb2 as pb
import remotemedia_v1_pb2_grpc as pb_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

pytestmark = pytest.mark.usefixtures("leak_check")


def exist(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_where_it_listens(start: Any, serving: Any) -> None:
    async def main() -> None:
        server = start()
        address = server.wait_said("listening at 127.0.0.1:").split()[-1]
        async with grpc.aio.insecure_channel(address) as channel:
            version = await pb_grpc.PipelineExecutionServiceStub(channel).GetVersion(pb.VersionRequest())
            assert "serve-echo" in version.version_info.supported_node_types
        server.process.send_signal(signal.SIGINT)
        assert server.end() == (0, f"listening at {address}", "")

    asyncio.run(main())


def test_node_types_of_ones_own_as_documented(start: Any, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "service.md").read_text()
    nodes, program, *_ = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "my_nodes.py").write_text(nodes)
    server = start("--nodes", "my_nodes.py")
    address = server.wait_said("listening at 127.0.0.1:").split()[-1]
    command = [sys.executable, "-c", program.replace("localhost:50051", address)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "HELLO\n", "")


def test_for_programs(start: Any, tmp_path: Path) -> None:
    (tmp_path / "service.toml").write_text("[service]\nmetrics_port = 0\nrequire_auth = false\n")
    options = ("--config", "service.toml", "--set", "require_auth=true")
    server = start("--json", *options, env={"GRPC_AUTH_TOKENS": "secret"})
    facts = json.loads(server.wait_said("address"))
    metrics = facts.pop("metrics")
    with urllib.request.urlopen(metrics) as answer:
        assert b"remotemedia_service_sessions 0.0" in answer.read()
    port = facts["port"]
    assert facts == {
        "address": f"127.0.0.1:{port}",
        "host": "127.0.0.1",
        "port": port,
        "pid": server.process.pid,
        "tls": False,
        "tokens": True,
    }
    server.process.terminate()
    code, out, err = server.end()
    assert (code, len(out.splitlines()), err) == (0, 1, "")


def test_sigterm_lets_a_stream_finish(start: Any, serving: Any) -> None:
    async def main() -> None:
        server = start("--json")
        async with grpc.aio.insecure_channel(server.address()) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            watch = health.Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            client = serving.Client(channel)
            await client.open()
            nodes = server.nodes()
            assert len(nodes) == 1
            server.process.terminate()
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            server.wait_said("stopping: 1 session may take 30 s to finish")
            # Nothing is written to it: grpc.aio calls a write that comes after the refusal an internal error.
            late = serving.Client(channel)
            assert await late.call.code() is grpc.StatusCode.UNAVAILABLE
            assert await late.call.details() == "the service is stopping"
            assert await client.echo("late") == "late"
            assert await client.finish() == "OK"
        code, _, err = server.end()
        assert code == 0
        assert not exist(nodes)
        complaint, *calls = err.splitlines()
        assert complaint.startswith("remotemedia: stopping")
        statuses = [dict(word.split("=") for word in line.split() if "=" in word)["status"] for line in calls]
        assert statuses == ["UNAVAILABLE", "OK"]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("options", "signals", "code"),
    [
        (["--drain-secs", "0"], [signal.SIGTERM], 0),
        (["--drain-secs", "3600"], [signal.SIGTERM, signal.SIGTERM], 143),
        (["--drain-secs", "3600"], [signal.SIGTERM, signal.SIGINT], 130),
    ],
)
def test_a_stream_that_does_not_finish_is_ended(
    start: Any, serving: Any, options: list[str], signals: list[int], code: int
) -> None:
    async def main() -> None:
        server = start("--json", *options)
        async with grpc.aio.insecure_channel(server.address()) as channel:
            client = serving.Client(channel)
            await client.open()
            nodes = server.nodes()
            for number in signals:
                server.process.send_signal(number)
                server.wait_said(f"stopping: 1 session may take {options[1]} s to finish")
            assert await client.call.code() is grpc.StatusCode.UNAVAILABLE
            assert await client.call.details() == "the service is stopping"
        assert server.end()[0] == code
        assert not exist(nodes)

    asyncio.run(main())


def test_one_warning_where_strangers_may_come_in(start: Any) -> None:
    server = start("--host", "0.0.0.0")
    server.wait_said("listening at 0.0.0.0:")
    server.process.terminate()
    code, _, err = server.end()
    (line,) = err.splitlines()
    assert code == 0
    assert "WARNING remotemedia.service: anyone reaching 0.0.0.0 may run pipelines" in line


def test_logs(start: Any, serving: Any) -> None:
    pytest.importorskip("pythonjsonlogger")

    async def main() -> None:
        server = start("--json", "--json-log", "--verbose")
        async with grpc.aio.insecure_channel(server.address()) as channel:
            client = serving.Client(channel)
            await client.open()
            assert await client.echo("hello") == "hello"
            server.wait_said("echo: hello")  # while the session runs
            assert await client.finish() == "OK"
        server.process.terminate()
        code, _, err = server.end()
        records = [json.loads(line) for line in err.splitlines()]
        (call,) = [record for record in records if record["logger"] == "remotemedia.access"]
        assert (code, call["status"], call["method"]) == (0, "OK", "StreamPipeline")
        (said,) = [record for record in records if record["message"] == "echo: hello"]
        assert (said["session_id"], said["node_id"]) == (call["session_id"], "a")

    asyncio.run(main())
