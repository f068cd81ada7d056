"""An endpoint of chat completions, by OpenAI's client: pieces of answers, calls of tools, errors without the key."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from remotemedia.core.multiprocessing import MultiprocessNode
from remotemedia.nodes._common import import_library

__all__ = ["Call", "Endpoint", "EndpointError"]

_NO_KEY = "none"
_HIDDEN = "***"
_SAID_CHARS = 500
# A server may send the key back in a header, and these log what they receive: the client's own, and those below it.
_LOGGERS = (
    *("openai", "openai._base_client", "openai._response", "httpx", "httpx2"),
    *(f"{name}.{part}" for name in ("httpcore", "httpcore2") for part in ("connection", "http11", "http2")),
    *(f"{name}.{part}" for name in ("httpcore", "httpcore2") for part in ("proxy", "socks")),
)


class EndpointError(RuntimeError):
    """An endpoint gave no answer: the text says which endpoint, why, and what to do.

    Attributes:
        status: the HTTP status; None if there was none.
    """

    def __init__(self, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.status = status


@dataclass
class Call:
    """Of a tool, as the model asks for it; ``arguments`` are its text, of JSON if the model makes no mistake."""

    id: str
    name: str
    arguments: str


class Endpoint:
    """One for ``node``, by its params."""

    def __init__(self, node: MultiprocessNode) -> None:
        self._node = node
        self._config = node.config
        self._key = ""
        self._url = ""
        self._errors: Any = None
        self._client: Any = None
        self._filter = _WithoutKey(self._without_key)

    def open(self) -> None:
        """Make the client; nothing is sent.

        Raises:
            ImportError: the library is missing; it says what to install.
            ValueError: there is no key, or the address or the key is none.
        """
        self._errors = import_library(self._node, "openai", "chat")
        self._key = self._found_key()
        url = self._config["base_url"] or os.environ.get("OPENAI_BASE_URL", "").strip() or None
        if url is not None:
            self._check(url)
        # Retries are the pipeline's: they are seen, and an interruption ends them.
        self._client = self._errors.AsyncOpenAI(
            api_key=self._key or _NO_KEY, base_url=url, timeout=self._config["timeout_secs"], max_retries=0
        )
        self._url = str(self._client.base_url).partition("?")[0].rstrip("/")
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(self._filter)

    async def close(self) -> None:
        """Close the connections."""
        for name in _LOGGERS:
            logging.getLogger(name).removeFilter(self._filter)
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def answer(self, messages: list[dict[str, Any]], tools: list[Any]) -> AsyncGenerator[str | Call]:
        """Yield the pieces of an answer as they come, then the calls of tools; EndpointError if it fails.

        The connection is closed when the generator is, or when it is cancelled.
        """
        failure = None
        try:
            async with aclosing(self._streamed(messages, tools)) as pieces:
                async for piece in pieces:
                    yield piece
        except Exception as error:
            failure = self._as_told(error)
        # Not within `except`: what the client raised has the request with the key, and no traceback is to lead there.
        if failure is not None:
            raise failure

    # --- inside ---

    async def _streamed(self, messages: list[dict[str, Any]], tools: list[Any]) -> AsyncGenerator[str | Call]:
        calls = _Calls()
        is_answer = False
        wanted = {key: self._config[key] for key in ("temperature", "max_tokens") if self._config[key] is not None}
        wanted |= {"tools": tools} if tools else {}
        wanted |= {"extra_body": extra} if (extra := self._config["extra_body"]) else {}
        creating = self._client.chat.completions.create(
            model=self._config["model"], messages=messages, stream=True, **wanted
        )
        async with await creating as stream:
            async for chunk in stream:
                for choice in (chunk.choices or [])[:1]:
                    is_answer = True
                    if choice.delta is None:
                        continue
                    if choice.delta.content:
                        yield _whole_characters(choice.delta.content)
                    for delta in choice.delta.tool_calls or []:
                        calls.add(delta)
        if not is_answer:
            raise ValueError("there was no piece of an answer in it")
        for call in calls.found:
            yield call

    def _found_key(self) -> str:
        name, variable = type(self._node).__name__, self._config["api_key_env"]
        key = os.environ.get(variable, "").strip()
        if not key and not self._config["base_url"]:
            raise ValueError(
                f"{name}: the environment variable {variable} is not set; set it to the key of the endpoint where the "
                f"program is started (export {variable}=...), or name a server that needs no key in param 'base_url'"
            )
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise ValueError(
                f"{name}: what the environment variable {variable} holds is no key: keys are ASCII letters"
            )
        return key

    def _check(self, url: str) -> None:
        name = type(self._node).__name__
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{name}: param 'base_url' must be an address such as http://localhost:8000/v1")
        if parts.username is not None or parts.password is not None:
            raise ValueError(f"{name}: param 'base_url' must not hold a password; put it in {self._variable}")

    @property
    def _variable(self) -> str:
        return f"the environment variable {self._config['api_key_env']}"

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, _HIDDEN) if self._key else text

    def _as_told(self, error: Exception) -> EndpointError:
        """The error for the node's user."""
        known, node = self._errors, f"{type(self._node).__name__}: {self._url}"
        # Older versions of the client let errors of its own client pass while a stream is read.
        kinds = {kind.__name__ for kind in type(error).__mro__}
        if isinstance(error, known.APITimeoutError) or "TimeoutException" in kinds:
            secs = self._config["timeout_secs"]
            return EndpointError(f"{node} sent nothing for {secs:g} s; param 'timeout_secs' says how long it may")
        if isinstance(error, known.APIStatusError):
            status = error.status_code
            return EndpointError(f"{node} {self._advice(status)} ({status}){self._said(error)}", status)
        if isinstance(error, known.APIConnectionError) or "TransportError" in kinds:
            cause = self._without_key(str(error.__cause__ or error))
            return EndpointError(
                f"{node} cannot be reached, or broke off: {cause}; is it running, and is param 'base_url' right?"
            )
        if isinstance(error, known.APIError):
            return EndpointError(f"{node} failed while it answered{self._said(error)}")
        cause = self._without_key(f"{type(error).__name__}: {error}")[:_SAID_CHARS]
        return EndpointError(
            f"{node} sent no stream of a chat completion ({cause}); is param 'base_url' right? Most end in /v1"
        )

    def _advice(self, status: int) -> str:
        model = self._config["model"]
        if status == 401:
            refused = "refuses the key" if self._key else "wants a key"
            return f"{refused}: set {self._variable} to one of its keys"
        if status == 403:
            return f"does not let this key use model {model!r}: {self._variable} has the key"
        if status == 404:
            return f"has no model {model!r}, or no chat completions: see params 'model' and 'base_url'"
        if status == 429:
            return "takes no more requests at present, or the account has no credit"
        return "failed" if status >= 500 else "does not take the request"

    def _said(self, error: Any) -> str:
        """What the server says of it, after a colon."""
        body = error.body
        said = body.get("message") or body.get("detail") or body if isinstance(body, dict) else body
        if said is None:
            said = error.message if not hasattr(error, "response") else ""
        text = " ".join(self._without_key(str(said)).split())
        return f"; it said: {text[:_SAID_CHARS]}" if text else ""


