"""ChatNode: on an untrained model behind transformers' own server, and for what that never does on a stand-in."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.marks import END_OF_ANSWER, END_OF_TURN
from remotemedia.core.multiprocessing import (
    Heard,
    MultiprocessConfig,
    NodeInitializationError,
    NodeProcessError,
    Pipeline,
    Position,
    Session,
    register_node,
)
from remotemedia.nodes import ChatNode
from remotemedia.nodes._chat import EndpointError
from remotemedia.testing import NodeHost
from tests.nodes._endpoints import (
    Library,
    LoudChatNode,
    StandIn,
    assistant,
    make_tiny_chat,
    marks,
    on,
    piece,
    serving,
    tool_call,
    user,
    words,
)

KEY = "sk-distinct-7f3a9c"
TOKENS = 20

text = RuntimeData.text
control = RuntimeData.control

register_node("loud_chat")(LoudChatNode)


@pytest.fixture(scope="module", autouse=True)
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """They are in this process, go to no proxy, and have no cache in the folder of all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("torch")))
        patch.setenv("TOKENIZERS_PARALLELISM", "false")
        patch.setenv("NO_PROXY", "*")
        patch.setenv("OPENAI_API_KEY", KEY)
        patch.delenv("OPENAI_BASE_URL", raising=False)
        pytest.importorskip("openai", reason="needs openai, of the extra [chat]")
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for module in ("torch", "transformers"):
        pytest.importorskip(module, reason=f"needs {module}, of the extra [transformers]")
    for module in ("fastapi", "uvicorn"):
        pytest.importorskip(module, reason=f"needs {module}, of the extra [recipes]")
    import torch
    from transformers.utils import logging as its_logging

    torch.set_num_threads(1)
    its_logging.disable_progress_bar()
    return make_tiny_chat(tmp_path_factory.mktemp("weights") / "babble")


@pytest.fixture(scope="module")
def library(model: Path) -> Library:
    return Library(model)


@pytest.fixture(scope="module")
def url(model: Path) -> Iterator[str]:
    with serving(model) as found:
        yield found


def node(model: Path | str, url: str, **config: Any) -> ChatNode:
    fixed = {"temperature": 0, "max_tokens": TOKENS}
    return ChatNode("llm", {"model": str(model), "base_url": url, **fixed, **config})


# --- the real server ----------------------------------------------------------------------------------------------


def test_it_says_what_the_library_says_of_all_that_was_said(
    drive: Any, model: Path, url: str, library: Library
) -> None:
    said = drive(
        node(model, url, system_prompt="Be brief."),
        [text(" Good morning. ", timestamp=7.0), text(" \n"), text("And so?", timestamp=8.0), control(END_OF_TURN)],
    )
    assert marks(said) == [END_OF_ANSWER, END_OF_ANSWER, END_OF_TURN]
    first, second = ([data for data in said if data.timestamp == stamp and data.port == "text"] for stamp in (7.0, 8.0))
    assert len(first) > 2 and first[-1].mark == second[-1].mark == END_OF_ANSWER
    history = [{"role": "system", "content": "Be brief."}, user("Good morning.")]
    answer = library.answer(history, TOKENS)
    assert words(first) == answer and len(answer) == TOKENS
    assert words(second) == library.answer([*history, assistant(answer), user("And so?")], TOKENS) != answer


def test_only_so_much_history(drive: Any, model: Path, url: str, library: Library) -> None:
    given = [text("one"), text("two"), text("three"), control("reset"), text("three")]
    said = drive(node(model, url, max_history=1), given)
    one, two, three, again = (words(said)[at : at + TOKENS] for at in range(0, 4 * TOKENS, TOKENS))
    assert marks(said) == [*[END_OF_ANSWER] * 3, "reset", END_OF_ANSWER]
    assert two == library.answer([user("one"), assistant(one), user("two")], TOKENS)
    assert three == library.answer([user("two"), assistant(two), user("three")], TOKENS)
    assert again == library.answer([user("three")], TOKENS) != three


def test_twenty_interruptions_free_the_server_each_time(model: Path, url: str, library: Library) -> None:
    """It has one thread for all: an answer that went on would hold the next one up for hours."""

    async def main() -> None:
        async with NodeHost(node(model, url, max_tokens=10**6, max_history=3)) as host:
            for _ in range(20):
                await host.send(text("a story that takes hours"))
                for _ in range(3):
                    assert await host.receive(timeout=60) is not None
                await host.interrupt()
            host.node.config["max_tokens"] = TOKENS
            said = await host.feed(text("again"))
            *before, last = host.node._dialogue.messages()
            assert len(before) == 7 and last == assistant(words(said))
            assert words(said) == library.answer(before, TOKENS)

    asyncio.run(main())


