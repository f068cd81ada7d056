"""ChatNode's calls of tools, on a stand-in that calls as models do, rightly and wrongly."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.marks import END_OF_ANSWER
from remotemedia.core.multiprocessing import Pipeline, Session
from remotemedia.nodes._chat import EndpointError
from remotemedia.testing import NodeHost
from tests.nodes._endpoints import (
    StandIn,
    assistant,
    calls,
    marks,
    on,
    piece,
    result,
    tool_call,
    user,
    words,
)

TOOLS = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("weather", "time")]

text = RuntimeData.text
control = RuntimeData.control


@pytest.fixture(scope="module", autouse=True)
def libraries() -> Iterator[None]:
    """They are in this process, and go to no proxy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "*")
        patch.setenv("OPENAI_API_KEY", "sk-any")
        pytest.importorskip("openai", reason="needs openai, of the extra [chat]")
        yield


def asked(*found: tuple[str, str, str], content: str | None = None) -> dict[str, Any]:
    """The message of a model that calls tools."""
    made = [
        {"id": number, "type": "function", "function": {"name": name, "arguments": arguments}}
        for number, name, arguments in found
    ]
    return {"role": "assistant", "content": content, "tool_calls": made}


def given(number: str, content: str) -> dict[str, str]:
    return {"role": "tool", "tool_call_id": number, "content": content}


TWO_CALLS = [
    piece("Let me look. "),
    tool_call("weather", '{"city": '),
    tool_call("", '"Ulm"}', None),
    tool_call("time", "", "c2", 1),
]


def test_tools() -> None:
    async def story(server: StandIn, host: NodeHost) -> None:
        said = await host.feed(text("weather?", timestamp=3.0))
        assert words(said) == "Let me look. " and marks(said) == [END_OF_ANSWER]
        assert calls(said) == [
            {"id": "c1", "name": "weather", "arguments": {"city": "Ulm"}},
            {"id": "c2", "name": "time", "arguments": {}},
        ]
        assert await host.feed(result("c2", {"hour": 9}), "tool_results") == []
        rest = await host.feed(result("c1", "rain"))
        assert words(rest) == "It rains." and marks(rest) == [END_OF_ANSWER]
        assert {data.timestamp for data in [*said, *rest]} == {3.0}
        await host.feed(text("thanks"))

    server = on([TWO_CALLS, [piece("It "), piece("rains.")], [piece("Well.")]], story, tools=TOOLS)
    assert [body["tools"] for body in server.bodies] == [TOOLS] * 3
    found = ("c1", "weather", '{"city": "Ulm"}'), ("c2", "time", "{}")
    results = given("c1", "rain"), given("c2", '{"hour": 9}')
    assert server.bodies[1]["messages"] == [user("weather?"), asked(*found, content="Let me look."), *results]
    history = [user("weather?"), asked(*found), *results, assistant("Let me look. It rains.")]
    assert server.bodies[2]["messages"] == [*history, user("thanks")]


def test_calls_that_cannot_be_made_are_told_to_the_model() -> None:
    wrong = ["{", "[1]", '{"a": NaN}', '{"a": "\\ud800"}', '{"a": ' * 9000]

    async def story(server: StandIn, host: NodeHost) -> None:
        assert calls(await host.feed(text("go"))) == [{"id": "c9", "name": "time", "arguments": {}}]
        assert words(await host.feed(result("c9"))) == "Well."

    mistakes = [tool_call("weather", arguments, f"c{at}", at) for at, arguments in enumerate(wrong)]
    replies = [[*mistakes, tool_call("wether", "{}", "c8", 8)], [tool_call("time", "{}", "c9")], [piece("Well.")]]
    server = on(replies, story, tools=TOOLS)
    _, told, *results = server.bodies[1]["messages"]
    assert {call["function"]["arguments"] for call in told["tool_calls"]} == {"{}"}
    assert all("must be a JSON object, not" in one["content"] for one in results[:-1]) and len(results) == 6
    assert results[-1]["content"] == "Error: there is no tool 'wether'; there are time, weather"


def test_calls_without_numbers() -> None:
    """As some servers send them: the same index or none, ids that are empty, missing or not different."""
    first = [tool_call("weather", "{}", "", 0), tool_call("time", "{}", "a", 0), tool_call("time", "{}", "a", 1)]
    second = [tool_call("weather", "{", "a", None), tool_call("", "}", None, None), tool_call("time", "{}", "b", None)]
    names: list[list[str]] = []

    async def story(server: StandIn, host: NodeHost) -> None:
        said = await host.feed(text("go"))
        for _ in range(2):
            found = calls(said)
            names.append([call["name"] for call in found])
            assert len({call["id"] for call in found} - {""}) == len(found)
            assert all(call["arguments"] == {} for call in found)
            for call in found:
                said = await host.feed(result(call["id"]))
        assert words(said) == "Well."

    on([first, second, [piece("Well.")]], story, tools=TOOLS)
    assert names == [["weather", "time", "time"], ["weather", "time"]]