class _Calls:
    """Calls of tools, put together from the deltas of a stream."""

    def __init__(self) -> None:
        self.found: list[Call] = []
        self._by_index: dict[int, Call] = {}

    def add(self, delta: Any) -> None:
        call = self._of(delta)
        if function := delta.function:
            call.name += _whole_characters(function.name or "")
            call.arguments += function.arguments or ""

    def _of(self, delta: Any) -> Call:
        # Some servers give no index, some the same to all, and some no ids.
        index = delta.index if delta.index is not None else (0 if not delta.id else len(self.found))
        call = self._by_index.get(index)
        if call is None or (delta.id and delta.id != call.id and call.name):
            taken = {one.id for one in self.found}
            new = _whole_characters(delta.id or "")
            call = Call(new if new and new not in taken else f"call_{uuid4().hex}", "", "")
            self._by_index[index] = call
            self.found.append(call)
        return call


class _WithoutKey(logging.Filter):
    """Hides the key in what is logged."""

    def __init__(self, hidden: Any) -> None:
        super().__init__()
        self._hidden = hidden

    def filter(self, record: logging.LogRecord) -> bool:
        said = record.getMessage()
        if (told := self._hidden(said)) != said:
            record.msg, record.args = told, ()
        return True


def _whole_characters(text: str) -> str:
    """Without halves of characters, which no message may hold, and no later request."""
    return text if text.isascii() else text.encode(errors="replace").decode()
