"""RemotePipelineNode: a local pipeline, a part of which runs in a service."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import (
    MultiprocessConfig,
    NodeInitializationError,
    NodeProcessError,
    Pipeline,
    PipelineError,
    ProcessCrashError,
    Session,
)

pytestmark = pytest.mark.usefixtures("leak_check")

text = RuntimeData.text


def manifest(*nodes: str | tuple[str, dict[str, Any]], px: Any) -> dict[str, Any]:
    found: dict[str, Any] = px.chain(*nodes).to_manifest()
    return found


def local(px: Any, service: Any, *nodes: Any, before: Any = "t-echo", after: Any = "t-echo", **params: Any) -> Pipeline:
    """A node, the remote nodes as one, and another node: n0, n1, n2."""
    pipeline: Pipeline = px.chain(
        before, ("RemotePipelineNode", {"target": service.target, "manifest": manifest(*nodes, px=px), **params}), after
    )
    return pipeline


def session(pipeline: Pipeline, **config: Any) -> Session:
    return Session("s", pipeline, MultiprocessConfig(**config))


MESSAGES = [
    RuntimeData.audio(np.arange(12, dtype=np.float32), 16_000),
    RuntimeData.video(np.arange(36, dtype=np.uint8).reshape(3, 4, 3), "rgb", 25.0),
    RuntimeData.tensor(np.arange(12.0).reshape(3, 4), metadata={"layer": 3}),
    text("zwölf \U0001f94a", metadata={"speaker": "ann"}),
    text(""),
]


def test_data_go_through_and_back(px: Any, service: Any) -> None:
    async def main() -> None:
        async with session(local(px, service, "t-echo", "t-echo")) as running:
            for number, data in enumerate(MESSAGES):
                data.origin = 100 + number
                await running.send("n0", data)
            await running.end_input()
            came = [data async for _, data in running.outputs()]
        assert len(came) == len(MESSAGES)
        for sent, got in zip(MESSAGES, came, strict=True):
            assert (got.session_id, got.origin) == ("s", sent.origin)
            got.session_id = sent.session_id
            assert got == sent
        assert service.ask("pids") == []

    px.run(main())


def test_outputs_come_when_they_are_made(px: Any, service: Any) -> None:
    """Not with the next input."""

    async def main() -> None:
        async with session(local(px, service, "t-emit")) as running:
            await running.send("n0", text("a 20"))
            for number in range(20):
                data = await running.receive("n2")
                assert data is not None and data.payload == f"a.{number}"

    px.run(main())


def test_the_end_of_the_stream(px: Any, service: Any) -> None:
    async def main() -> None:
        says_end = ("t-tag", {"says_end": True})
        async with session(local(px, service, says_end, after=says_end)) as running:
            for word in ("a", "b"):
                await running.send("n0", text(word))
            await running.end_input()
            assert await px.received(running, "n2") == [
                *(f"{word}>n0.input>n2.input" for word in ("a", "b")),
                "end>n0>n2.input",
                "end>n2",
            ]

    px.run(main())


def test_ports_by_name(px: Any, service: Any) -> None:
    pipeline = Pipeline().add_node("t-tag", "left").add_node("t-tag", "rest")
    there = manifest(("t-ports", {"ports": ["left", "right"]}), px=px)
    pipeline.add_node("RemotePipelineNode", "remote", {"target": service.target, "manifest": there})
    pipeline.connect("remote", "left", "left", "input").connect("remote", "other", "rest", "input")

    async def main() -> None:
        async with session(pipeline) as running:
            await running.send("remote", text("x"))
            await running.end_input()
            assert await px.collect(running.outputs()) == {
                "left": ["x on left>left.input", "x on right>left.input"],
                "rest": ["x on right>rest.input"],
            }

    px.run(main())


def test_interruption(px: Any, service: Any) -> None:
    async def main() -> None:
        async with session(local(px, service, "t-echo", ("t-repeat", {"times": 50}))) as running:
            for turn in range(10):
                for number in range(10):
                    await running.send("n0", text(f"old {turn} {number}"))
                assert await running.receive("n2") is not None
                await running.interrupt()
                await running.send("n0", text(f"new {turn}"))
                for number in range(50):
                    data = await running.receive("n2")
                    assert data is not None and data.payload == f"new {turn}.{number}"

    px.run(main())


def test_nobody_takes_so_nobody_makes(px: Any, service: Any) -> None:
    many = 1000

    async def send(running: Session) -> None:
        for number in range(many):
            await running.send("n0", RuntimeData.tensor(np.full(200_000, number % 251, np.uint8)))
        await running.end_input()

    async def main() -> None:
        there = manifest("t-echo", px=px) | {"metadata": {"multiprocess": {"channel_capacity": 2}}}
        async with session(local(px, service, manifest=there), channel_capacity=2) as running:
            sending = asyncio.create_task(send(running))
            await service.until("blocked", bool)
            await px.until(lambda: running.get_channel_stats("session_to_n0").blocked_now_secs > 0)
            assert running.get_channel_stats("n0_to_n1").message_count < many // 2
            came = [data.as_numpy()[-1] async for _, data in running.outputs()]
            assert came == [number % 251 for number in range(many)]
            await sending

    px.run(main())


def test_a_killed_node_there_ends_the_pipeline_here(px: Any, service: Any) -> None:
    async def main() -> None:
        async with session(local(px, service, "t-echo", "t-echo")) as running:
            await running.send("n0", text("x"))
            assert await running.receive("n2") is not None
            os.kill(service.ask("pids")[0], signal.SIGKILL)
            with pytest.raises(ProcessCrashError) as caught:
                await running.receive("n2")
        error = caught.value
        assert (error.node_id, error.exit_code, error.signal) == ("n1", 1, None)
        assert "ProcessCrashError: Process n0 crashed with code 137 (killed by SIGKILL)" in error.stderr_tail[-1]

    px.run(main())


def test_an_exception_there_ends_the_pipeline_here(px: Any, service: Any) -> None:
    async def main() -> None:
        async with session(local(px, service, "t-do")) as running:
            await running.send("n0", text("raise too loud"))
            with pytest.raises(ProcessCrashError, match=r"NodeProcessError: .*ValueError: too loud"):
                async for _ in running.outputs():
                    pass

    px.run(main())


@pytest.mark.parametrize("when", ["at rest", "while it sends", "at the end"])
def test_the_service_is_killed(px: Any, start_service: Callable[..., Any], when: str) -> None:
    service = start_service()

    async def main() -> None:
        async with session(local(px, service, "t-do")) as running:
            if when != "at rest":
                await running.send("n0", text("wait"))
                assert await running.receive("n2") is not None
            if when == "at the end":
                await running.end_input()
            service.kill()
            with pytest.raises(ProcessCrashError, match="ServiceUnavailableError: no connection to the service"):
                while when == "while it sends":
                    await running.send("n0", RuntimeData.tensor(np.zeros(1_000_000, np.uint8)))
                await running.receive("n2")

    px.run(main())


def test_what_cannot_be_sent_fails_alone(px: Any, service: Any) -> None:
    errors: list[NodeProcessError] = []

    async def main() -> None:
        running = session(local(px, service, "t-echo"))
        running.on_error(errors.append)
        async with running:
            await running.send("n0", RuntimeData.tensor(np.zeros(20_000_000, np.uint8)))
            await running.send("n0", text("x"))
            data = await running.receive("n2")
            assert data is not None and data.payload == "x"

    px.run(main())
    assert [(error.node_id, error.reason.partition(":")[0]) for error in errors] == [("n1", "PayloadError")]


def test_it_does_not_start(px: Any, service: Any, tmp_path: Path) -> None:
    async def main(message: str, kind: type[Exception], *nodes: Any, **params: Any) -> None:
        with pytest.raises(kind, match=message):
            async with session(local(px, service, *nodes, **params)):
                pass
        assert service.ask("pids") == []

    for message, kind, nodes, params in (
        ("'manifest_path' give one", NodeInitializationError, ["t-echo"], {"manifest_path": "x"}),
        ("must say what to run", NodeInitializationError, ["t-echo"], {"manifest": None}),
        ("param 'init_timeout_secs' must be", PipelineError, ["t-echo"], {"init_timeout_secs": 0}),
        ("not one of the remote pipeline's: 'n1'", NodeInitializationError, ["t-echo"] * 2, {"output_node": "n7"}),
        ("NodeInitializationError: .*no such weights", NodeInitializationError, [("t-init", {"how": "raise"})], {}),
        ("InitializationTimeout: ", NodeInitializationError, [("t-init", {"how": "wait"})], {"init_timeout_secs": 0.5}),
        ("ServiceUnavailableError: ", NodeInitializationError, ["t-echo"], {"target": "127.0.0.1:1"}),
        ("no environment variable 'NO_SUCH'", NodeInitializationError, ["t-echo"], {"token_variable": "NO_SUCH"}),
        ("No such file", NodeInitializationError, ["t-echo"], {"token_file": str(tmp_path / "no")}),
    ):
        px.run(main(message, kind, *nodes, **params))


def test_token_and_manifest_from_files_and_progress(px: Any, start_service: Callable[..., Any], tmp_path: Path) -> None:
    service = start_service(tokens=["secret"])
    (tmp_path / "token").write_text("secret\n")
    (tmp_path / "there.json").write_text(json.dumps(manifest("t-echo", px=px)))
    params = {"token_file": str(tmp_path / "token"), "manifest_path": str(tmp_path / "there.json")}
    told = []

    async def main() -> None:
        running = session(local(px, service, "t-echo", manifest=None, **params))
        await running.initialize(told.append)
        await running.cleanup()

    px.run(main())
    messages = [progress.message for progress in told if progress.node_id == "n1"]
    assert "n0: ready" in messages
