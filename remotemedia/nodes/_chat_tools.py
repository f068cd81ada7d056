"""Calls of tools within an answer: what the model asked for, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from remotemedia.core.multiprocessing import Held
from remotemedia.nodes._chat import Call
from remotemedia.nodes._dialogue import Dialogue, Exchange

__all__ = ["Round", "messages_for", "names_of", "rounds_of"]

_SHOWN_CHARS = 200


@dataclass(eq=False)
class Round:
    """Calls that an answer goes on after.

    Attributes:
        results: by the id of their call, as far as they have come.
        held: the turn that waits for it; None if nothing is held.
    """

    exchange: Exchange
    calls: list[Call]
    asked: dict[str, dict[str, Any]] = field(default_factory=dict)
    results: dict[str, str] = field(default_factory=dict)
    held: Held | None = None

    @classmethod
    def of(cls, exchange: Exchange, calls: list[Call], tools: Collection[str]) -> Round:
        """A round whose calls that nobody can make have their results: what is wrong with them."""
        new = cls(exchange, calls)
        for call in calls:
            if call.name not in tools:
                new.results[call.id] = f"Error: there is no tool {call.name!r}; there are {', '.join(sorted(tools))}"
                continue
            try:
                arguments = _arguments(call.arguments)
            except (ValueError, RecursionError) as error:
                shown = call.arguments[:_SHOWN_CHARS]
                new.results[call.id] = f"Error: the arguments must be a JSON object, not {shown!r} ({error})"
                # Servers read the arguments of past calls, and some refuse a request in which they cannot.
                call.arguments = "{}"
            else:
                new.asked[call.id] = {"id": call.id, "name": call.name, "arguments": arguments}
        return new

    @property
    def waits_for(self) -> list[str]:
        """The ids of the calls whose results are to come."""
        return [one for one in self.asked if one not in self.results]

    def messages(self) -> list[dict[str, Any]]:
        """The calls and their results, as a model is given them."""
        calls = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments or "{}"}}
            for call in self.calls
        ]
        results = [{"role": "tool", "tool_call_id": call.id, "content": self.results[call.id]} for call in self.calls]
        return [{"role": "assistant", "content": None, "tool_calls": calls}, *results]


def rounds_of(exchange: Exchange) -> int:
    """How often its answer has waited for results."""
    return sum(message["role"] == "assistant" for message in exchange.between)


def messages_for(dialogue: Dialogue, exchange: Exchange, system_prompt: str) -> list[dict[str, Any]]:
    """What the model is given for the next part of an answer, which is the last one of the dialogue."""
    messages = dialogue.messages(system_prompt)
    if exchange.between and exchange.answer.strip():
        # Results are the last thing in a request: what was said before them stands with their calls.
        said = messages.pop()["content"]
        at = max(at for at, message in enumerate(messages) if message["role"] == "assistant")
        messages[at] = {**messages[at], "content": said}
    return messages


def names_of(owner: str, tools: list[Any]) -> set[str]:
    """The names of tools as the param has them; ValueError names the first that is no definition of a tool."""
    names: set[str] = set()
    for at, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(name, str) or not name or tool.get("type") != "function":
            raise ValueError(
                f"{owner}: param 'tools': number {at} must be "
                '{"type": "function", "function": {"name": ..., "description": ..., "parameters": {...}}}'
            )
        if name in names:
            raise ValueError(f"{owner}: param 'tools': there are two tools {name!r}")
        names.add(name)
    return names


def _arguments(text: str) -> dict[str, Any]:
    """ValueError or RecursionError if it is no object that a message can hold."""
    # A function without parameters is called with nothing at all by some models.
    value = json.loads(text) if text.strip() else {}
    if not isinstance(value, dict):
        raise ValueError(f"it is a {type(value).__name__}")
    # NaN, infinity and halves of characters are not JSON, though Python reads them.
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    return value
