"""Endpoints of chat completions for tests: transformers' own server with an untrained model, and a stand-in."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from remotemedia.core.data import RuntimeData
from remotemedia.nodes import ChatNode
from remotemedia.testing import NodeHost

# Both ends of a message, and what the server wants to know.
TEMPLATE = (
    "{% for message in messages %}[{{ message.role }}] "
    "{% if message.tool_calls %}{% for call in message.tool_calls %}"
    "{{ call.function.name }}({{ call.function.arguments }}) {% endfor %}{% endif %}"
    "{{ message.content or '' }}\n{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"
)


def make_tiny_chat(folder: Path) -> Path:
    """Saves an untrained Llama of 100 kB in ``folder``, which says letters without an end, by all that was said."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    own = Tokenizer(models.BPE(vocab={letter: at for at, letter in enumerate(letters)}, merges=[]))
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    own.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=own, eos_token="<end>", pad_token="<end>")
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(3)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=1 << 20,
            initializer_range=0.5,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
        )
    )
    said = [at for at, letter in enumerate(letters) if letter.isascii() and letter.isalpha()]
    with torch.no_grad():
        model.lm_head.weight[[at for at in range(len(tokenizer)) if at not in said]] = 0
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.eos_token_id, do_sample=False
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class Library:
    """What the model answers to these messages, without a server."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder)

    def answer(self, messages: list[dict[str, Any]], tokens: int) -> str:
        given = self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        made = self.model.generate(**given, max_new_tokens=tokens)[0, given["input_ids"].shape[1] :]
        said: str = self.tokenizer.decode(made)
        return said


# As the command does, but on no device in particular: to put a model on one it wants accelerate.
_SERVE = """
import signal, sys
from transformers.cli.serve import Serve
serve = Serve(host="127.0.0.1", port=int(sys.argv[1]), device="cpu", log_level="info", non_blocking=True)
serve._model_manager.device = None
print("ready", file=sys.stderr, flush=True)
signal.pause()
"""


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of ``transformers serve``, which runs until the end of the block; a model's name is its folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVE, str(port)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hub"), "OMP_NUM_THREADS": "1"},
    )
    said: list[str] = []
    is_ready = threading.Event()

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:  # to its end: a full pipe would stop the server
            said.append(line)
            if "ready\n" in said and any("Uvicorn running on" in one for one in said):
                is_ready.set()
        is_ready.set()

    with process:
        reader = threading.Thread(target=read)
        reader.start()
        try:
            is_ready.wait()
            assert "ready\n" in said, "".join(said)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()
            reader.join()


class LoudChatNode(ChatNode):
    """Prints all that is logged in its process."""

    async def initialize(self) -> None:
        logging.basicConfig(level=logging.DEBUG)
        await super().initialize()


def piece(content: str | None = None, **delta: Any) -> dict[str, Any]:
    """A piece of an answer, as it is streamed."""
    return {
        "id": "1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": {"role": "assistant", "content": content, **delta}, "finish_reason": None}],
    }


def tool_call(name: str, arguments: str, number: str | None = "c1", index: int | None = 0) -> dict[str, Any]:
    """A piece of an answer that calls a tool."""
    call = {"index": index, "id": number, "type": "function", "function": {"name": name, "arguments": arguments}}
    return piece(tool_calls=[call])


@dataclass
class StandIn:
    """Does what a well-behaved server never, or seldom, does: each request gets the next of ``replies``.

    A list of pieces is streamed, and at an Event in it the server waits: for that, or for the client to leave. An int
    is an error of this status, whose body is what the client was authorised by, and a str the whole reply, as it is.

    Attributes:
        bodies: of the requests so far.
        keys: what these were authorised by.
        left: how many clients have left before the end of their reply.
        waits: an item for each time that it has begun to wait.
    """

    replies: list[Any] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    left: asyncio.Queue[int] = field(default_factory=asyncio.Queue)
    waits: asyncio.Queue[int] = field(default_factory=asyncio.Queue)
    url: str = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[StandIn]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
            self.bodies.append(json.loads(await reader.readexactly(int(headers["content-length"]))))
            self.keys.append(headers["authorization"])
            await self._reply(self.replies.pop(0), headers["authorization"], reader, writer)
        finally:
            writer.close()

    async def _reply(self, reply: Any, key: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if isinstance(reply, str):
            writer.write(reply.encode())
        elif isinstance(reply, int):
            body = json.dumps({"error": {"message": f"what is {key}?", "type": "x", "code": None}})
            head = (
                f"HTTP/1.1 {reply} No\r\nX-Echo: {key}\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
            )
            writer.write((head + body).encode())
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
            for one in reply:
                if isinstance(one, asyncio.Event):
                    if await self._has_left(one, reader):
                        return
                else:
                    writer.write(b"data: " + json.dumps(one).encode() + b"\n\n")
            writer.write(b"data: [DONE]\n\n")
        await writer.drain()

    async def _has_left(self, go_on: asyncio.Event, reader: asyncio.StreamReader) -> bool:
        self.waits.put_nowait(len(self.bodies))
        end, may = asyncio.create_task(reader.read()), asyncio.create_task(go_on.wait())
        await asyncio.wait((end, may), return_when=asyncio.FIRST_COMPLETED)
        has_left = end.done()
        for task in (end, may):
            task.cancel()
        await asyncio.wait((end, may))
        if has_left:
            self.left.put_nowait(len(self.bodies))
        return has_left


def on(replies: list[Any], story: Callable[[StandIn, NodeHost], Awaitable[None]], **config: Any) -> StandIn:
    """What a stand-in got that gives these replies to a node; the story is what happens to the node."""
    retries = config.pop("retries", 0)
    server = StandIn(replies)

    async def main() -> None:
        async with server.running():
            llm = ChatNode("llm", {"model": "m", "base_url": server.url, **config})
            async with NodeHost(llm, retries=retries) as host:
                await story(server, host)

    asyncio.run(main())
    assert server.replies == []
    return server


def user(said: str) -> dict[str, str]:
    return {"role": "user", "content": said}


def assistant(said: str) -> dict[str, str]:
    return {"role": "assistant", "content": said}


def words(outputs: list[RuntimeData]) -> str:
    return "".join(data.payload for data in outputs if data.port == "text" and not data.mark)


def marks(outputs: list[RuntimeData]) -> list[str]:
    return [data.mark for data in outputs if data.mark]


def calls(outputs: list[RuntimeData]) -> list[Any]:
    return [data.as_json() for data in outputs if data.port == "tool_calls"]


def result(number: str, content: Any = "fine") -> RuntimeData:
    return RuntimeData.json({"id": number, "content": content})
