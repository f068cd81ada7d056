"""The client without ``await``."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from remotemedia.client import PipelineClient
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import (
    NodeProcessError,
    PipelineError,
    ServiceUnavailableError,
    SessionStatus,
)

pytestmark = pytest.mark.usefixtures("leak_check")

text = RuntimeData.text


def test_every_call(px: Any, service: Any) -> None:
    told = []
    with PipelineClient(service.target) as client:
        assert "t-echo" in client.version().node_types
        assert client.execute(px.chain("t-echo"), {"n0": text("x")}).outputs["n0"][0].payload == "x"
        with client.session(px.chain("t-echo", "t-tag"), {"channel_capacity": 5}, told.append) as session:
            assert session.status is SessionStatus.RUNNING and session.session_id
            session.send("n0", text("a"))
            data = session.receive("n1")
            assert data is not None and data.payload == "a>n1.input"
            with pytest.raises(TimeoutError):
                session.receive("n1", timeout=0)
            with pytest.raises(PipelineError, match="is not an input node"):
                session.send("n1", text("a"))
            session.interrupt(from_node="n0", drop_queued=True)
            session.interrupt()
            for word in ("b", "c"):
                session.send("n0", text(word))
            session.end_input()
            assert [(n, data.payload) for n, data in session.outputs()] == [("n1", "b>n1.input"), ("n1", "c>n1.input")]
            assert session.receive("n1") is None
    assert {progress.node_id for progress in told if progress.status == "ready"} == {"n0", "n1"}


def test_what_fails_there(px: Any, service: Any) -> None:
    with PipelineClient(service.target) as client:
        with client.session(px.chain("t-do")) as session:
            session.send("n0", text("raise no"))
            with pytest.raises(NodeProcessError, match="ValueError: no"):
                list(session.outputs())
        with client.session(px.chain("t-do")) as session:
            session.send("n0", text("wait"))
            for _, data in session.outputs():  # left with outputs to come
                assert data.payload == "wait"
                break
    with PipelineClient("127.0.0.1:1") as client, pytest.raises(ServiceUnavailableError):
        client.version()


def test_where_an_event_loop_runs(px: Any, service: Any) -> None:
    """As in a notebook."""

    async def cell() -> None:
        with PipelineClient(service.target) as client:
            assert client.version().protocol == "v1"

    px.run(cell())


def test_a_script(px: Any, service: Any, child_python: Callable[..., Any]) -> None:
    script = """
        from remotemedia.client import PipelineClient
        from remotemedia.core.data import RuntimeData

        manifest = {"version": "v1", "nodes": [{"id": "a", "node_type": "t-do"}]}
        with PipelineClient(sys.argv[1]) as client:
            with client.session(manifest) as session:
                session.send("a", RuntimeData.text("wait"))
                say(session.receive("a").payload)
                try:
                    session.receive("a")
                except KeyboardInterrupt:
                    session.interrupt()
                    session.send("a", RuntimeData.text("and on"))
                    say(session.receive("a").payload)
        say("out")
    """
    child = child_python(script, service.target)
    child.expect("wait")
    assert len(service.ask("pids")) == 1
    child.wait_blocked(lock=True)
    child.signal(2)
    child.expect("and on")
    child.expect("out")
    assert child.wait() == 0
    assert child.stderr() == ""
    asyncio.run(service.until("pids", lambda pids: pids == []))


def test_an_iterator_may_be_collected_in_any_thread(px: Any, service: Any) -> None:
    """Also in the one that everything here waits for."""
    with PipelineClient(service.target) as client, client.session(px.chain("t-echo")) as session:
        for _ in range(3):
            circle: list[Any] = [session.ask("n0", text("a"))]
            circle.append(circle)
            next(circle[0])
            gc.disable()
            try:
                del circle
                client._thread._loop.call_soon_threadsafe(gc.collect)
                assert [data.payload for data in session.ask("n0", text("b"))] == ["b"]
            finally:
                gc.enable()


@pytest.mark.parametrize("way", ["ask", "outputs", "receive"])
def test_an_interrupt_of_the_program_ends_the_wait(px: Any, service: Any, way: str) -> None:
    def wait(session: Any) -> None:
        match way:
            case "ask":
                list(session.ask("n0", text("wait")))
            case "outputs":
                list(session.outputs())
            case _:
                session.receive("n0")

    with PipelineClient(service.target) as client, client.session(px.chain("turn-do")) as session:
        killer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
        killer.start()
        with pytest.raises(KeyboardInterrupt):
            wait(session)
        killer.join()
        session.interrupt()
        assert [data.payload for data in session.ask("n0", text("on"))] == ["on"]