def test_so_many_rounds() -> None:
    async def story(server: StandIn, host: NodeHost) -> None:
        await host.feed(text("go"))
        await host.feed(result("c1"))
        assert words(await host.feed(result("c1"))) == "Well."
        for _ in range(2):
            await host.feed(text("go"))
            await host.feed(result("c1"))
            with pytest.raises(EndpointError, match="the model calls 'time' though it was offered no tools"):
                await host.feed(result("c1"))

    again = [tool_call("time", "{}")]
    server = on([again, again, [piece("Well.")], *[again] * 6], story, tools=TOOLS, max_tool_rounds=2)
    assert ["tools" in body for body in server.bodies] == [True, True, False] * 3


def test_a_result_that_nobody_waits_for() -> None:
    async def story(server: StandIn, host: NodeHost) -> None:
        with pytest.raises(ValueError, match="waits for no result 'c1'; it waits for none"):
            await host.feed(result("c1"))
        await host.feed(text("go"))
        with pytest.raises(ValueError, match="waits for no result 'x'; it waits for 'c1', 'c2'"):
            await host.feed(result("x"))
        for wrong in ({"id": 1, "content": ""}, {"id": "c1"}, ["c1"]):
            with pytest.raises(ValueError, match="for the result of a tool"):
                await host.feed(RuntimeData.json(wrong))
        await host.feed(result("c1"))
        with pytest.raises(ValueError, match="'c1'"):
            await host.feed(result("c1"))

    on([TWO_CALLS], story, tools=TOOLS)


@pytest.mark.parametrize("way", ["text", "reset", "interruption"])
def test_calls_that_are_given_up(way: str) -> None:
    """What comes of them is no mistake of anybody's, and no part of the history."""

    async def story(server: StandIn, host: NodeHost) -> None:
        assert len(calls(await host.feed(text("go")))) == 2
        await host.feed(result("c1"))
        if way == "reset":
            await host.feed(control("reset"))
        elif way == "interruption":
            await host.interrupt()
        if way != "text":
            assert await host.feed(result("c2")) == []
        assert words(await host.feed(text("and?"))) == "Well."
        assert await host.feed(result("c2")) == []

    server = on([TWO_CALLS, [piece("Well.")]], story, tools=TOOLS)
    before = [] if way == "reset" else [user("go"), assistant("Let me look.")]
    assert server.bodies[1]["messages"] == [*before, user("and?")]


@pytest.mark.parametrize("retries", [0, 1])
def test_a_result_that_failed_can_be_given_again(retries: int) -> None:
    async def story(server: StandIn, host: NodeHost) -> None:
        await host.feed(text("go"))
        if not retries:
            with pytest.raises(EndpointError, match="failed"):
                await host.feed(result("c1"))
        assert words(await host.feed(result("c1"))) == "Well."
        await host.feed(text("and?"))

    replies = [[tool_call("time", "{}")], 500, [piece("Well.")], [piece("Yes.")]]
    server = on(replies, story, tools=TOOLS, retries=retries)
    assert server.bodies[1] == server.bodies[2]
    found = asked(("c1", "time", "{}"))
    assert server.bodies[3]["messages"] == [user("go"), found, given("c1", "fine"), assistant("Well."), user("and?")]


def test_a_question_is_answered_when_its_tools_have_been(px: Any) -> None:
    """The turn of the question stays open over two rounds, in a process of its own."""

    async def main() -> None:
        async with StandIn([TWO_CALLS, [tool_call("time", "{}", "c3")], [piece("It rains.")]]).running() as server:
            config = {"model": "m", "base_url": server.url, "tools": TOOLS}
            async with Session("tools", Pipeline().add_node("ChatNode", "llm", config)) as session:
                said = []
                async for data in session.ask("llm", text("weather?")):
                    said.append(data)
                    if data.port == "tool_calls":
                        value = {"id": data.as_json()["id"], "content": "fine"}
                        await session.send("llm", RuntimeData.json(value), port="tool_results")
                assert words(said) == "Let me look. It rains."
                assert [call["id"] for call in calls(said)] == ["c1", "c2", "c3"]
                assert said[-1].mark == END_OF_ANSWER

    px.run(main())


def test_a_question_whose_tools_are_given_up_is_done(px: Any) -> None:
    """And what is said next is no answer to it."""

    async def main() -> None:
        async with StandIn([TWO_CALLS, [piece("Well.")], TWO_CALLS]).running() as server:
            config = {"model": "m", "base_url": server.url, "tools": TOOLS}
            async with Session("given up", Pipeline().add_node("ChatNode", "llm", config)) as session:

                async def ask(then: Callable[[], Awaitable[Any]]) -> list[RuntimeData]:
                    said = []
                    async for data in session.ask("llm", text("weather?")):
                        said.append(data)
                        if len(calls(said)) == 2 and data.port == "tool_calls":
                            await then()
                    return said

                async def ask_another() -> None:
                    assert words([data async for data in session.ask("llm", text("never mind"))]) == "Well."

                assert words(await ask(ask_another)) == "Let me look. "
                assert words(await ask(lambda: session.send("llm", control("reset")))) == "Let me look. "

    px.run(main())