def test_a_session(px: Any, model: Path, url: str, library: Library) -> None:
    config = {"model": str(model), "base_url": url, "temperature": 0, "max_tokens": TOKENS}

    async def main() -> None:
        async with Session("chats", Pipeline().add_node("ChatNode", "llm", config)) as session:
            said = [data async for data in session.ask("llm", text("hi"))]
            assert words(said) == library.answer([user("hi")], TOKENS)
            assert said[-1].mark == END_OF_ANSWER and {data.port for data in said} == {"text"}

    px.run(main(), patience_secs=120)


# --- interruption -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [[], [piece("once")], [tool_call("weather", "{")]])
def test_twenty_interruptions_hang_up_each_time(before: list[Any]) -> None:
    """Before the first piece, after it, and within a call of a tool."""
    said = "once" if before == [piece("once")] else ""

    async def story(server: StandIn, host: NodeHost) -> None:
        for _ in range(20):
            await host.send(text("a story"))
            if said:
                assert (await host.receive(timeout=60)).payload == said
            await server.waits.get()
            await host.interrupt()
            await server.left.get()
        assert words(await host.feed(text("again"))) == "well"

    server = on([*[[*before, asyncio.Event()]] * 20, [piece("well")]], story, max_history=1)
    assert server.bodies[-1]["messages"] == (
        [user("a story"), assistant(said), user("again")] if said else [user("a story\nagain")]
    )


def test_an_interruption_hangs_up_while_nobody_takes_the_pieces() -> None:
    """The node waits for room, and not for the server: its connection is closed all the same, before it says so."""

    async def main() -> None:
        async with StandIn([[*[piece("on ")] * 50, asyncio.Event()], [piece("well")]]).running() as server:
            llm = ChatNode("llm", {"model": "m", "base_url": server.url})
            async with NodeHost(llm, MultiprocessConfig(channel_capacity=1, spin_us=0)) as host:
                await host.send(text("a story"))
                await server.waits.get()
                while not llm._dialogue.exchanges[0].answer.startswith("on on "):
                    await asyncio.sleep(0)
                await host.interrupt()
                assert llm._endpoint._client._client._transport._pool.connections == []
                await server.left.get()
                assert words(await host.feed(text("again"))) == "well"

    asyncio.run(main())


SPOKEN = "It was a dinosaur, not a cat. "  # 30 characters: two seconds


@pytest.mark.parametrize(
    ("heard", "kept"),
    [
        ({}, SPOKEN.strip()),
        ({"tts": Heard(Position(3, 1.0, 0, 5.0), None)}, "It was a"),
        ({"tts": Heard(Position(3, 1.0, 0, 5.0), Position(1, 0.1, 0, 5.0))}, "It"),
        ({"tts": Heard(None, None)}, ""),
    ],
)
def test_it_remembers_what_was_heard(heard: dict[str, Heard], kept: str) -> None:
    async def story(server: StandIn, host: NodeHost) -> None:
        await host.send(text("and?", timestamp=5.0))
        assert (await host.receive(timeout=60)).payload == SPOKEN
        await host.interrupt(heard)
        await host.feed(text("again"))

    server = on([[piece(SPOKEN), asyncio.Event()], [piece("well")]], story)
    messages = server.bodies[1]["messages"]
    assert messages == ([user("and?"), assistant(kept), user("again")] if kept else [user("and?\nagain")])


# --- what goes wrong ----------------------------------------------------------------------------------------------

