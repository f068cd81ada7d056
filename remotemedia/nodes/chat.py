"""ChatNode: text is answered by a language model behind an OpenAI-compatible endpoint, while that makes it."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.marks import END_OF_ANSWER
from remotemedia.core.multiprocessing import Held, Interruption, MultiprocessNode, Param, register_node
from remotemedia.nodes._chat import Call, Endpoint, EndpointError
from remotemedia.nodes._chat_tools import Round, messages_for, names_of, rounds_of
from remotemedia.nodes._common import text_of
from remotemedia.nodes._dialogue import Dialogue, Exchange

__all__ = ["ChatNode"]

_REMEMBERED_IDS = 1000


@register_node("ChatNode")
class ChatNode(MultiprocessNode):
    """Holds a conversation with a language model behind an OpenAI-compatible endpoint, by OpenAI's client.

    Ports: input ``text`` (TEXT, also called ``input`` and ``text_in``): what the user says, each message is answered,
    blank text is nothing; output ``text`` (TEXT, also called ``output`` and ``text_out``): the answer, in the pieces
    that the server sends. After the last piece comes a mark, END_OF_ANSWER, also where the model has said something
    before it calls tools.

    Output ``tool_calls`` (JSON): a message per call, ``{"id", "name", "arguments"}``, with an object for arguments.
    Input ``tool_results`` (JSON): ``{"id", "content"}``; content is text or any JSON. When the results of all calls
    have come the answer goes on; the turn of the question stays open until then. A call of a tool that there is not, or
    whose arguments are no JSON object, is not given out: its result tells the model so. After ``max_tool_rounds`` the
    model is offered no tools. A text, an interruption or a "reset" gives up calls that wait; their results are ignored.

    The model is given the last ``max_history`` exchanges each time. A mark named "reset" forgets them. After an
    interruption the history has of each answer what was heard, by the report: docs/interruption.md. A message that
    fails leaves no trace in it: a result that failed can be given again.

    An interruption closes the connection, so that the server stops. Nothing is tried twice but by the pipeline's
    ``retries``. Everything that goes wrong at the endpoint is an EndpointError, which is a RuntimeError.

    The key comes from the environment variable that ``api_key_env`` names, and is in no message, log or error.
    """

    params = {
        "model": Param(str, help="its name, as the endpoint knows it"),
        "base_url": Param(
            str, "", help='of the endpoint, most end in /v1; "": the environment\'s OPENAI_BASE_URL, or OpenAI'
        ),
        "api_key_env": Param(str, "OPENAI_API_KEY", help="environment variable that holds the key"),
        "system_prompt": Param(str, "", help="what the model is told first"),
        "temperature": Param(float, None, low=0, help="0: always the likeliest token; null: the server's choice"),
        "max_tokens": Param(int, None, low=1, help="of an answer; null: the server's choice"),
        "max_history": Param(int, 20, low=0, help="exchanges that are remembered"),
        "timeout_secs": Param(float, 60.0, low=0.001, help="how long the server may send nothing"),
        "tools": Param(list, [], help="that the model may call, as OpenAI defines them"),
        "max_tool_rounds": Param(int, 8, low=1, help="how often an answer may wait for results of tools"),
        "extra_body": Param(dict, {}, help="more keys of the request, for this endpoint alone"),
    }
    inputs = {"text": DataType.TEXT, "tool_results": DataType.JSON}
    outputs = {"text": DataType.TEXT, "tool_calls": DataType.JSON}
    optional_outputs = ("tool_calls",)
    port_aliases = {"input": "text", "text_in": "text", "output": "text", "text_out": "text"}

    def __init__(self, node_id: str, config: dict[str, Any]) -> None:
        super().__init__(node_id, config)
        self._dialogue = Dialogue(self.config["max_history"])
        self._endpoint = Endpoint(self)
        self._tools: set[str] = set()
        self._round: Round | None = None
        self._given_up: deque[str] = deque(maxlen=_REMEMBERED_IDS)

    async def initialize(self) -> None:
        """Make the client; nothing is sent to the endpoint.

        Raises:
            ImportError: a library is missing; it says what to install.
            ValueError: there is no key, or a param is none of an endpoint or of a tool.
        """
        self._tools = names_of(type(self).__name__, self.config["tools"])
        self._endpoint.open()

    async def process(self, data: RuntimeData) -> AsyncIterator[dict[str, RuntimeData]]:
        """Yield the answer to a text, or its rest once all results are there, while it is made.

        Raises:
            TypeError: it is neither text nor JSON.
            ValueError: it is no result, or one of a call that waits for none.
            EndpointError: the endpoint failed; the text says what to do.
        """
        is_result = data.type is DataType.JSON or data.port == "tool_results"
        async with aclosing(self._go_on(data) if is_result else self._begin(data)) as outputs:
            async for output in outputs:
                yield output

    def on_mark(self, mark: RuntimeData) -> RuntimeData | None:
        """Forget the conversation at a "reset"; pass on all marks but the end of another's answer."""
        if mark.mark == "reset":
            self._dialogue.clear()
            self._release(self._give_up())
        return None if mark.mark == END_OF_ANSWER else mark

    async def on_interrupt(self, report: Interruption) -> None:  # type: ignore[override]
        """Forget of the answers what was not heard, and the calls that were cut off."""
        self._dialogue.cut(report)
        if self._round is not None and (self._round.held is None or self._round.held.released):
            self._give_up()

    async def cleanup(self) -> None:
        """Close the connections."""
        await self._endpoint.close()

    # --- inside ---

    async def _begin(self, data: RuntimeData) -> AsyncGenerator[dict[str, RuntimeData]]:
        said = text_of(self, data).strip()
        if not said:
            return
        held = self._give_up()
        exchange = self._dialogue.begin(said, data.timestamp)
        try:
            async with aclosing(self._answer(exchange, data)) as outputs:
                async for output in outputs:
                    yield output
        except Exception:
            self._dialogue.take_back(exchange)
            raise
        finally:
            # Not sooner: what is given after it would be of that turn, too.
            self._release(held)

    async def _go_on(self, data: RuntimeData) -> AsyncGenerator[dict[str, RuntimeData]]:
        number, content = self._result(data)
        waiting = self._round
        if waiting is None or number not in waiting.waits_for:
            if number in self._given_up:
                return
            waits = ", ".join(map(repr, waiting.waits_for)) if waiting is not None else "none"
            raise ValueError(f"{type(self).__name__} waits for no result {number!r}; it waits for {waits}")
        waiting.results[number] = content
        if waiting.waits_for:
            return
        exchange, held = waiting.exchange, waiting.held
        answer, between = exchange.answer, list(exchange.between)
        exchange.between += waiting.messages()
        self._round = None
        try:
            async with aclosing(self._answer(exchange, data, held)) as outputs:
                async for output in outputs:
                    if held is None:
                        yield output
                    else:  # it belongs to the turn of the question, whatever the result came with
                        await self.emit(output, of=held)
        except Exception:
            exchange.answer, exchange.between = answer, between
            del waiting.results[number]
            # The turn need not wait for another attempt: there may be none.
            waiting.held, self._round = None, waiting
            raise
        finally:
            if self._round is None or self._round.held is not held:
                self._release(held)

    async def _answer(
        self, exchange: Exchange, data: RuntimeData, held: Held | None = None
    ) -> AsyncGenerator[dict[str, RuntimeData]]:
        """The rest of an answer, up to its end, or to calls whose results are to come."""
        stamp = exchange.timestamp
        while True:
            tools = self.config["tools"] if rounds_of(exchange) < self.config["max_tool_rounds"] else []
            messages = messages_for(self._dialogue, exchange, self.config["system_prompt"])
            calls: list[Call] = []
            has_said = False
            async with aclosing(self._endpoint.answer(messages, tools)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Call):
                        calls.append(piece)
                        continue
                    has_said = True
                    exchange.answer += piece
                    yield {"text": RuntimeData.text(piece, timestamp=stamp)}
            if calls and not tools:
                raise EndpointError(
                    f"{type(self).__name__}: the model calls {calls[0].name!r} though it was offered no tools; "
                    f"params 'tools' and 'max_tool_rounds' say which it may call, and how often"
                )
            if has_said or not calls:
                yield {"text": RuntimeData.control(END_OF_ANSWER, timestamp=stamp)}
            if not calls:
                return
            asked = Round.of(exchange, calls, self._tools)
            if asked.waits_for:
                break
            exchange.between += asked.messages()
        asked.held, self._round = held or self.hold(data), asked
        for call in asked.asked.values():
            yield {"tool_calls": RuntimeData.json(call, timestamp=stamp)}

    def _result(self, data: RuntimeData) -> tuple[str, str]:
        """Id and content of a result."""
        value = data.as_json() if data.type is DataType.JSON else None
        if not isinstance(value, dict) or not isinstance(value.get("id"), str) or "content" not in value:
            raise ValueError(f'{type(self).__name__} takes {{"id": "...", "content": ...}} for the result of a tool')
        content = value["content"]
        return value["id"], content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)

    def _give_up(self) -> Held | None:
        """Wait for no results any more; what is to be released for it."""
        given_up, self._round = self._round, None
        if given_up is None:
            return None
        self._given_up += given_up.waits_for
        return given_up.held

    def _release(self, held: Held | None) -> None:
        if held is not None:
            self.release(held)
