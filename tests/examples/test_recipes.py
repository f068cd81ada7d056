"""The servers of examples/recipes/, as real processes, with real clients that talk over answers and hang up."""

from __future__ import annotations

import http.client
import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("leak_check")

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "examples" / "recipes"
SECOND = np.zeros(16_000, np.int16).tobytes()


class Server:
    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port
        self.is_stopped = False

    @contextmanager
    def call(self) -> Iterator[Any]:
        """A WebSocket to the recipe's ``/call``."""
        from websockets.sync.client import connect

        with connect(f"ws://127.0.0.1:{self.port}/call", open_timeout=None, proxy=None) as socket:
            yield socket

    def post(self, question: str) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("POST", "/ask", question)
        return connection, connection.getresponse()

    def stop(self) -> None:
        """Sends Ctrl-C, once: uvicorn takes a second one for impatience."""
        if not self.is_stopped:
            self.is_stopped = True
            self.process.send_signal(signal.SIGINT)

    def nodes(self) -> list[int]:
        """The processes that it has started, as descriptors that become readable when one ends."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [os.pidfd_open(int(pid)) for task in tasks for pid in task.read_text().split()]


def wait_for_the_end_of(nodes: list[int]) -> None:
    for node in nodes:
        select.select([node], [], [])
        os.close(node)


@contextmanager
def serving(name: str, **environment: str) -> Iterator[Server]:
    """The recipe under uvicorn, on a free port; ended by Ctrl-C, after which nothing of it is left."""
    for library in ("fastapi", "uvicorn", "websockets"):
        pytest.importorskip(library, reason=f"needs {library}, of the extra [recipes]")
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(RECIPES), f"{name}:app", "--port", "0"]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    ) as process:
        try:
            assert process.stderr is not None
            said = ""
            while not (port := re.search(r"running on http://127\.0\.0\.1:(\d+)", said)):
                line = process.stderr.readline()
                assert line, said
                said += line
            server = Server(process, int(port[1]))
            yield server
            left = server.nodes()
            server.stop()
            said += process.stderr.read()
            wait_for_the_end_of(left)
        except BaseException:
            process.kill()
            raise
    assert "ERROR:" not in said, said  # uvicorn's own word for a handler that raised
    assert "Finished server process" in said


def heard(socket: Any) -> tuple[list[int], dict[str, Any]]:
    """The numbers that an answer has spoken, and what was said at its end."""
    numbers = []
    while isinstance(message := socket.recv(), bytes):
        (number,) = set(np.frombuffer(message, np.int16).tolist())
        numbers.append(number)
    return numbers, json.loads(message)


def test_voice_server() -> None:
    with serving("voice_server") as server, server.call() as caller:
        for turn in (1, 2):
            caller.send(SECOND)
            caller.send("end")
            assert heard(caller) == (list(range(1, 11)), {"done": turn, "failures": []})


def test_the_caller_talks_over_the_answer() -> None:
    with serving("voice_server") as server, server.call() as caller:
        for _ in range(600):
            caller.send(SECOND)
        caller.send("end")
        first = np.frombuffer(caller.recv(), np.int16)
        assert set(first.tolist()) == {1}
        caller.send(SECOND)
        numbers, end = heard(caller)
        assert numbers == list(range(2, len(numbers) + 2)) and len(numbers) < 5_999
        assert end == {"done": 1, "failures": []}
        caller.send("end")
        assert heard(caller) == (list(range(1, 11)), {"done": 2, "failures": []})


def test_hanging_up_ends_the_session() -> None:
    with serving("voice_server") as server:
        with server.call() as caller, server.call() as other:
            for socket in (caller, other):
                for _ in range(600):
                    socket.send(SECOND)
                socket.send("end")
                socket.recv()
            nodes = server.nodes()
            assert len(nodes) == 6
        wait_for_the_end_of(nodes)
        with server.call() as next_one:
            next_one.send(SECOND)
            next_one.send("end")
            assert heard(next_one)[1] == {"done": 1, "failures": []}


def test_stopping_the_server_in_the_middle_of_a_call() -> None:
    with serving("voice_server") as server, server.call() as caller:
        for _ in range(600):
            caller.send(SECOND)
        caller.send("end")
        caller.recv()
        nodes = server.nodes()
        server.stop()
        wait_for_the_end_of(nodes)


def events(response: http.client.HTTPResponse) -> list[tuple[str, Any]]:
    found = re.findall(r"event: (\w+)\ndata: (.*)\n\n", response.read().decode())
    return [(name, json.loads(value)) for name, value in found]


def test_llm_endpoint() -> None:
    with serving("llm_endpoint") as server:
        requests = [(count, *server.post(f"count to {count}")) for count in (3, 5, 2)]
        for count, connection, response in requests:
            assert response.headers["content-type"].startswith("text/event-stream")
            words = [("word", str(number + 1)) for number in range(count)]
            assert events(response) == [*words, ("done", None)]
            connection.close()
        connection, response = server.post("what is this?")
        [(name, reason)] = events(response)
        assert name == "failed" and reason.startswith("ValueError: invalid literal for int()")
        connection.close()


def test_llm_endpoint_goes_on_when_a_client_hangs_up() -> None:
    with serving("llm_endpoint") as server:
        for _ in range(3):
            connection, response = server.post("count to 50")
            assert response.readline() == b"event: word\n"
            response.close()
            connection.close()
        connection, response = server.post("count to 2")
        assert events(response) == [("word", "1"), ("word", "2"), ("done", None)]
        connection.close()


def test_many_callers() -> None:
    from_all = [[1, str(number + 1)] for number in range(4)]
    with serving("many_callers", MOST_CALLERS="2") as server:
        with server.call() as one, server.call() as other:
            for caller in (one, other):
                caller.send("count to 4")
            for caller in (one, other):
                assert [json.loads(caller.recv()) for _ in range(5)] == [*from_all, [1, None]]
            with server.call() as too_many:
                from websockets.exceptions import ConnectionClosedError

                with pytest.raises(ConnectionClosedError, match=r"1013.*all lines are busy"):
                    too_many.recv()
            one.send("count to 1000000")
            one.recv()
            nodes = server.nodes()
            assert len(nodes) == 2
        wait_for_the_end_of(nodes)  # one has hung up in the middle of an answer
        while not answers_again(server):  # its line is free when all of its session is gone
            pass


def answers_again(server: Server) -> bool:
    from websockets.exceptions import ConnectionClosedError

    try:
        with server.call() as caller:
            caller.send("what is this?")
            caller.send("count to 1")
            assert [json.loads(caller.recv()) for _ in range(3)] == [[1, None], [2, "1"], [2, None]]
    except ConnectionClosedError as error:
        assert "all lines are busy" in str(error)
        return False
    return True


def test_every_recipe_says_how_to_run_it() -> None:
    page = (ROOT / "docs" / "recipes.md").read_text()
    for path in RECIPES.glob("*.py"):
        if path.stem != "stand_ins":
            command = f"uvicorn --app-dir examples/recipes {path.stem}:app"
            assert command in path.read_text().split('"""')[1]
            assert command in page and f"(../examples/recipes/{path.name})" in page