WEB_PAGE = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<html></html>"
CUT_SHORT = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 99\r\n\r\ndata: "
STREAM = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("reply", "told", "status"),
    [
        (401, "refuses the key: set the environment variable OPENAI_API_KEY to one of its keys", 401),
        (403, "does not let this key use model 'm': the environment variable OPENAI_API_KEY has the key", 403),
        (404, "has no model 'm', or no chat completions: see params 'model' and 'base_url'", 404),
        (429, "takes no more requests at present", 429),
        (422, "does not take the request", 422),
        (503, "failed", 503),
        (WEB_PAGE, "sent no stream of a chat completion", None),
        (CUT_SHORT, "cannot be reached, or broke off: peer closed connection", None),
        (f"{STREAM}data: {{\n\n", "sent no stream of a chat completion .JSONDecodeError", None),
        (f"{STREAM}data: 1\n\n", "sent no stream of a chat completion", None),
        (f'{STREAM}data: {{"error": "out of memory"}}\n\n', "failed while it answered; it said: out of memory", None),
        ([piece("wel"), {"error": {"message": "out of memory"}}], "failed while it answered; it said: out of", None),
        ([piece("wel"), asyncio.Event()], "sent nothing for 0.3 s; param 'timeout_secs'", None),
    ],
)
def test_what_fails_says_what_to_do_and_leaves_no_trace(reply: Any, told: str, status: int | None) -> None:
    async def story(server: StandIn, host: NodeHost) -> None:
        assert words(await host.feed(text("one"))) == "first"
        if told.startswith("sent nothing"):
            host.node._endpoint._client.timeout = host.node.config["timeout_secs"] = 0.3
        with pytest.raises(EndpointError, match=rf"ChatNode: {server.url} {told}") as caught:
            await host.feed(text("two"))
        assert caught.value.status == status and KEY not in str(caught.value)
        host.node._endpoint._client.timeout = 60
        assert words(await host.feed(text("three"))).endswith("third")

    server = on([[piece("first")], reply, [piece("third")]], story)
    assert server.bodies[2]["messages"] == [user("one"), assistant("first"), user("three")]


def test_halves_of_characters_are_no_trap_for_later_requests() -> None:
    async def story(server: StandIn, host: NodeHost) -> None:
        assert words(await host.feed(text("one"))) == "a?ü"
        assert words(await host.feed(text("two"))) == "fine"

    on([[piece("a\ud83d"), piece("ü")], [piece("fine")]], story)


def test_nobody_is_there(drive: Any) -> None:
    with pytest.raises(
        EndpointError, match=r"http://127.0.0.1:9/v1 cannot be reached, or broke off: .*; is it running"
    ):
        drive(ChatNode("llm", {"model": "m", "base_url": "http://127.0.0.1:9/v1/"}), [text("hi")])


def test_what_it_is_asked_for() -> None:
    async def story(server: StandIn, host: NodeHost) -> None:
        await host.feed(text("one"))

    server = on([[piece("fine")]], story)
    assert server.bodies == [{"messages": [user("one")], "model": "m", "stream": True}]
    more = {"temperature": 0.5, "max_tokens": 7, "extra_body": {"top_k": 3}}
    server = on([[piece("fine")]], story, system_prompt="Be kind.", **more)
    (body,) = server.bodies
    assert (body["temperature"], body["max_tokens"], body["top_k"]) == (0.5, 7, 3)
    assert body["messages"][0] == {"role": "system", "content": "Be kind."}


def test_ports() -> None:
    async def story(server: StandIn, host: NodeHost) -> None:
        for port in ("text", "input", "text_in", ""):
            said = await host.feed(text("one"), port)
            assert words(said) == "fine" and {data.port for data in said} == {"text"}
        assert marks(await host.feed(control("note"))) == ["note"]
        with pytest.raises(TypeError, match="ChatNode takes TEXT"):
            await host.feed(RuntimeData.audio(np.zeros(3, np.float32), 16_000))

    on([[piece("fine")]] * 4, story)


def test_one_after_another(px: Any) -> None:
    """By other names of the ports, each with its key; the mark of the first answer is not one of the second."""

    async def main() -> None:
        async with StandIn([[piece("first")]]).running() as one, StandIn([[piece("second")]]).running() as two:
            pipeline = Pipeline()
            pipeline.add_node("ChatNode", "one", {"model": "m", "base_url": one.url})
            config = {"model": "m", "base_url": two.url, "api_key_env": "OTHER_KEY"}
            pipeline.add_node("ChatNode", "two", config, env={"OTHER_KEY": "sk-other"})
            pipeline.connect("one", "text_out", "two", "text_in")
            async with Session("chain", pipeline) as session:
                async with session.turn("one") as turn:
                    await turn.send(text("hi"))
                said = [data async for _, data in turn.outputs()]
            assert words(said) == "second" and marks(said) == [END_OF_ANSWER]
            assert two.bodies[0]["messages"] == [user("first")]
            assert (one.keys, two.keys) == ([f"Bearer {KEY}"], ["Bearer sk-other"])

    px.run(main())


# --- the key ------------------------------------------------------------------------------------------------------


def test_without_the_library_it_says_what_to_install(drive: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ImportError, match=r"ChatNode needs openai .*pip install .*\[chat\]"):
        drive(ChatNode("llm", {"model": "m"}), [])


def test_where_the_key_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", f" {KEY}2\n")
    monkeypatch.delenv("OPENAI_API_KEY")

    async def story(server: StandIn, host: NodeHost) -> None:
        await host.feed(text("one"))

    keys = [on([[piece("fine")]], story, **config).keys for config in ({}, {"api_key_env": "MY_KEY"})]
    assert keys == [["Bearer none"], [f"Bearer {KEY}2"]]


def test_a_key_that_is_missing_or_none(drive: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", " ")
    with pytest.raises(ValueError, match=r"variable MY_KEY is not set; .*\(export MY_KEY=\.\.\.\), or name a server"):
        drive(ChatNode("llm", {"model": "m", "api_key_env": "MY_KEY"}), [])
    for wrong in (f"{KEY}\nx", f"{KEY}ü", f"{KEY} x"):
        monkeypatch.setenv("MY_KEY", wrong)
        with pytest.raises(ValueError, match="what the environment variable MY_KEY holds is no key") as caught:
            drive(ChatNode("llm", {"model": "m", "api_key_env": "MY_KEY"}), [])
        assert KEY not in repr(caught.value)


def test_without_a_key_a_server_that_wants_one_is_no_riddle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")

    async def story(server: StandIn, host: NodeHost) -> None:
        with pytest.raises(EndpointError, match="wants a key: set the environment variable OPENAI_API_KEY"):
            await host.feed(text("one"))

    on([401], story)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"base_url": "localhost:8000/v1"}, "param 'base_url' must be an address"),
        ({"base_url": f"http://me:{KEY}@localhost/v1"}, "must not hold a password"),
        ({"tools": [{"name": "x"}]}, "param 'tools': number 0 must be"),
        ({"tools": [{"type": "function", "function": {"name": "weather"}}] * 2}, "there are two tools 'weather'"),
    ],
)
def test_params_that_mean_nothing(drive: Any, config: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told) as caught:
        drive(ChatNode("llm", {"model": "m", **config}), [])
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("reply", [401, "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", None])
def test_the_key_is_in_no_log_and_no_error(reply: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The server answers with the key, in a header and in the body; breaks off; or is not there."""
    caplog.set_level(logging.DEBUG)

    async def main() -> None:
        async with StandIn([reply]).running() as server:
            config = {"model": "m", "base_url": server.url if reply else "http://127.0.0.1:9"}
            async with NodeHost(ChatNode("llm", config)) as host:
                with pytest.raises(EndpointError) as caught:
                    await host.feed(text("one"))
            assert server.keys == ([f"Bearer {KEY}"] if reply else [])
        error = caught.value
        told = [repr(error), str(error.args), *traceback.format_exception(error)]
        assert error.__cause__ is None and error.__context__ is None
        assert not any(KEY in one for one in told)
        assert reply != 401 or "it said: what is Bearer ***?" in str(error)

    asyncio.run(main())
    logged = [f"{record.getMessage()} {record.msg!r} {record.args!r} {record.exc_text}" for record in caplog.records]
    assert any("connect_tcp" in one for one in logged)
    assert reply != 401 or any("Bearer ***" in one for one in logged)
    assert not any(KEY in one for one in logged)


def test_the_key_is_in_nothing_that_a_session_tells(px: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Of a node that prints all that is logged in its process."""
    caplog.set_level(logging.DEBUG)
    told: list[Any] = []

    async def main() -> None:
        async with StandIn([401]).running() as server:
            pipeline = Pipeline().add_node("loud_chat", "llm", {"model": "m", "base_url": server.url})
            told.append(json.dumps(pipeline.to_manifest()))
            session = Session("secret", pipeline)
            session.on_error(lambda *failure: told.extend(map(str, failure)))
            async with session:
                with pytest.raises(NodeProcessError) as caught:
                    async for _ in session.ask("llm", text("one")):
                        pass
            assert server.keys == [f"Bearer {KEY}"]
        error = caught.value
        assert "LoudChatNode: http" in error.reason and "refuses the key" in error.reason
        told.extend([repr(error), error.reason, error.remote_traceback, *traceback.format_exception(error)])

    px.run(main())
    told += [f"{record.getMessage()} {record.exc_text}" for record in caplog.records]
    assert any("connect_tcp" in one for one in told) and any("Bearer ***" in one for one in told)
    assert not any(KEY in one for one in told)


def test_a_session_without_a_key_does_not_begin(px: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")

    async def main() -> None:
        session = Session("none", Pipeline().add_node("ChatNode", "llm", {"model": "m"}), MultiprocessConfig())
        with pytest.raises(NodeInitializationError, match="the environment variable OPENAI_API_KEY is not set"):
            await session.initialize()
        await session.cleanup()

    px.run(main())
